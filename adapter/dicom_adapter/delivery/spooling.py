"""AfterSpool: the sender's answer waits for the disk, the store is somebody else's care (`lane.py`).

An instance is gathered in memory up to a size, then written in pieces of it; a small one is written, synced and named in one visit to a
thread. What its destinations are is said before it is committed: it is acknowledged when it is safe for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from dicom_adapter.delivery.pipeline import Delivered, EmptyDataSet, Instance
from dicom_adapter.delivery.target import DEFAULT_TARGET
from dicom_adapter.delivery.verdict import Verdict, full, spooled
from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.errors import SpoolError
from dicom_adapter.spool.spool import Draft, Spool

_T = TypeVar("_T")
GATHERED = 1 << 20
_GATHERED_WHEN_CROWDED = 1 << 17
_CROWDED = 64 << 20  # bytes of all arriving instances together

Taken = Callable[[Entry, Sequence[str], str], None]


class Spooling:
    """From an arriving instance to the acknowledgement. Whatever interrupts the instance's body is raised to the caller."""

    def __init__(self, spool: Spool, threads: Executor, *, taken: Taken, troubled: Callable[[], None]) -> None:
        """`taken` hears of each entry that is safe, with its destinations and the sender's AE title, `troubled` of each refusal."""
        self._spool = spool
        self._threads = threads
        self._taken = taken
        self.troubled = troubled
        self._held = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def deliver(self, instance: Instance, *, destinations: Callable[[], Sequence[str]] = lambda: (DEFAULT_TARGET,)) -> Delivered:
        """Receives and spools one instance. `destinations` is asked when it is whole."""
        arriving = _Arriving(self, instance)
        try:
            verdict = await arriving.receive(destinations)
        finally:
            arriving.close()
        return Delivered(verdict, 1, arriving.seconds)

    async def in_thread(self, work: Callable[[], _T]) -> _T:
        """A visit to the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def to_the_end(self, visit: Coroutine[None, None, _T]) -> asyncio.Task[_T]:
        """It is made to its end, even when nobody waits for it any more."""
        task = asyncio.create_task(visit)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it hears of it

    def hold(self, size: int) -> None:
        """So much more, or less, is in memory."""
        self._held += size

    @property
    def gathered(self) -> int:
        """How much of one instance is gathered before it is written."""
        return GATHERED if self._held <= _CROWDED else _GATHERED_WHEN_CROWDED

    @property
    def spool(self) -> Spool:
        """Where it goes."""
        return self._spool

    def taken(self, entry: Entry, destinations: Sequence[str], sender: str) -> None:
        """It is safe."""
        self._taken(entry, destinations, sender)


class _Arriving:
    """One instance on its way."""

    def __init__(self, spooling: Spooling, instance: Instance) -> None:
        self._to = spooling
        self._instance = instance
        self._pieces: list[bytes] = []
        self._size = 0
        self._draft: Draft | None = None
        self._writing: asyncio.Task[None] | None = None
        self.seconds = 0.0

    async def receive(self, destinations: Callable[[], Sequence[str]]) -> Verdict:
        """Raises what interrupts the body, and EmptyDataSet."""
        loop = asyncio.get_running_loop()
        header = self._instance.meta.encode()
        self._gather(header)
        received = 0
        try:
            async for piece in self._instance.body:
                received += len(piece)
                self._gather(piece)
                if self._size >= self._to.gathered:
                    await self._write()
            if not received:
                raise EmptyDataSet
            began = loop.time()
            await asyncio.shield(self._to.to_the_end(self._committed(destinations())))
        except SpoolError as error:
            self._to.troubled()
            return full(error.text)
        self.seconds = loop.time() - began
        return spooled()

    def _gather(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        self._to.hold(len(piece))

    def _emptied(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        self._to.hold(-self._size)
        self._size = 0
        return pieces

    async def _write(self) -> None:
        self._writing = self._to.to_the_end(self._written(self._emptied()))
        await asyncio.shield(self._writing)

    async def _written(self, pieces: list[bytes]) -> None:
        spool, draft = self._to.spool, self._draft
        self._draft = None  # gone, if this fails
        if draft is None:
            self._draft = await self._to.in_thread(lambda: spool.begin(pieces))
        else:
            await self._to.in_thread(lambda: spool.add(draft, pieces))
            self._draft = draft

    async def _committed(self, destinations: Sequence[str]) -> None:
        spool, pieces, draft = self._to.spool, self._emptied(), self._draft
        self._draft = None

        def commit() -> Entry:
            if draft is None:
                return spool.commit(spool.begin(pieces), destinations)
            if pieces:
                spool.add(draft, pieces)
            return spool.commit(draft, destinations)

        entry = await self._to.in_thread(commit)
        self._to.taken(entry, destinations, self._instance.sender)

    def close(self) -> None:
        """What is not committed is removed."""
        self._emptied()
        if self._draft is not None or (self._writing is not None and not self._writing.done()):
            self._to.to_the_end(self._abandoned())

    async def _abandoned(self) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing])
        draft, self._draft = self._draft, None
        if draft is not None:
            await self._to.in_thread(lambda: self._to.spool.abandon(draft))

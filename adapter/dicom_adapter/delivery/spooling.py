"""AfterSpool: the sender's answer waits for the disk, the store is somebody else's care (`lane.py`).

An instance is gathered in memory up to a size, then written in pieces of it; a small one is written, synced and named in one visit to a
thread. What its destinations are is said before it is committed: it is acknowledged when it is safe for each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

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

    async def deliver(self, instance: Instance, *, destinations: Callable[[], Sequence[str]] = lambda: (DEFAULT_TARGET,)) -> Delivered:
        """Receives and spools one instance. `destinations` is asked when it is whole."""
        arriving = _Arriving(self, instance)
        try:
            verdict = await arriving.receive(destinations)
        finally:
            arriving.close()
        return Delivered(verdict, 1, arriving.seconds)

    def visit(self, work: Callable[[], _T], then: Callable[[_T], None]) -> asyncio.Future[_T]:
        """A visit to the disk. It is made to its end, and `then` is told what came of it, even when nobody waits for it any more."""

        def ended(future: asyncio.Future[_T]) -> None:
            if future.exception() is None:  # whoever waits for it hears of it
                then(future.result())

        visiting = asyncio.get_running_loop().run_in_executor(self._threads, work)
        visiting.add_done_callback(ended)
        return asyncio.shield(visiting)

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
        self._closed = False
        self.seconds = 0.0

    async def receive(self, destinations: Callable[[], Sequence[str]]) -> Verdict:
        """Raises what interrupts the body, and EmptyDataSet."""
        loop = asyncio.get_running_loop()
        self._gather(self._instance.meta.encode())
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
            await self._commit(destinations())
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

    def _taken_out(self) -> Draft | None:
        """The draft is the visit's from now on, and gone if that fails."""
        draft, self._draft = self._draft, None
        return draft

    def _write(self) -> asyncio.Future[Draft]:
        spool, pieces, draft = self._to.spool, self._emptied(), self._taken_out()

        def write() -> Draft:
            if draft is None:
                return spool.begin(pieces)
            spool.add(draft, pieces)
            return draft

        return self._to.visit(write, self._written)

    def _written(self, draft: Draft) -> None:
        self._draft = draft
        if self._closed:
            self._abandon()

    def _commit(self, destinations: Sequence[str]) -> asyncio.Future[Entry]:
        spool, pieces, draft = self._to.spool, self._emptied(), self._taken_out()

        def commit() -> Entry:
            if draft is None:
                return spool.commit(spool.begin(pieces), destinations)
            if pieces:
                spool.add(draft, pieces)
            return spool.commit(draft, destinations)

        return self._to.visit(commit, lambda entry: self._to.taken(entry, destinations, self._instance.sender))

    def close(self) -> None:
        """What is not committed is removed, if need be as soon as it has been written."""
        self._closed = True
        self._emptied()
        self._abandon()

    def _abandon(self) -> None:
        draft = self._taken_out()
        if draft is not None:
            with contextlib.suppress(RuntimeError):  # no visits any more: it is dropped at the next start
                self._to.visit(lambda: self._to.spool.abandon(draft), lambda _: None)

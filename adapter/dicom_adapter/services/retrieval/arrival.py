"""Instances between the store and those who wait for them: how many bytes of them there may be, and each one as it comes.

An instance goes on to its receiver when it is there as a whole; a large one, or one of many when memory is short, while it still arrives.
What has been kept whole can be sent again over another association.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from dicom_adapter.part10 import FileMeta
from dicom_adapter.services.retrieval.selection import Reference

WHOLE_BYTES = 4 << 20
STREAM_BYTES = 1 << 20
MEMORY_BYTES = 48 << 20
SHARE_BYTES = 16 << 20


class Memory:
    """What all retrievals together hold."""

    def __init__(self, most: int = MEMORY_BYTES) -> None:
        self.most = most
        self.held = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def give(self, size: int) -> None:
        """So many bytes are gone."""
        self.held -= size
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits; `condition` is asked again whenever bytes are gone."""
        while not condition():
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)


class Share:
    """One retrieval's part of the memory. It may always hold one instance, whatever the others do."""

    def __init__(self, memory: Memory, most: int = SHARE_BYTES) -> None:
        self._memory = memory
        self._most = most
        self.held = 0

    @property
    def crowded(self) -> bool:
        """Whether nothing more should be kept whole."""
        return self.held >= self._most or self._memory.held >= self._memory.most

    def take(self, size: int) -> None:
        """So many bytes more."""
        self.held += size
        self._memory.held += size

    def give(self, size: int) -> None:
        """So many bytes are gone."""
        self.held -= size
        self._memory.give(size)

    async def room(self) -> None:
        """Waits until another instance may begin."""
        await self._memory.until(lambda: not self.held or not self.crowded)


class Broken(Exception):
    """The store's stream of an instance has ended before the instance."""


class Abandoned(Exception):
    """Nobody wants the instance any more."""


class Arrival:
    """One instance, filled by whoever fetches it. `meta` says what it is; its pieces are those of the data set."""

    def __init__(self, reference: Reference, meta: FileMeta, share: Share) -> None:
        self.reference = reference
        self.meta = meta
        self.whole = False
        self.taken = False
        self.handed_over = False
        self.size = 0
        self._share = share
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._begun = False
        self._broken = False
        self._abandoned = False
        self._changed = asyncio.Event()

    # -- the side of the store ---------------------------------------------------------------------

    async def feed(self, piece: bytes) -> None:
        """Adds a piece, waits when its receiver lags. Raises Abandoned."""
        self._check()
        self._pieces.append(piece)
        self.size += len(piece)
        self._held += len(piece)
        self._share.take(len(piece))
        self._changed.set()
        while self.handed_over and self._held > STREAM_BYTES:
            await self._change()
            self._check()

    @property
    def goes_on(self) -> bool:
        """Whether it has to go on to its receiver before it is whole."""
        return self._held >= WHOLE_BYTES or (self._share.crowded and self._held > 0)

    def finish(self) -> None:
        """It is whole. Raises Abandoned."""
        self._check()
        self.whole = True
        self._changed.set()

    def fail(self) -> None:
        """Nothing more comes of it."""
        self._broken = True
        self._changed.set()
        if not self.taken:
            self.discard()

    def _check(self) -> None:
        if self._abandoned:
            raise Abandoned

    # -- the side of the receiver ------------------------------------------------------------------

    def read(self) -> AsyncIterator[bytes]:
        """The data set. Of one that is whole as often as is wanted; raises Broken."""
        return self._repeat() if self.whole else self._stream()

    async def _repeat(self) -> AsyncIterator[bytes]:
        for piece in tuple(self._pieces):
            yield piece

    async def _stream(self) -> AsyncIterator[bytes]:
        self._begun = True
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                yield piece
                self._held -= len(piece)
                self._share.give(len(piece))
                self._changed.set()
            if self.whole:
                return
            if self._broken:
                raise Broken
            await self._change()

    @property
    def untouched(self) -> bool:
        """Whether it can still be read from its beginning."""
        return not self._begun and not self._broken

    async def gather(self, most: int) -> bytes | None:
        """All of it, None when that is more than `most`. Raises Broken."""
        if self.whole:
            return b"".join(self._pieces) if self.size <= most else None
        found = bytearray()
        async for piece in self._stream():
            found += piece
            if len(found) > most:
                return None
        return bytes(found)

    def discard(self) -> None:
        """It has been sent, or nobody wants it."""
        self._abandoned = True
        self._pieces.clear()
        self._share.give(self._held)
        self._held = 0
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Ready:
    """The instances that wait for a sender, in the order of their arrival."""

    def __init__(self) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, arrival: Arrival, *, first: bool = False) -> None:
        """Adds one; `first`: it has waited before."""
        arrival.handed_over, arrival.taken = True, False
        if self._closed:
            arrival.discard()
        elif first:
            self._arrivals.appendleft(arrival)
        else:
            self._arrivals.append(arrival)
        self._changed.set()

    def withdraw(self, arrival: Arrival) -> None:
        """Takes one back that has not been taken."""
        if arrival in self._arrivals:
            self._arrivals.remove(arrival)

    def take_now(self) -> Arrival | None:
        """The next one, if there is one."""
        if not self._arrivals:
            return None
        arrival = self._arrivals.popleft()
        arrival.taken = True
        return arrival

    async def peek(self) -> Arrival | None:
        """The next one, left to whoever takes it first, as soon as there is one; None when none comes any more."""
        while not self._arrivals:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._arrivals[0]

    async def take(self) -> Arrival | None:
        """The next one, as soon as there is one; None when none comes any more."""
        await self.peek()
        return self.take_now()

    def close(self) -> None:
        """None comes any more; those that wait are dropped."""
        self._closed = True
        while self._arrivals:
            self._arrivals.popleft().discard()
        self._changed.set()

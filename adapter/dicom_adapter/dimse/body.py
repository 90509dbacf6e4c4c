"""The data set of one message on its way from the wire to a handler, flow-controlled."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from dicom_adapter.dimse.handlers import DataSetInterrupted

CHUNK_OVERHEAD = 128
"""What a chunk costs beside its bytes: a peer that sends single bytes must not fill the memory below the window."""


class DataSetStream(AsyncIterator[bytes]):
    """Chunks put in by the association, taken out by one reader; `queued` tells the association when to hold the peer back."""

    __slots__ = ("_chunks", "_complete", "_discarding", "_interruption", "_on_taken", "_waiter", "queued")

    def __init__(self, on_taken: Callable[[], None]) -> None:
        self._chunks: deque[bytes] = deque()
        self._complete = False
        self._discarding = False
        self._interruption: str | None = None
        self._on_taken = on_taken
        self._waiter: asyncio.Future[None] | None = None
        self.queued = 0

    @property
    def complete(self) -> bool:
        """Whether the last fragment has come."""
        return self._complete

    @property
    def interrupted(self) -> bool:
        """Whether the last fragment will never come."""
        return self._interruption is not None

    def feed(self, chunk: bytes, last: bool) -> None:
        """Add what came off the wire; `last` closes the data set (PS3.8 E.2, message control header)."""
        if chunk and not self._discarding:
            self._chunks.append(chunk)
            self.queued += len(chunk) + CHUNK_OVERHEAD
        self._complete = last
        self._wake()

    def interrupt(self, reason: str) -> None:
        """End the data set before its time; one that is complete stays so."""
        if not self._complete and self._interruption is None:
            self._interruption = reason
            self._drop()
            self._wake()

    def discard(self) -> None:
        """Drop what is queued and what still comes. Should somebody read it all the same, it is interrupted: it must not look complete."""
        self._discarding = True
        self._drop()
        self._wake()
        self._on_taken()

    def _drop(self) -> None:
        self._chunks.clear()
        self.queued = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __anext__(self) -> bytes:
        """Return the next chunk, as soon as there is one."""
        while True:
            if self._interruption is not None:
                raise DataSetInterrupted(self._interruption)
            if self._chunks:
                chunk = self._chunks.popleft()
                self.queued -= len(chunk) + CHUNK_OVERHEAD
                self._on_taken()
                return chunk
            if self._discarding:
                raise DataSetInterrupted("it was given up")
            if self._complete:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

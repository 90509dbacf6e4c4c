"""What goes out on an association: whole messages, one after the other (PS3.8 E.1), and no faster than the peer reads."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Final

from dicom_adapter.dimse.commands import command_pdus
from dicom_adapter.dimse.errors import AssociationEnded
from dicom_adapter.dimse.pdu import HEADER_BYTES, LAST_BIT, PDU_HEADER, PDV_HEADER, PduType

LONGEST_FRAGMENT: Final = 1 << 17
"""For peers that name no maximum, or a huge one: no more than this is kept together in one PDU."""

_BATCH: Final = 1 << 18
"""So many bytes go to the socket at a time: small PDUs need not cost a system call each."""


def fragment_room(peer_maximum_length: int) -> int:
    """Return how many bytes of a message go into one fragment: an even number (PS3.8 E.2) that its peer's maximum allows."""
    return min(max(2, (peer_maximum_length - HEADER_BYTES) & ~1), LONGEST_FRAGMENT) if peer_maximum_length else LONGEST_FRAGMENT


class DataSetWriter:
    """Cuts a data set into P-DATA-TF while it comes in pieces of any size. All fragments but the last are full, the last is never empty
    unless the data set is.
    """

    __slots__ = ("_context_id", "_held", "_parts", "_room")

    def __init__(self, context_id: int, peer_maximum_length: int) -> None:
        self._context_id = context_id
        self._room = fragment_room(peer_maximum_length)
        self._parts: deque[memoryview] = deque()
        self._held = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take a piece; yield the PDUs that can go."""
        if not chunk:
            return
        self._parts.append(memoryview(chunk))
        self._held += len(chunk)
        batch: list[bytes | memoryview] = []
        size = 0
        while self._held > self._room:
            batch += self._fragment(self._room, 0)
            size += self._room
            if size >= _BATCH:
                yield b"".join(batch)
                batch, size = [], 0
        if batch:
            yield b"".join(batch)

    def end(self) -> bytes:
        """Return the PDU of the last fragment."""
        return b"".join(self._fragment(self._held, LAST_BIT))

    def _fragment(self, size: int, control: int) -> Iterator[bytes | memoryview]:
        yield PDU_HEADER.pack(PduType.P_DATA_TF, size + HEADER_BYTES) + PDV_HEADER.pack(size + 2, self._context_id, control)
        self._held -= size
        while size:
            part = self._parts.popleft()
            if len(part) > size:
                self._parts.appendleft(part[size:])
                part = part[:size]
            size -= len(part)
            yield part


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


class Outlet:
    """The sending side of an association. `send` takes P-DATA-TF PDUs, `give_up` ends the association when half a message went out."""

    def __init__(self, peer_maximum_length: int, *, send: Callable[[bytes], None], give_up: Callable[[str], None]) -> None:
        self._maximum = peer_maximum_length
        self._send = send
        self._give_up = give_up
        self._busy = False
        self._queue: deque[bytes | asyncio.Future[None]] = deque()
        self._writable = asyncio.Event()
        self._writable.set()
        self._end: AssociationEnded | None = None

    @property
    def busy(self) -> bool:
        """Whether a message is on its way whose sender waits for the peer to read."""
        return self._busy

    @property
    def backlog(self) -> int:
        """How many messages wait behind it."""
        return len(self._queue)

    def pause(self) -> None:
        """The peer does not read as fast as we write, or not at all any more."""
        if self._end is None:
            self._writable.clear()

    def resume(self) -> None:
        """It has caught up."""
        self._writable.set()

    def close(self, end: AssociationEnded) -> None:
        """Nothing goes out any more: who waits to send hears why."""
        if self._end is None:
            self._end = end
            self._writable.set()
            queue, self._queue = self._queue, deque()
            for waiting in queue:
                if isinstance(waiting, asyncio.Future) and not waiting.done():
                    waiting.set_exception(end)

    def post(self, context_id: int, command: bytes, data: bytes | None = None) -> None:
        """Send a message that is there as a whole: at once, or as soon as the one that is on its way is complete."""
        pdus = command_pdus(context_id, command, self._maximum)
        if data is not None:
            writer = DataSetWriter(context_id, self._maximum)
            pdus = b"".join((pdus, *writer.feed(data), writer.end()))
        if self._busy:
            self._queue.append(pdus)
        elif self._end is None:
            self._send(pdus)

    async def writable(self) -> None:
        """Wait until the peer has read most of what was sent.

        Raises:
            AssociationEnded: nothing goes out any more.
        """
        if not self._writable.is_set():
            await self._writable.wait()
        if self._end is not None:
            raise self._end

    async def send(self, context_id: int, command: bytes, data: bytes | AsyncIterable[bytes] | None = None) -> None:
        """Send a message, its data set as it comes.

        Raises:
            AssociationEnded: the association has ended before all was sent. An exception of `data` ends it as well, and is passed on.
        """
        await self._turn()
        try:
            await self._message(context_id, command, data)
        finally:
            self._pass_on()

    async def _message(self, context_id: int, command: bytes, data: bytes | AsyncIterable[bytes] | None) -> None:
        await self.writable()
        pdus = command_pdus(context_id, command, self._maximum)
        if data is None:
            self._send(pdus)
            return
        writer = DataSetWriter(context_id, self._maximum)
        complete = begun = False
        try:
            async for chunk in _whole(data) if isinstance(data, bytes) else data:
                for batch in writer.feed(chunk):
                    self._send(pdus + batch)
                    pdus, begun = b"", True
                    await self.writable()
            self._send(pdus + writer.end())
            complete = True
        finally:
            if begun and not complete and self._end is None:
                self._give_up("the data set that was being sent broke off")

    async def _turn(self) -> None:
        if self._end is not None:
            raise self._end
        if not self._busy and not self._queue:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    def _pass_on(self) -> None:
        self._busy = False
        while self._queue:
            waiting = self._queue.popleft()
            if isinstance(waiting, bytes):
                self._send(waiting)
            elif not waiting.done():
                self._busy = True
                waiting.set_result(None)
                return

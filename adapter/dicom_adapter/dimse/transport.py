"""Between an asyncio socket and an association: buffers and socket options, nothing of DICOM. Of TLS the event loop takes care."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Final, Protocol, cast

from dicom_adapter.dimse.association import Association, Connection

RECEIVE_BUFFER_BYTES: Final = 256 * 1024
FIRST_READ_BYTES: Final = 4 * 1024
SLICE_SECONDS: Final = 0.001
"""How long the bytes of one read should be in work: data sets pass at gigabytes a second, a flood of echoes or of one-byte fragments at
megabytes, and everybody else waits meanwhile. Counted is this thread's own time: on a busy machine it also waits for a processor, and for
those of our threads that write, and with smaller reads it would need more of both."""
TURNS_A_ROUND: Final = 4
WRITE_BUFFER_BYTES: Final = 64 * 1024
KERNEL_WRITE_BUFFER_BYTES: Final = 256 * 1024
"""What a peer that never reads can make the kernel hold; left to itself that grows to 4 MiB."""

# L4 balancers forget silent connections after four minutes and more; a peer that lost its power is noticed after 90 s.
KEEPALIVE_IDLE_SECONDS: Final = 30
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 6


class Turns:
    """Connections whose bytes take long to work on read on by turns, a few in each round of the event loop: however many peers flood at
    once, a round stays short for all others.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def wait(self, read_on: Callable[[], None]) -> None:
        """Have `read_on` called in its turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        self._waiting.append(read_on)

    def _next(self) -> None:
        for _ in range(min(TURNS_A_ROUND, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)


class ReceiveBuffer:
    """The one receive buffer of a server or a pool: an idle association costs none.

    That works because the event loops of Linux (asyncio's selector loop, uvloop) ask for the buffer, fill it and hand it over in one go,
    and because an association copies what it keeps. Should a loop ever do otherwise, `claim` notices before any byte is mixed up.
    """

    __slots__ = ("_owner", "_view", "turns")

    def __init__(self, size: int = RECEIVE_BUFFER_BYTES) -> None:
        self.turns = Turns()
        self._view = memoryview(bytearray(size))
        self._owner: object = None

    def lend(self, owner: object, size: int) -> memoryview:
        """Return the buffer for the next read of `owner`, at most `size` bytes."""
        self._owner = owner
        return self._view if size >= len(self._view) else self._view[:size]

    def claim(self, owner: object, count: int) -> memoryview:
        """Return the `count` bytes that were read for `owner`."""
        if self._owner is not owner:
            raise RuntimeError("the event loop interleaves reads: the shared receive buffer cannot be used with it")
        return self._view[:count]

    def forget(self, owner: object) -> None:
        """`owner` reads no more: what ended must not be kept alive for having been the last to read."""
        if self._owner is owner:
            self._owner = None


Begin = Callable[[Connection, str, int], Association]
"""Makes the association of a connection that has just been opened, with the address and port of the peer."""


class SocketProtocol(asyncio.BufferedProtocol):
    """One connection's side towards asyncio."""

    __slots__ = ("_association", "_begin", "_buffer", "_read_bytes", "_transport")

    def __init__(self, begin: Begin, buffer: ReceiveBuffer) -> None:
        self._begin = begin
        self._buffer = buffer
        self._association: Association | None = None
        self._transport: asyncio.Transport | None = None
        self._read_bytes = FIRST_READ_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin an association."""
        stream = self._transport = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        _set_options(stream.get_extra_info("socket"))
        address, port = _peer_address(stream.get_extra_info("peername"))
        self._association = self._begin(stream, address, port)
        self._association.start()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the receive buffer for one read."""
        return self._buffer.lend(self, self._read_bytes)

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read; how long that took decides how much is read at a time."""
        if self._association is not None:
            began = thread_time()
            self._association.receive(self._buffer.claim(self, nbytes))
            seconds = thread_time() - began
            if seconds > SLICE_SECONDS:
                self._read_bytes = max(self._read_bytes // 2, FIRST_READ_BYTES)
                self._let_others()
            elif nbytes == self._read_bytes and seconds < SLICE_SECONDS / 2:
                self._read_bytes = min(self._read_bytes * 2, RECEIVE_BUFFER_BYTES)

    def _let_others(self) -> None:
        """Read on in another round of the event loop: libuv reads up to 32 times from one connection before it looks at the next."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._buffer.turns.wait(self._read_on)

    def _read_on(self) -> None:
        association, transport = self._association, self._transport
        if association is not None and transport is not None and not (association.held_back or transport.is_closing()):
            transport.resume_reading()

    def eof_received(self) -> bool:
        """Close when the peer closes: a DICOM peer that only half-closes has nothing more to hear either."""
        return False

    def pause_writing(self) -> None:
        """The peer does not read."""
        if self._association is not None:
            self._association.pause_writing()

    def resume_writing(self) -> None:
        """The peer reads again."""
        if self._association is not None:
            self._association.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the association."""
        self._buffer.forget(self)
        if self._association is not None:
            self._association.lost(exc)


class _Socket(Protocol):
    def setsockopt(self, level: int, option: int, value: int) -> None: ...


def _set_options(sock: _Socket) -> None:
    with contextlib.suppress(OSError):  # the peer may be gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_WRITE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def _peer_address(peername: tuple[str, int] | tuple[str, int, int, int] | None) -> tuple[str, int]:
    if not peername:  # the peer was gone before we looked
        return "unknown", 0
    return peername[0].removeprefix("::ffff:"), peername[1]

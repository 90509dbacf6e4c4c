"""The listening sockets of a server.

asyncio's own server takes one new connection in each round of the event loop where libuv drives it. While many peers flood, a round is
long, and who comes then would wait for seconds behind all who came before: here everybody who waits is let in at once.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

_log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_AT_ONCE: Final = 256
"""So many connections are taken before those that are there have their turn."""
PAUSE_SECONDS: Final = 1.0
"""Without descriptors or memory for a connection: how soon it is tried again."""
_ABSENT: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""A machine without IPv6 listens on IPv4 alone."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """Listens on all addresses of a host, and gives each connection a protocol from `factory`; `opened` hears when it has its own."""

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol], opened: Callable[[], None] = lambda: None) -> None:
        self._factory = factory
        self._told = opened
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._begun: set[asyncio.Task[None] | None] = set()
        self._exhausted = False

    @property
    def listening(self) -> bool:
        """Whether it listens."""
        return bool(self._sockets)

    @property
    def opening(self) -> bool:
        """Whether somebody has been let in and has no protocol yet."""
        return bool(self._opening)

    @property
    def port(self) -> int:
        """The port of the first address."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def open(self, host: str, port: int) -> None:
        """Listen; an empty host is every address of the machine.

        Raises:
            OSError: the port is taken, or the address is not ours.
        """
        found = await self._loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        absent: OSError | None = None
        for family, _, _, _, address in found:
            try:
                self._sockets.append(_bound(family, address))
            except OSError as error:
                if error.errno not in _ABSENT:
                    self.close()
                    raise
                absent = error
        if absent and not self._sockets:
            raise absent
        for listening in self._sockets:
            self._loop.add_reader(listening.fileno(), self.accept, listening)

    def close(self) -> None:
        """Stop listening; who was let in stays."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            self._loop.remove_reader(listening.fileno())
            listening.close()

    def abort(self) -> None:
        """Stop listening, and leave alone who has just been let in.

        Whose protocol is on its way gets it: uvloop forgets a connection whose opening is cancelled, open as it is.
        """
        self.close()
        for opening in self._opening - self._begun:
            opening.cancel()

    def accept(self, listening: socket.socket) -> None:
        """Let in who waits."""
        for _ in range(_AT_ONCE):
            try:
                connection, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(listening, error)
                    return
                continue  # the peer has left again (accept(2), ECONNABORTED)
            self._exhausted = False
            connection.setblocking(False)
            opening = self._loop.create_task(self._open(connection))
            self._opening.add(opening)
            opening.add_done_callback(partial(self._opened, connection))

    def _opened(self, connection: socket.socket, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        self._begun.discard(opening)
        if opening.cancelled():  # before its first step
            connection.close()
        self._told()

    async def _open(self, connection: socket.socket) -> None:
        self._begun.add(asyncio.current_task())
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:
            connection.close()  # the peer was faster

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        if not self._exhausted:
            _log.error("new connections wait until there is room for them: %s", error.strerror)
        self._exhausted = True
        self._loop.remove_reader(listening.fileno())
        self._loop.call_later(PAUSE_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening.fileno(), self.accept, listening)


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own, and its peers the addresses that people know.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening

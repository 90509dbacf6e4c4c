"""A DICOM server: a listener and its associations, from the first connection to the last answer."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from dicom_adapter.dimse.acceptor import AcceptedAssociation
from dicom_adapter.dimse.association import Connection
from dicom_adapter.dimse.handlers import Handlers
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.listener import Listener
from dicom_adapter.dimse.negotiation import Extend
from dicom_adapter.dimse.observer import Observer
from dicom_adapter.dimse.registry import Acceptor, Access, Permit, Registry
from dicom_adapter.dimse.transport import ReceiveBuffer, SocketProtocol

LAST_ANSWERS_SECONDS: Final = 3.0
"""After the deadline of a drain: how long operations that run may still end, and new ones are answered with A700."""


class DimseServer:
    """An association acceptor (PS3.8 7.1, PS3.7 D) for C-ECHO and whatever there are handlers for.

    It always accepts connections and bounds what each may do: `limits`. Everything runs on the event loop that `start` is called on.
    """

    def __init__(
        self,
        *,
        ae_titles: Sequence[str],
        handlers: Handlers,
        limits: Limits,
        observer: Observer,
        access: Access | None = None,
        extend: Extend | None = None,
        permit: Permit | None = None,
    ) -> None:
        if not ae_titles:
            raise ValueError("a DICOM server needs an AE title")
        self._registry = Registry(limits)
        self._acceptor = Acceptor(tuple(ae_titles), handlers, limits, observer, self._registry, access, extend, permit)
        self._buffer = ReceiveBuffer()
        self._listener: Listener | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on, the true one where 0 was asked for."""
        return self._port

    @property
    def active(self) -> int:
        """How many associations are open."""
        return self._registry.active

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or the address is not ours.
        """
        listener = Listener(lambda: SocketProtocol(self._begin, self._buffer), self._registry.notify)
        await listener.open(host, port)
        self._listener = listener
        self._port = listener.port

    def _begin(self, connection: Connection, address: str, port: int) -> AcceptedAssociation:
        return AcceptedAssociation(self._acceptor, connection, address, port)

    async def drain(self, *, accept_for: float, deadline: float) -> None:
        """Stop without taking a running operation down.

        Accepts for another `accept_for` seconds, then closes the listener; associations go on until the loop's clock says `deadline`, those
        idle between two messages for 2 s are aborted. After the deadline running operations may end within 3 s, new C-STOREs are answered
        A700 "Shutting down, send again", and what is left is aborted.
        """
        loop = asyncio.get_running_loop()
        await self._wait(lambda: self._registry.aborted, min(loop.time() + accept_for, deadline))
        if self._listener is not None:
            self._listener.close()
        self._registry.draining_since = loop.time()
        for association in tuple(self._registry.connections):
            association.drain()
        await self._wait(self._is_quiet, deadline)
        self._registry.refusing = True
        await self._wait(self._is_quiet, loop.time() + LAST_ANSWERS_SECONDS)
        self.abort()
        await self.wait_closed()

    def abort(self) -> None:
        """Close the listener, send an A-ABORT on every association (PS3.8 7.3) and cancel the handlers that run."""
        self._registry.aborted = True
        if self._listener is not None:
            self._listener.abort()
        self._registry.notify()
        for association in tuple(self._registry.connections):
            association.shut_down()

    async def wait_closed(self) -> None:
        """Wait until the last connection is closed and the last handler has returned, after `drain` or `abort`."""
        await self._registry.until(lambda: not self._lets_in() and not self._registry.connections)

    def _lets_in(self) -> bool:
        return self._listener is not None and (self._listener.listening or self._listener.opening)

    def _is_quiet(self) -> bool:
        return self._registry.aborted or not self._registry.active

    async def _wait(self, condition: Callable[[], bool], until: float) -> None:
        """Wait for `condition`, at most to `until` on the loop's clock."""
        try:
            async with asyncio.timeout_at(until):
                await self._registry.until(condition)
        except TimeoutError:
            pass

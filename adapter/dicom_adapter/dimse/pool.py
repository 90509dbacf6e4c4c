"""A pool of associations to other nodes: a limit per peer, reuse of the idle, and turns in the order of asking."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from dicom_adapter.dimse.client import CLIENT_BUFFER_BYTES, ClientAssociation, PeerAddress, Tls, connect
from dicom_adapter.dimse.errors import ContextNotAccepted, PoolClosed
from dicom_adapter.dimse.handlers import Handlers
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.proposal import Extras, PresentationContext
from dicom_adapter.dimse.transport import ReceiveBuffer

IDLE_SECONDS: Final = 30.0
"""Shorter than what acceptors allow: who keeps us should not have to abort us."""


@dataclass(slots=True)
class _Idle:
    association: ClientAssociation
    contexts: tuple[PresentationContext, ...]
    expiry: asyncio.TimerHandle


@dataclass(slots=True)
class _Peer:
    """One peer's associations: `used` counts those that somebody has or opens."""

    used: int = 0
    idle: deque[_Idle] = field(default_factory=deque)
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Pool:
    """Associations that outlive their use. All with one calling AE title and one set of handlers; for one event loop.

    At most `per_peer` associations to one peer are open; who asks for more waits, and is served in the order of asking. An association that
    is given back and still usable waits for the next user with the same presentation contexts, for `idle_seconds`.
    """

    def __init__(
        self,
        *,
        calling_ae_title: str,
        limits: Limits | None = None,
        handlers: Handlers | None = None,
        extras: Extras | None = None,
        per_peer: int = 4,
        idle_seconds: float = IDLE_SECONDS,
        tls: Tls | None = None,
    ) -> None:
        self._calling_ae_title = calling_ae_title
        self._limits = limits or Limits()
        self._handlers = handlers
        self._extras = extras
        self._per_peer = per_peer
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._buffer = ReceiveBuffer(CLIENT_BUFFER_BYTES)
        self._peers: dict[PeerAddress, _Peer] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    def open(self, peer: PeerAddress) -> int:
        """Return how many associations to a peer are open, in use or idle."""
        found = self._peers.get(peer)
        return found.used + len(found.idle) if found is not None else 0

    def waiting(self, peer: PeerAddress) -> int:
        """Return how many wait for one: who has one and could do without it for a moment gives it back."""
        found = self._peers.get(peer)
        return len(found.waiting) if found is not None else 0

    @asynccontextmanager
    async def association(self, peer: PeerAddress, contexts: Sequence[PresentationContext]) -> AsyncIterator[ClientAssociation]:
        """Lend an association: an idle one, or a new one.

        It comes back at the end of the block. An exception of the block that is not about one request (`ContextNotAccepted` is) costs the
        association: nobody knows what is on its way on it.

        Raises:
            DimseError: there is none; see `connect`. `PoolClosed` when the pool is closed.
        """
        wanted = tuple(contexts)
        association = await self._take(peer, wanted)
        try:
            yield association
        except BaseException as error:
            self._give_back(peer, wanted, association, reusable=isinstance(error, ContextNotAccepted))
            raise
        self._give_back(peer, wanted, association, reusable=True)

    async def close(self) -> None:
        """Release what is idle and turn away who waits. What is in use is released when it is given back."""
        self._closed = True
        for peer, found in tuple(self._peers.items()):
            for waiting in found.waiting:
                if not waiting.done():
                    waiting.set_exception(PoolClosed())
            found.waiting.clear()
            while found.idle:
                self._end(peer, found, found.idle.popleft())
        while self._endings:
            await asyncio.wait(self._endings)

    # Whose turn it is

    async def _take(self, peer: PeerAddress, contexts: tuple[PresentationContext, ...]) -> ClientAssociation:
        found = self._peers.setdefault(peer, _Peer())
        try:
            await self._turn(found)
        except BaseException:
            self._forget(peer, found)
            raise
        try:
            idle = self._idle(peer, found, contexts)
            if idle is not None:
                return idle
            if found.idle and found.used + len(found.idle) > self._per_peer:  # one with other contexts has our place
                await asyncio.shield(self._end(peer, found, found.idle.popleft()))
            return await connect(
                peer,
                calling_ae_title=self._calling_ae_title,
                contexts=contexts,
                limits=self._limits,
                handlers=self._handlers,
                extras=self._extras,
                buffer=self._buffer,
                tls=self._tls,
            )
        except BaseException:
            self._leave(peer, found)
            raise

    async def _turn(self, found: _Peer) -> None:
        """Wait for one of the peer's places."""
        if self._closed:
            raise PoolClosed
        if not found.waiting and found.used < self._per_peer:
            found.used += 1
            return
        turn = asyncio.get_running_loop().create_future()
        found.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in found.waiting:
                found.waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                found.used -= 1
                self._next(found)
            raise

    def _idle(self, peer: PeerAddress, found: _Peer, contexts: tuple[PresentationContext, ...]) -> ClientAssociation | None:
        """Return an idle association that can be used; the peer may have closed one meanwhile."""
        for idle in tuple(found.idle):
            if not idle.association.usable:
                found.idle.remove(idle)
                self._end(peer, found, idle)
            elif idle.contexts == contexts:
                found.idle.remove(idle)
                idle.expiry.cancel()
                return idle.association
        return None

    def _give_back(
        self, peer: PeerAddress, contexts: tuple[PresentationContext, ...], association: ClientAssociation, *, reusable: bool
    ) -> None:
        found = self._peers[peer]
        if reusable and association.usable and not self._closed:
            expiry = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, peer, association)
            found.idle.append(_Idle(association, contexts, expiry))
            self._leave(peer, found)
        else:
            self._spawn(self._finish(peer, found, association.release() if reusable else association.abort()))

    def _leave(self, peer: PeerAddress, found: _Peer) -> None:
        found.used -= 1
        self._next(found)
        self._forget(peer, found)

    def _next(self, found: _Peer) -> None:
        while found.waiting and found.used < self._per_peer:
            waiting = found.waiting.popleft()
            if not waiting.done():
                found.used += 1
                waiting.set_result(None)

    def _forget(self, peer: PeerAddress, found: _Peer) -> None:
        if not found.used and not found.idle and not found.waiting and self._peers.get(peer) is found:
            del self._peers[peer]

    # How they end

    def _expire(self, peer: PeerAddress, association: ClientAssociation) -> None:
        found = self._peers[peer]
        for idle in tuple(found.idle):
            if idle.association is association:
                found.idle.remove(idle)
                self._end(peer, found, idle)

    def _end(self, peer: PeerAddress, found: _Peer, idle: _Idle) -> asyncio.Task[None]:
        """Release an idle association, which has a place until it is closed."""
        idle.expiry.cancel()
        found.used += 1
        return self._spawn(self._finish(peer, found, idle.association.release()))

    async def _finish(self, peer: PeerAddress, found: _Peer, ending: Coroutine[None, None, None]) -> None:
        try:
            await ending
        finally:
            self._leave(peer, found)

    def _spawn(self, ending: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task

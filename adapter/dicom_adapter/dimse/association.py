"""One association at run time (PS3.8 7): the machine's outputs carried out, limits kept, silence ended.

One timer serves all deadlines. It is set for the nearest and looks again when it fires, so that traffic does not touch it.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, Protocol

from dicom_adapter.dimse.associate import AssociateRequest
from dicom_adapter.dimse.deadlines import Deadline, Due, Silence
from dicom_adapter.dimse.machine import (
    AbortIndication,
    AssociateIndication,
    Close,
    Output,
    ReleaseIndication,
    Send,
    StartTimer,
    StopTimer,
    UpperLayer,
)
from dicom_adapter.dimse.negotiation import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    encode_acceptance,
    encode_rejection,
    negotiate,
    screen,
)
from dicom_adapter.dimse.observer import AssociationSummary, Outcome, Peer
from dicom_adapter.dimse.pdu import AbortReason, AbortSource, Fragment, ProtocolViolation
from dicom_adapter.dimse.performer import Negotiated, Performer
from dicom_adapter.dimse.registry import Acceptor
from dicom_adapter.dimse.sopclasses import abstract_syntax_name
from dicom_adapter.dimse.states import State

_log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 1.0
"""How long a last A-ABORT may take to leave when we do not wait for the peer to close."""


class Connection(Protocol):
    """The transport connection below an association: what of `asyncio.Transport` is used."""

    def write(self, data: bytes, /) -> None:
        """Send bytes, in time."""

    def is_closing(self) -> bool:
        """Whether it is closed, or as good as."""

    def pause_reading(self) -> None:
        """Hold the peer back."""

    def resume_reading(self) -> None:
        """Read again."""

    def close(self) -> None:
        """Send what was written, then close."""

    def abort(self) -> None:
        """Close at once."""


class Association:
    """A connection and the association on it, from the first byte to the return of the last handler."""

    def __init__(self, acceptor: Acceptor, connection: Connection, address: str, port: int) -> None:
        self._acceptor = acceptor
        self._registry = acceptor.registry
        self._limits = acceptor.limits
        self._observer = acceptor.observer
        self._connection = connection
        self._address, self._port = address, port
        self._loop = asyncio.get_running_loop()
        self._machine = UpperLayer(acceptor.limits)
        self._silence = Silence(acceptor.limits, self._loop.time(), draining_since=acceptor.registry.draining_since)
        self._timer: asyncio.TimerHandle | None = None
        self._peer: Peer | None = None
        self._performer: Performer | None = None
        self._id = 0
        self._accepted_at = 0.0
        self._received_bytes = 0
        self._end: tuple[Outcome, str] = "lost", "the connection was closed"
        self._ended = False
        self._held_back = False
        self._lost = False
        self._shut_down = False
        self._finished = False

    # What the connection calls

    def start(self) -> None:
        """The connection is open."""
        self._registry.connections.add(self)
        self._carry_out(self._machine.connect())
        self._set_timer()

    def receive(self, data: memoryview) -> None:
        """Take bytes off the wire. What is kept of `data` is copied before this returns."""
        self._received_bytes += len(data)
        self._observer.bytes_received(len(data))
        self._silence.last_heard = self._loop.time()
        try:
            for output in self._machine.receive(data):
                if type(output) is Fragment:
                    self._take(output)
                else:
                    self._carry_out((output,))
            if self._performer is not None:
                self._performer.pass_data()
            self._changed()
        except Exception:
            _log.exception("internal error in an association; it is dropped")
            self._ending("aborted", "internal error")
            self._connection.abort()

    def pause_writing(self) -> None:
        """The peer leaves our answers unread."""
        self._silence.unread_since = self._loop.time()
        self._changed()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._silence.unread_since = None
        self._changed()

    def lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._lost = True
        reason = f"the connection was lost: {error}" if error else "the peer closed the connection without a release"
        if self._machine.state in (State.STA3, State.STA6, State.STA8):
            self._ending("lost", reason)
        self._machine.closed()
        if self._timer is not None:
            self._timer.cancel()
        if self._performer is not None:
            self._performer.close(reason)
        self._finish()

    # What the server calls

    def drain(self) -> None:
        """The server takes no new associations: this one ends once it falls idle."""
        self._silence.draining_since = self._registry.draining_since
        self._set_timer()

    def shut_down(self) -> None:
        """Abort now, without waiting for the peer to close, and cancel the handler."""
        self._shut_down = True
        self._abort(AbortSource.SERVICE_USER, "shutting down")
        if self._performer is not None:
            self._performer.cancel()
        if not self._lost:
            if self._timer is not None:
                self._timer.cancel()
            self._connection.close()
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._connection.abort)

    # What the machine says

    def _carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            match output:
                case Send(data):
                    if not self._connection.is_closing():  # asyncio logs a line for each write on a connection that has failed
                        self._connection.write(data)
                case StartTimer():
                    self._silence.artim_since = self._loop.time()
                case StopTimer():
                    self._silence.artim_since = None
                case Close():
                    self._connection.abort()
                case AssociateIndication(request):
                    self._associate(request)
                case ReleaseIndication():
                    if self._performer is not None:
                        self._performer.interrupt("the peer released the association inside a message")
                    self._settle()
                case AbortIndication(by_peer, message):
                    self._ending("aborted by peer" if by_peer else "aborted", message)
                    if self._performer is not None:
                        self._performer.close(message)
                case _:
                    pass  # Foreign: told to the observer at the end, as everything that never was DICOM

    def _associate(self, request: AssociateRequest) -> None:
        peer = self._peer = Peer(request.calling_ae_title, request.called_ae_title, self._address, self._port)
        acceptor = self._acceptor
        rejection = (
            screen(request, acceptor.ae_titles)
            or (acceptor.access(request, self._address) if acceptor.access is not None else None)
            or self._registry.refuse(peer)
        )
        if rejection is not None:
            self._carry_out(self._machine.reject(encode_rejection(rejection)))
            self._observer.association_rejected(peer, rejection)
            return
        agreement = negotiate(request, acceptor.handlers.services(), self._limits.max_operations, acceptor.extend)
        acceptance = encode_acceptance(request, agreement, self._limits.max_pdu_bytes)
        contexts = agreement.accepted()
        self._id = self._registry.enter(peer)
        self._accepted_at = self._loop.time()
        negotiated = Negotiated(self._id, peer, contexts, request.maximum_length)
        self._performer = Performer(self._acceptor, negotiated, send=self._send_data, changed=self._changed, relieved=self._relieved)
        self._carry_out(self._machine.accept(acceptance, frozenset(contexts)))
        self._observer.association_accepted(self._id, peer)
        refused = (context for context in agreement.contexts if context.result == ABSTRACT_SYNTAX_NOT_SUPPORTED)
        for uid in dict.fromkeys(context.abstract_syntax for context in refused):
            self._observer.context_refused(peer, uid, abstract_syntax_name(uid))

    def _take(self, fragment: Fragment) -> None:
        if self._performer is None:
            return
        try:
            self._performer.take(fragment)
        except ProtocolViolation as violation:
            self._abort(AbortSource.SERVICE_PROVIDER, str(violation), violation.reason)

    def _send_data(self, pdus: bytes) -> None:
        if self._machine.state in (State.STA6, State.STA8):
            self._silence.last_heard = self._loop.time()
            self._carry_out(self._machine.send_data(pdus))

    # How it goes on, and how it ends

    def _changed(self) -> None:
        """Whatever happened: see what it allows."""
        self._settle()
        self._throttle()
        self._set_timer()
        self._finish()

    def _relieved(self) -> None:
        """A handler has taken data: let the peer go on if it was held back."""
        if self._held_back:
            self._throttle()
            self._set_timer()

    def _settle(self) -> None:
        """Once all is answered: release if the peer wants to, abort if it was turned away."""
        performer = self._performer
        if performer is not None and not performer.working:
            if self._machine.state is State.STA8:
                self._ending("released", "")
                self._carry_out(self._machine.release())
            elif performer.turned_away and self._machine.state is State.STA6:
                self._abort(AbortSource.SERVICE_USER, "shutting down")

    def _throttle(self) -> None:
        if self._lost or self._performer is None:
            return
        window = self._limits.receive_window_bytes
        full = self._performer.saturated(window // 2 if self._held_back else window)
        wanted = self._machine.state is State.STA6 and (full or self._silence.unread_since is not None)
        if wanted and not self._held_back:
            self._held_back = True
            self._connection.pause_reading()
        elif self._held_back and not wanted:
            self._held_back = False
            self._silence.last_heard = self._loop.time()
            self._connection.resume_reading()

    def _abort(self, source: AbortSource, message: str, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        self._ending("aborted", message)
        self._carry_out(self._machine.abort(source, reason))
        if self._performer is not None:
            self._performer.close(message)
        self._throttle()

    def _ending(self, outcome: Outcome, reason: str) -> None:
        """Keep the first reason: what follows is its consequence."""
        if not self._ended:
            self._ended = True
            self._end = outcome, reason

    def _finish(self) -> None:
        performer = self._performer
        if not self._lost or self._finished or (performer is not None and performer.working):
            return
        self._finished = True
        if performer is not None and self._peer is not None:
            self._registry.leave(self._peer)
            outcome, reason = self._end
            seconds = self._loop.time() - self._accepted_at
            self._observer.association_ended(
                AssociationSummary(self._id, self._peer, outcome, reason, dict(performer.counts), self._received_bytes, seconds)
            )
        elif self._peer is None and not self._shut_down:
            self._observer.no_dicom(self._address)
        self._registry.closed(self)

    # Deadlines

    def _next_deadline(self) -> Deadline | None:
        performer = self._performer
        return self._silence.next_deadline(
            established=self._machine.state is State.STA6,
            inside_message=self._machine.inside_pdu or (performer is not None and performer.inside_message),
            held_back=self._held_back,
            working=performer is not None and performer.working,
        )

    def _set_timer(self) -> None:
        if self._lost or self._shut_down:
            return
        if self._timer is not None and self._timer.when() <= self._silence.earliest():
            return  # the usual case under load
        deadline = self._next_deadline()
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline.at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline.at, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        deadline = self._next_deadline()
        if deadline is not None and deadline.at <= self._loop.time():
            self._expire(deadline.due)
        self._set_timer()

    def _expire(self, due: Due) -> None:
        limits = self._limits
        match due:
            case Due.ARTIM:
                self._carry_out(self._machine.timer_expired())
            case Due.UNREAD:
                self._abort(
                    AbortSource.SERVICE_PROVIDER,
                    f"it left our answers unread for {limits.dimse_timeout:g} s (spec.limits.dimseTimeoutSeconds)",
                )
                self._connection.abort()
            case Due.STALLED:
                service = self._performer.receiving_service if self._performer is not None else None
                what = f"{service}; nothing of it was stored" if service else "a message"
                self._abort(
                    AbortSource.SERVICE_PROVIDER, f"no data for {limits.dimse_timeout:g} s inside {what} (spec.limits.dimseTimeoutSeconds)"
                )
            case Due.IDLE:
                self._abort(AbortSource.SERVICE_PROVIDER, f"idle for {limits.idle_timeout:g} s (spec.limits.idleTimeoutSeconds)")
            case Due.DRAINED:
                self._abort(AbortSource.SERVICE_USER, "idle while shutting down")

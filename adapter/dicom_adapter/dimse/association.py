"""An association at run time, whichever side we are (PS3.8 7): the machine's outputs carried out, limits kept, silence ended.

One timer serves all deadlines. It is set for the nearest and looks again when it fires, so that traffic does not touch it.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final, Protocol

from dicom_adapter.dimse.deadlines import Deadline, Due, Silence
from dicom_adapter.dimse.errors import (
    AssociationAborted,
    AssociationEnded,
    AssociationLost,
    AssociationReleased,
    PeerSilent,
    PeerViolation,
)
from dicom_adapter.dimse.exchange import Exchange
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.machine import (
    AbortIndication,
    Close,
    Output,
    ReleaseIndication,
    Send,
    StartTimer,
    StopTimer,
    UpperLayer,
)
from dicom_adapter.dimse.observer import Outcome
from dicom_adapter.dimse.pdu import AbortReason, AbortSource, Fragment, ProtocolViolation
from dicom_adapter.dimse.states import State

_log = logging.getLogger(__name__)

LAST_LOOK_SECONDS: Final = 0.01
"""What a peer has said while the event loop was busy, or the process stopped, is heard before its silence has consequences."""

FLUSH_SECONDS: Final = 1.0
"""How long a last A-ABORT may take to leave when we do not wait for the peer to close."""

_RELEASED: Final = "the peer has released the association"
_TRANSFER: Final = (State.STA6, State.STA8)
_ASSOCIATED: Final = (State.STA3, State.STA6, State.STA7, State.STA8, State.STA9, State.STA10, State.STA11, State.STA12)


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

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known beside: `socket`."""


def reset(connection: Connection) -> None:
    """Close with a RST. Behind a FIN, what the peer leaves unread would stay in the kernel for minutes, and the peer would not notice."""
    with contextlib.suppress(OSError):
        connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.abort()


class Association(ABC):
    """A connection and the association on it, from the first byte to the return of the last handler."""

    def __init__(self, limits: Limits, connection: Connection, *, draining_since: float | None = None) -> None:
        self._limits = limits
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._machine = UpperLayer(limits)
        self._silence = Silence(limits, self._loop.time(), draining_since=draining_since)
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: Deadline | None = None
        self._exchange: Exchange | None = None
        self._end: AssociationEnded | None = None
        self._outcome: Outcome = "lost"
        self._held_back = False
        self._lost = False
        self._shut_down = False

    # What is different on the two sides

    @abstractmethod
    def start(self) -> None:
        """The connection is open."""

    @abstractmethod
    def _told(self, output: Output) -> None:
        """Take an output of the machine that only one side has."""

    @abstractmethod
    def _settled(self) -> None:
        """No operation is in work."""

    @abstractmethod
    def _finish(self) -> None:
        """See whether the connection is closed and the last handler has returned."""

    @abstractmethod
    def _sentence(self, due: Due) -> str:
        """Say which deadline has passed."""

    # What the connection calls

    def receive(self, data: memoryview) -> None:
        """Take bytes off the wire. What is kept of `data` is copied before this returns."""
        self._silence.last_heard = self._loop.time()
        try:
            for output in self._machine.receive(data):
                if type(output) is Fragment:
                    self._take(output)
                else:
                    self._carry_out((output,))
            if self._exchange is not None:
                self._pass_data(self._exchange)
            self._changed()
        except Exception:
            _log.exception("internal error in an association; it is dropped")
            self._ending("aborted", AssociationAborted("internal error"))
            self._connection.abort()

    def pause_writing(self) -> None:
        """The peer leaves what we send unread."""
        self._silence.unread_since = self._loop.time()
        if self._exchange is not None:
            self._exchange.outlet.pause()
        self._changed()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._silence.unread_since = None
        self._silence.last_heard = self._loop.time()
        if self._exchange is not None:
            self._exchange.outlet.resume()
        self._changed()

    def lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._lost = True
        end = AssociationLost(f"the connection was lost: {error}" if error else "the peer closed the connection without a release")
        if self._machine.state in _ASSOCIATED:
            self._ending("lost", end)
        self._machine.closed()
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.close(self._end or end)
        self._finish()

    @property
    def held_back(self) -> bool:
        """Whether nothing is to be read from the peer for now."""
        return self._held_back

    # What the owner calls

    def shut_down(self, message: str = "shutting down") -> None:
        """Abort now, without waiting for the peer to close, and cancel the handlers."""
        self._shut_down = True
        self._abort(AbortSource.SERVICE_USER, AssociationAborted(message))
        if self._exchange is not None:
            self._exchange.performer.cancel()
        if not self._lost:
            if self._timer is not None:
                self._timer.cancel()
            self._connection.close()
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._connection.abort)

    # What the machine says

    def _write(self, data: bytes) -> None:
        if self._connection.is_closing():  # asyncio logs a line for each write on a connection that has failed
            self._unheard()
            return
        try:
            self._connection.write(data)
        except RuntimeError:  # uvloop: closed under us, for the attempt to connect was cancelled just when it had come about
            self._connection.abort()

    def _unheard(self) -> None:
        """What is sent goes nowhere: who sends waits to hear of it, and lets `lost` have its turn.

        That comes at once, or when the peer has read what was sent before: as long as any peer may take for that.
        """
        if self._exchange is not None:
            self._exchange.outlet.pause()
            if self._silence.unread_since is None:
                self._silence.unread_since = self._loop.time()
                self._set_timer()

    def _carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            match output:
                case Send(data):
                    self._write(data)
                case StartTimer():
                    self._silence.artim_since = self._loop.time()
                case StopTimer():
                    self._silence.artim_since = None
                case Close():
                    self._connection.abort()
                case ReleaseIndication(collision):
                    if self._exchange is not None:
                        self._exchange.released(AssociationReleased(_RELEASED))
                    if collision:
                        self._silence.last_heard = self._loop.time()
                    self._settle()
                case AbortIndication(by_peer, message):
                    end = AssociationAborted(message) if by_peer else PeerViolation(message)
                    self._ending("aborted by peer" if by_peer else "aborted", end)
                    self._close_exchange()
                case _:
                    self._told(output)

    def _take(self, fragment: Fragment) -> None:
        if self._exchange is None:
            return
        try:
            self._exchange.take(fragment)
        except ProtocolViolation as violation:
            self._violated(violation)

    def _pass_data(self, exchange: Exchange) -> None:
        try:
            exchange.pass_data()
        except ProtocolViolation as violation:
            self._violated(violation)

    def _violated(self, violation: ProtocolViolation) -> None:
        self._abort(AbortSource.SERVICE_PROVIDER, PeerViolation(str(violation)), violation.reason)

    def _send_data(self, pdus: bytes) -> None:
        if self._machine.state in _TRANSFER:
            self._silence.last_heard = self._loop.time()
            self._carry_out(self._machine.send_data(pdus))

    def _give_up(self, message: str) -> None:
        self._abort(AbortSource.SERVICE_USER, AssociationAborted(message))

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
        """Once all is answered: release if the peer wants to."""
        if self._exchange is not None and not self._exchange.working:
            match self._machine.state:
                case State.STA8:
                    self._ending("released", AssociationReleased(_RELEASED))
                    self._carry_out(self._machine.release())
                    self._close_exchange()
                case State.STA9 | State.STA12:
                    self._carry_out(self._machine.release())
            self._settled()

    def _throttle(self) -> None:
        exchange = self._exchange
        if self._lost or exchange is None:
            return
        window = self._limits.receive_window_bytes
        full = exchange.saturated(window // 2 if self._held_back else window)
        # A peer that leaves answers unread gets no more of its requests read. What we send piece by piece waits by itself: then go on
        # reading, or two sides that send to each other would wait for each other.
        unread = self._silence.unread_since is not None and not exchange.outlet.busy
        wanted = self._machine.state in (State.STA6, State.STA7) and (full or unread)
        if wanted and not self._held_back:
            self._held_back = True
            self._connection.pause_reading()
        elif self._held_back and not wanted:
            self._held_back = False
            self._silence.last_heard = self._loop.time()
            self._connection.resume_reading()

    def _abort(self, source: AbortSource, end: AssociationEnded, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        self._ending("aborted", end)
        self._carry_out(self._machine.abort(source, reason))
        self._close_exchange()
        self._throttle()
        self._set_timer()

    def _close_exchange(self) -> None:
        if self._exchange is not None and self._end is not None:
            self._exchange.close(self._end)

    def _ending(self, outcome: Outcome, end: AssociationEnded) -> None:
        """Keep the first reason: what follows is its consequence."""
        if self._end is None:
            self._outcome, self._end = outcome, end

    # Deadlines

    def _next_deadline(self) -> Deadline | None:
        exchange = self._exchange
        return self._silence.next_deadline(
            established=self._machine.state is State.STA6,
            inside_message=self._machine.inside_pdu or (exchange is not None and exchange.inside_message),
            held_back=self._held_back,
            awaiting=exchange is not None and exchange.invoker.awaiting,
            working=exchange is not None and exchange.working,
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
            if deadline != self._overdue:  # the loop runs its timers before it reads what has come
                self._overdue = deadline
                self._timer = self._loop.call_later(LAST_LOOK_SECONDS, self._look_at_clock)
                return
            self._expire(deadline.due)
        self._set_timer()

    def _expire(self, due: Due) -> None:
        if due is Due.ARTIM:
            self._carry_out(self._machine.timer_expired())
            return
        self._silence.answer_by = None
        source = AbortSource.SERVICE_USER if due is Due.DRAINED else AbortSource.SERVICE_PROVIDER
        self._abort(source, PeerSilent(self._sentence(due)))
        if due is Due.UNREAD:
            reset(self._connection)

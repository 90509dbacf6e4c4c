"""The DICOM upper layer protocol machine (PS3.8 9.2) of both roles, sans-IO.

Bytes go in through `receive`, local primitives through the methods named after them; out come events for the owner of the connection:
what to send, when the ARTIM timer runs, when to close, and what the peer wants. No sockets, no clock, no tasks.

It walks `states.TRANSITIONS`, table 9-10 cell by cell. What differs from the standard:

* A connection whose first byte begins no DICOM PDU (HTTP, TLS, a port scan, a server of something else) is closed without an answer instead
  of Evt19: the other side would not understand an A-ABORT.
* AE-6 always issues the indication and leads to Sta3; a request of another protocol version is rejected from there (AE-8): on the wire it
  is the same.
* An A-ABORT in Sta4, where nothing was sent yet, closes the connection that is being opened (AA-2); there is no timer to stop.
* After Evt19 the stream cannot be trusted, so all later bytes are dropped instead of being read as PDUs in Sta13.
* An A-ABORT that a timer causes names the service provider as its source (PS3.8 table 9-26, source 2, reason 0).
"""

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from dicom_adapter.dimse.associate import AssociateAcceptance, AssociateRequest, decode_associate_acceptance, decode_associate_request
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.pdu import (
    PDU_HEADER,
    AbortReason,
    AbortSource,
    Body,
    Foreign,
    Fragment,
    Header,
    PduReader,
    PduType,
    ProtocolViolation,
)
from dicom_adapter.dimse.states import PDU_EVENTS, TRANSITIONS, Action, Event, State

_log = logging.getLogger(__name__)


# The actions that need what the PDU says; for the others its header is enough and the rest is passed over.
_READING_ACTIONS: Final = frozenset(
    {
        *(Action.AE3, Action.AE4, Action.AE6, Action.DT2),
        *(Action.AR2, Action.AR3, Action.AR6, Action.AR8, Action.AR10),
        *(Action.AA2, Action.AA3),
    }
)


class Send(NamedTuple):
    """Send these bytes."""

    data: bytes


class StartTimer(NamedTuple):
    """Start ARTIM, or start it again."""


class StopTimer(NamedTuple):
    """Stop ARTIM."""


class Close(NamedTuple):
    """Close the transport connection."""


class Connect(NamedTuple):
    """Open the transport connection, then call `connected`."""


class AssociateIndication(NamedTuple):
    """The peer asks for an association: answer with `accept` or `reject`."""

    request: AssociateRequest


class AssociateConfirmation(NamedTuple):
    """The peer accepts the association."""

    acceptance: AssociateAcceptance


class AssociateRefusal(NamedTuple):
    """The peer rejects the association (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int


class ReleaseIndication(NamedTuple):
    """The peer asks for the release: answer with `release` when the operations are done. In a collision both have asked at once."""

    collision: bool = False


class ReleaseConfirmation(NamedTuple):
    """The peer agrees to the release."""


class AbortIndication(NamedTuple):
    """The association is gone: the peer aborted it (A-ABORT indication), or the connection was lost or violated (A-P-ABORT indication)."""

    by_peer: bool
    message: str


Output = (
    Send
    | StartTimer
    | StopTimer
    | Close
    | Connect
    | AssociateIndication
    | AssociateConfirmation
    | AssociateRefusal
    | ReleaseIndication
    | ReleaseConfirmation
    | AbortIndication
    | Fragment
    | Foreign
)


class InvalidTransition(Exception):
    """The owner used a primitive in a state that has none: a mistake of ours, never of the peer."""


def encode_abort(source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """Encode an A-ABORT (PS3.8 9.3.8)."""
    return PDU_HEADER.pack(PduType.A_ABORT, 4) + bytes((0, 0, source, reason))


RELEASE_REQUEST: Final = PDU_HEADER.pack(PduType.A_RELEASE_RQ, 4) + bytes(4)
RELEASE_RESPONSE: Final = PDU_HEADER.pack(PduType.A_RELEASE_RP, 4) + bytes(4)


class UpperLayer:
    """One association's machine. Every method returns or yields what its owner must do, in order."""

    __slots__ = ("_contexts", "_deaf", "_limits", "_reader", "_requestor", "state")

    def __init__(self, limits: Limits) -> None:
        self.state = State.STA1
        self._limits = limits
        self._reader = PduReader(limits)
        self._contexts: frozenset[int] = frozenset()
        self._requestor = False
        self._deaf = False

    @property
    def inside_pdu(self) -> bool:
        """Whether the peer has begun a PDU and not finished it."""
        return self._reader.inside_pdu

    def _step(self, event: Event) -> Action:
        try:
            action, state, otherwise = TRANSITIONS[self.state, event]
        except KeyError:
            raise InvalidTransition(f"{event} in {self.state}") from None
        self.state = otherwise if action is Action.AR8 and otherwise is not None and not self._requestor else state
        return action

    def associate(self) -> tuple[Output, ...]:
        """Evt1: be the requestor of an association."""
        self._step(Event.EVT1)
        self._requestor = True
        return (Connect(),)

    def connected(self, request: bytes, contexts: frozenset[int]) -> tuple[Output, ...]:
        """Evt2: the connection that `associate` asked for is open: ask for the association, proposing `contexts`."""
        self._step(Event.EVT2)
        self._contexts = contexts
        return (Send(request),)

    def connect(self) -> tuple[Output, ...]:
        """Evt5: a transport connection was opened to us: be its acceptor."""
        self._step(Event.EVT5)
        return (StartTimer(),)

    def accept(self, acceptance: bytes, contexts: frozenset[int]) -> tuple[Output, ...]:
        """Evt7: accept the association; P-DATA may come on `contexts`."""
        self._step(Event.EVT7)
        self._contexts = contexts
        return (Send(acceptance),)

    def reject(self, rejection: bytes) -> tuple[Output, ...]:
        """Evt8: reject the association."""
        self._step(Event.EVT8)
        return Send(rejection), StartTimer()

    def send_data(self, pdus: bytes) -> tuple[Output, ...]:
        """Evt9: send P-DATA-TF."""
        self._step(Event.EVT9)
        return (Send(pdus),)

    def request_release(self) -> tuple[Output, ...]:
        """Evt11: ask for the release."""
        self._step(Event.EVT11)
        return (Send(RELEASE_REQUEST),)

    def release(self) -> tuple[Output, ...]:
        """Evt14: agree to the release."""
        action = self._step(Event.EVT14)
        return (Send(RELEASE_RESPONSE),) if action is Action.AR9 else (Send(RELEASE_RESPONSE), StartTimer())

    def abort(self, source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> tuple[Output, ...]:
        """Evt15: abort the association, or do nothing where there is none any more."""
        if (self.state, Event.EVT15) not in TRANSITIONS:
            return ()
        if self._step(Event.EVT15) is Action.AA2:
            return (Close(),)
        return Send(encode_abort(source, reason)), StartTimer()

    def closed(self) -> tuple[Output, ...]:
        """Evt17: the transport connection is closed."""
        if self.state is State.STA1:
            return ()
        action = self._step(Event.EVT17)
        return (AbortIndication(False, "the connection was closed"),) if action is Action.AA4 else (StopTimer(),)

    def timer_expired(self) -> tuple[Output, ...]:
        """Evt18: ARTIM has expired."""
        self._step(Event.EVT18)
        return StopTimer(), Close()

    def receive(self, data: memoryview) -> Iterator[Output]:
        """Take bytes from the peer; act on each output before the next is asked for: the answers change the state the rest is read in."""
        if self._deaf:
            return
        try:
            for event in self._reader.feed(data):
                if isinstance(event, Fragment):
                    if self.state is not State.STA6 and self.state is not State.STA7:
                        continue  # the rest of a PDU that its owner answered with an A-ABORT (AA-6)
                    if event.context_id not in self._contexts:
                        raise ProtocolViolation(f"P-DATA on presentation context {event.context_id}, which was not accepted")
                    yield event
                elif isinstance(event, Header):
                    yield from self._header(event)
                elif isinstance(event, Body):
                    yield from self._body(event)
                else:
                    self._deaf = True
                    self.state = State.STA1
                    yield event
                    yield Close()
                if self.state is State.STA1:
                    self._deaf = True
                if self._deaf:
                    return
        except ProtocolViolation as violation:
            self._deaf = True
            _log.debug("invalid PDU in %s: %s", self.state, violation)
            yield from self._act(self._step(Event.EVT19), violation.reason, str(violation))

    def _header(self, header: Header) -> Iterator[Output]:
        event = PDU_EVENTS[header.type]
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("received %s of %d bytes in %s", header.type.name, header.length, self.state)
        action = TRANSITIONS[self.state, event].action
        if action in _READING_ACTIONS:
            return
        before = self.state
        self._reader.skip()
        yield from self._act(self._step(event), AbortReason.UNEXPECTED_PDU, f"unexpected {header.type.name} in {before}")

    def _body(self, body: Body) -> Iterator[Output]:
        match body.type:
            case PduType.A_ASSOCIATE_RQ:
                # Decoded before the step: what is no valid A-ASSOCIATE-RQ is Evt19, not Evt6.
                request = decode_associate_request(body.data)
                self._step(Event.EVT6)
                yield StopTimer()
                yield AssociateIndication(request)
            case PduType.A_ASSOCIATE_AC:
                acceptance = decode_associate_acceptance(body.data)
                self._contexts = _usable(acceptance, self._contexts)
                self._step(Event.EVT3)
                yield AssociateConfirmation(acceptance)
            case PduType.A_ASSOCIATE_RJ:
                self._step(Event.EVT4)
                yield AssociateRefusal(*body.data[1:4])
                yield Close()
            case PduType.A_RELEASE_RQ:
                yield ReleaseIndication(collision=self._step(Event.EVT12) is Action.AR8)
            case PduType.A_RELEASE_RP:
                action = self._step(Event.EVT13)
                yield ReleaseConfirmation()
                if action is Action.AR3:
                    yield Close()
            case _:
                yield from self._act(self._step(Event.EVT16), AbortReason.NOT_SPECIFIED, _abort_text(body.data))

    def _act(self, action: Action, reason: AbortReason, message: str) -> Iterator[Output]:
        match action:
            case Action.AA1:
                yield Send(encode_abort(AbortSource.SERVICE_USER))
                yield StartTimer()
            case Action.AA2:
                yield StopTimer()
                yield Close()
            case Action.AA3:
                yield AbortIndication(True, message)
                yield Close()
            case Action.AA7:
                yield Send(encode_abort(AbortSource.SERVICE_PROVIDER, reason))
            case Action.AA8:
                yield Send(encode_abort(AbortSource.SERVICE_PROVIDER, reason))
                yield AbortIndication(False, message)
                yield StartTimer()
            case _:  # AA-6
                pass


def _usable(acceptance: AssociateAcceptance, proposed: frozenset[int]) -> frozenset[int]:
    """Return the contexts that were accepted, all of which must have been proposed."""
    answered = [context.context_id for context in acceptance.contexts]
    if len(set(answered)) != len(answered) or not proposed.issuperset(answered):
        raise ProtocolViolation("an A-ASSOCIATE-AC answers a presentation context twice, or one that was not proposed")
    return frozenset(context.context_id for context in acceptance.contexts if not context.result)


def _abort_text(body: bytes) -> str:
    source, reason = body[2], body[3]
    if source == AbortSource.SERVICE_USER:
        return "the peer's application aborted"
    return f"the peer's upper layer aborted, source {source}, reason {reason}"

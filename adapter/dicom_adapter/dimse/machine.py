"""The DICOM upper layer protocol machine (PS3.8 9.2) of an association acceptor, sans-IO.

Bytes go in through `receive`, local primitives through the methods named after them; out come events for the owner of the connection:
what to send, when the ARTIM timer runs, when to close, and what the peer wants. No sockets, no clock, no tasks.

`TRANSITIONS` is table 9-10 for the acceptor: hold it against the standard. What differs:

* A connection whose first byte begins no DICOM PDU (HTTP, TLS, a port scan) is closed without an answer instead of Evt19/AA-1: the other
  side would not understand an A-ABORT.
* After Evt19 the stream cannot be trusted, so all later bytes are dropped instead of being read as PDUs in Sta13.
* An A-ABORT that a timer causes names the service provider as its source (PS3.8 table 9-26, source 2, reason 0).
"""

import logging
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from dicom_adapter.dimse.associate import AssociateRequest, decode_associate_request
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

_log = logging.getLogger(__name__)


class State(StrEnum):
    """PS3.8 tables 9-1 to 9-5, as far as an acceptor that never asks for a release can come."""

    STA1 = "Sta1: idle"
    STA2 = "Sta2: connection open, awaiting A-ASSOCIATE-RQ"
    STA3 = "Sta3: awaiting local A-ASSOCIATE response"
    STA6 = "Sta6: association established, ready for data transfer"
    STA8 = "Sta8: awaiting local A-RELEASE response"
    STA13 = "Sta13: awaiting transport connection close"


class Event(StrEnum):
    """The rows of PS3.8 table 9-10 that an acceptor can meet."""

    EVT3 = "Evt3: A-ASSOCIATE-AC PDU received"
    EVT4 = "Evt4: A-ASSOCIATE-RJ PDU received"
    EVT5 = "Evt5: transport connection indication"
    EVT6 = "Evt6: A-ASSOCIATE-RQ PDU received"
    EVT7 = "Evt7: A-ASSOCIATE response primitive (accept)"
    EVT8 = "Evt8: A-ASSOCIATE response primitive (reject)"
    EVT9 = "Evt9: P-DATA request primitive"
    EVT10 = "Evt10: P-DATA-TF PDU received"
    EVT12 = "Evt12: A-RELEASE-RQ PDU received"
    EVT13 = "Evt13: A-RELEASE-RP PDU received"
    EVT14 = "Evt14: A-RELEASE response primitive"
    EVT15 = "Evt15: A-ABORT request primitive"
    EVT16 = "Evt16: A-ABORT PDU received"
    EVT17 = "Evt17: transport connection closed"
    EVT18 = "Evt18: ARTIM timer expired"
    EVT19 = "Evt19: unrecognized or invalid PDU received"


class Action(StrEnum):
    """PS3.8 tables 9-6 to 9-9."""

    AE5 = "AE-5: issue transport response, start ARTIM"
    AE6 = "AE-6: stop ARTIM, issue A-ASSOCIATE indication"
    AE7 = "AE-7: send A-ASSOCIATE-AC"
    AE8 = "AE-8: send A-ASSOCIATE-RJ, start ARTIM"
    DT1 = "DT-1: send P-DATA-TF"
    DT2 = "DT-2: issue P-DATA indication"
    AR2 = "AR-2: issue A-RELEASE indication"
    AR4 = "AR-4: send A-RELEASE-RP, start ARTIM"
    AR5 = "AR-5: stop ARTIM"
    AR7 = "AR-7: send P-DATA-TF"
    AA1 = "AA-1: send A-ABORT (service user), start ARTIM"
    AA2 = "AA-2: stop ARTIM, close transport connection"
    AA3 = "AA-3: issue A-ABORT or A-P-ABORT indication, close transport connection"
    AA4 = "AA-4: issue A-P-ABORT indication"
    AA5 = "AA-5: stop ARTIM"
    AA6 = "AA-6: ignore PDU"
    AA7 = "AA-7: send A-ABORT"
    AA8 = "AA-8: send A-ABORT (service provider), issue A-P-ABORT indication, start ARTIM"


def _table() -> dict[tuple[State, Event], tuple[Action, State]]:
    s1, s2, s3, s6, s8, s13 = State
    rows: dict[Event, dict[State, tuple[Action, State]]] = {
        Event.EVT3: {s2: (Action.AA1, s13), s3: (Action.AA8, s13), s6: (Action.AA8, s13), s8: (Action.AA8, s13), s13: (Action.AA6, s13)},
        Event.EVT4: {s2: (Action.AA1, s13), s3: (Action.AA8, s13), s6: (Action.AA8, s13), s8: (Action.AA8, s13), s13: (Action.AA6, s13)},
        Event.EVT5: {s1: (Action.AE5, s2)},
        Event.EVT6: {s2: (Action.AE6, s3), s3: (Action.AA8, s13), s6: (Action.AA8, s13), s8: (Action.AA8, s13), s13: (Action.AA7, s13)},
        Event.EVT7: {s3: (Action.AE7, s6)},
        Event.EVT8: {s3: (Action.AE8, s13)},
        Event.EVT9: {s6: (Action.DT1, s6), s8: (Action.AR7, s8)},
        Event.EVT10: {s2: (Action.AA1, s13), s3: (Action.AA8, s13), s6: (Action.DT2, s6), s8: (Action.AA8, s13), s13: (Action.AA6, s13)},
        Event.EVT12: {s2: (Action.AA1, s13), s3: (Action.AA8, s13), s6: (Action.AR2, s8), s8: (Action.AA8, s13), s13: (Action.AA6, s13)},
        Event.EVT13: {s2: (Action.AA1, s13), s3: (Action.AA8, s13), s6: (Action.AA8, s13), s8: (Action.AA8, s13), s13: (Action.AA6, s13)},
        Event.EVT14: {s8: (Action.AR4, s13)},
        Event.EVT15: {s3: (Action.AA1, s13), s6: (Action.AA1, s13), s8: (Action.AA1, s13)},
        Event.EVT16: {s2: (Action.AA2, s1), s3: (Action.AA3, s1), s6: (Action.AA3, s1), s8: (Action.AA3, s1), s13: (Action.AA2, s1)},
        Event.EVT17: {s2: (Action.AA5, s1), s3: (Action.AA4, s1), s6: (Action.AA4, s1), s8: (Action.AA4, s1), s13: (Action.AR5, s1)},
        Event.EVT18: {s2: (Action.AA2, s1), s13: (Action.AA2, s1)},
        Event.EVT19: {s2: (Action.AA1, s13), s3: (Action.AA8, s13), s6: (Action.AA8, s13), s8: (Action.AA8, s13), s13: (Action.AA7, s13)},
    }
    return {(state, event): cell for event, cells in rows.items() for state, cell in cells.items()}


TRANSITIONS: Final = _table()

PDU_EVENTS: Final = {
    PduType.A_ASSOCIATE_RQ: Event.EVT6,
    PduType.A_ASSOCIATE_AC: Event.EVT3,
    PduType.A_ASSOCIATE_RJ: Event.EVT4,
    PduType.P_DATA_TF: Event.EVT10,
    PduType.A_RELEASE_RQ: Event.EVT12,
    PduType.A_RELEASE_RP: Event.EVT13,
    PduType.A_ABORT: Event.EVT16,
}

# The actions that need what the PDU says; for the others its header is enough and the rest is passed over.
_READING_ACTIONS: Final = frozenset({Action.AE6, Action.DT2, Action.AR2, Action.AA2, Action.AA3})


class Send(NamedTuple):
    """Send these bytes."""

    data: bytes


class StartTimer(NamedTuple):
    """Start ARTIM, or start it again."""


class StopTimer(NamedTuple):
    """Stop ARTIM."""


class Close(NamedTuple):
    """Close the transport connection."""


class AssociateIndication(NamedTuple):
    """The peer asks for an association: answer with `accept` or `reject`."""

    request: AssociateRequest


class ReleaseIndication(NamedTuple):
    """The peer asks for the release: answer with `release` when the operations are done."""


class AbortIndication(NamedTuple):
    """The association is gone: the peer aborted it (A-ABORT indication), or the connection was lost or violated (A-P-ABORT indication)."""

    by_peer: bool
    message: str


Output = Send | StartTimer | StopTimer | Close | AssociateIndication | ReleaseIndication | AbortIndication | Fragment | Foreign


class InvalidTransition(Exception):
    """The owner used a primitive in a state that has none: a mistake of ours, never of the peer."""


def encode_abort(source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """Encode an A-ABORT (PS3.8 9.3.8)."""
    return PDU_HEADER.pack(PduType.A_ABORT, 4) + bytes((0, 0, source, reason))


RELEASE_RESPONSE: Final = PDU_HEADER.pack(PduType.A_RELEASE_RP, 4) + bytes(4)


class UpperLayer:
    """One association's machine. Every method returns or yields what its owner must do, in order."""

    __slots__ = ("_contexts", "_deaf", "_limits", "_reader", "state")

    def __init__(self, limits: Limits) -> None:
        self.state = State.STA1
        self._limits = limits
        self._reader = PduReader(limits)
        self._contexts: frozenset[int] = frozenset()
        self._deaf = False

    @property
    def inside_pdu(self) -> bool:
        """Whether the peer has begun a PDU and not finished it."""
        return self._reader.inside_pdu

    def _step(self, event: Event) -> Action:
        try:
            action, self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise InvalidTransition(f"{event} in {self.state}") from None
        return action

    def connect(self) -> tuple[Output, ...]:
        """Evt5: the transport connection is open."""
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

    def release(self) -> tuple[Output, ...]:
        """Evt14: agree to the release."""
        self._step(Event.EVT14)
        return Send(RELEASE_RESPONSE), StartTimer()

    def abort(self, source: AbortSource, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> tuple[Output, ...]:
        """Evt15: abort the association, or do nothing where there is none any more."""
        if (self.state, Event.EVT15) not in TRANSITIONS:
            return ()
        self._step(Event.EVT15)
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
                    if self.state is not State.STA6:
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
        action, _ = TRANSITIONS[self.state, event]
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
            case PduType.A_RELEASE_RQ:
                self._step(Event.EVT12)
                yield ReleaseIndication()
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


def _abort_text(body: bytes) -> str:
    source, reason = body[2], body[3]
    if source == AbortSource.SERVICE_USER:
        return "the peer's application aborted"
    return f"the peer's upper layer aborted, source {source}, reason {reason}"

"""Targets: the PDU reader, A-ASSOCIATE-RQ with all that answers it, and the upper layer machine (PS3.8 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from dicom_adapter.dimse.associate import AssociateRequest, decode_associate_request
from dicom_adapter.dimse.machine import (
    TRANSITIONS,
    AssociateIndication,
    Event,
    InvalidTransition,
    Output,
    ReleaseIndication,
    State,
    UpperLayer,
)
from dicom_adapter.dimse.negotiation import encode_acceptance, encode_rejection, is_uid, negotiate, screen
from dicom_adapter.dimse.observer import Rejection
from dicom_adapter.dimse.pdu import AbortSource, Foreign, PduReader, PduType, ProtocolViolation
from tests.fuzz.streams import LIMITS, bodies, joined, owned, peers_reading, pieces, stream

TITLES = ("GATE",)


def pdu_reader(data: bytes) -> None:
    """The events are the same however the stream is cut, and so is the violation that ends it."""
    assert _read([stream(data)]) == _read(pieces(data))


def _read(parts: Iterable[bytes]) -> tuple[list[object], str]:
    reader = PduReader(LIMITS)
    events: list[object] = []
    try:
        for part in parts:
            events += map(owned, reader.feed(memoryview(part)))
            if events and isinstance(events[-1], Foreign):
                break
    except ProtocolViolation as violation:
        return joined(events), f"{violation.reason} {violation}"
    return joined(events), ""


def associate_request(data: bytes) -> None:
    """A request or a ProtocolViolation. A request can be answered, its texts can be logged, and pynetdicom reads it as we do."""
    try:
        request = decode_associate_request(data)
    except ProtocolViolation:
        return
    for text in (request.called_ae_title, request.calling_ae_title, request.implementation_version_name, *request.roles):
        assert text.isascii()
        assert not text or text.isprintable()
    answer = _answer(request)
    if answer[0] == PduType.A_ASSOCIATE_AC:
        assert peers_reading(lambda: _readable(answer)) or not request.echoed.isascii()
        _compare(request, data)


def associate_request_seeds() -> Iterator[bytes]:
    """Every A-ASSOCIATE-RQ of the hostile catalogue."""
    return bodies(PduType.A_ASSOCIATE_RQ)


def _answer(request: AssociateRequest) -> bytes:
    rejection = screen(request, TITLES)
    if rejection is not None:
        return encode_rejection(rejection)
    return encode_acceptance(request, negotiate(request, serves_storage=True), LIMITS.max_pdu_bytes)


def _compare(request: AssociateRequest, data: bytes) -> None:
    """pynetdicom refuses much that may be passed over; where it reads, it must read the same."""
    uids = [uid for context in request.contexts for uid in (context.abstract_syntax, *context.transfer_syntaxes)]
    theirs = peers_reading(lambda: _pynetdicom(data)) if all(map(is_uid, uids)) else None
    if theirs is not None:
        contexts, maximum, titles = theirs
        assert contexts == [(context.context_id, context.abstract_syntax, context.transfer_syntaxes) for context in request.contexts]
        assert maximum in (None, request.maximum_length)
        ours = request.called_ae_title, request.calling_ae_title
        assert titles == ours or "?" in "".join(ours)  # for what must not get into a log


def _readable(acceptance: bytes) -> bool:
    A_ASSOCIATE_AC().decode(acceptance)
    return True


def _pynetdicom(data: bytes) -> tuple[Any, Any, tuple[str, str]]:
    theirs: Any = A_ASSOCIATE_RQ()
    theirs.decode(b"\1\0" + len(data).to_bytes(4, "big") + data)
    contexts = [(item.presentation_context_id, item.abstract_syntax, tuple(item.transfer_syntax)) for item in theirs.presentation_context]
    return contexts, theirs.user_information.maximum_length, (theirs.called_ae_title.strip(), theirs.calling_ae_title.strip())


def machine(data: bytes) -> None:
    """Never an exception; the same outputs and the same state at the end, however the stream is cut."""
    assert _act([stream(data)]) == _act(pieces(data))


def _act(parts: Iterable[bytes]) -> tuple[list[object], str, bool]:
    machine = UpperLayer(LIMITS)
    outputs = list[object](machine.connect())
    for part in parts:
        outputs += _feed(machine, part)
    return joined(outputs), machine.state, machine.inside_pdu


def _feed(machine: UpperLayer, part: bytes) -> Iterator[object]:
    """What comes out, with what the owner of a machine does at once about it."""
    for output in machine.receive(memoryview(part)):
        yield owned(output)
        yield from _react(machine, output)


def _react(machine: UpperLayer, output: Output) -> tuple[Output, ...]:
    match output:
        case AssociateIndication(request):
            if rejection := screen(request, TITLES):
                return machine.reject(encode_rejection(rejection))
            return machine.accept(b"accepted", frozenset(negotiate(request, serves_storage=True).accepted()))
        case ReleaseIndication():
            return machine.release()
    return ()


PRIMITIVES: tuple[tuple[Event, Callable[[UpperLayer], object]], ...] = (
    (Event.EVT5, lambda machine: machine.connect()),
    (Event.EVT7, lambda machine: machine.accept(b"accepted", frozenset({1, 3}))),
    (Event.EVT8, lambda machine: machine.reject(encode_rejection(Rejection(1, 1, 1, "")))),
    (Event.EVT9, lambda machine: machine.send_data(b"data")),
    (Event.EVT14, lambda machine: machine.release()),
    (Event.EVT15, lambda machine: machine.abort(AbortSource.SERVICE_USER)),
    (Event.EVT17, lambda machine: machine.closed()),
    (Event.EVT18, lambda machine: machine.timer_expired()),
)


def primitives(data: bytes) -> None:
    """Local primitives between the pieces, at any time: only those that the table does not have are refused, and nothing else raises."""
    machine = UpperLayer(LIMITS)
    machine.connect()
    for step, part in enumerate(pieces(data)):
        if machine.state is State.STA1:
            return  # nobody has a connection to read from any more
        for output in machine.receive(memoryview(part)):
            if part[0] & 1:
                _react(machine, output)
        event, call = PRIMITIVES[(part[-1] + step) % len(PRIMITIVES)]
        before = machine.state
        try:
            call(machine)
        except InvalidTransition:
            assert (before, event) not in TRANSITIONS
            assert machine.state is before

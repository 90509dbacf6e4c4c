"""Targets: the PDU reader, A-ASSOCIATE-RQ with all that answers it, and the upper layer machine (PS3.8 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from dicom_adapter.dimse.associate import AssociateRequest, UserInformation, decode_associate_acceptance, decode_associate_request
from dicom_adapter.dimse.machine import (
    AssociateConfirmation,
    AssociateIndication,
    InvalidTransition,
    Output,
    ReleaseConfirmation,
    ReleaseIndication,
    UpperLayer,
)
from dicom_adapter.dimse.negotiation import encode_acceptance, encode_rejection, negotiate, screen
from dicom_adapter.dimse.observer import Rejection
from dicom_adapter.dimse.pdu import AbortSource, Foreign, PduReader, PduType, ProtocolViolation
from dicom_adapter.dimse.sopclasses import is_uid
from dicom_adapter.dimse.states import TRANSITIONS, Event, State
from tests.fuzz.streams import LIMITS, bodies, joined, owned, peers_reading, pieces, stream, stream_seeds
from tests.support.rawscu import ABORT, COMMAND, DATA, EXPLICIT, LAST, RELEASE_RQ, associate_ac, echo_rq, pdata, pdu, pdv

TITLES = ("GATE",)
RELEASE_RP = pdu(6, bytes(4))


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
    _check_texts(request, request.called_ae_title, request.calling_ae_title)
    answer = _answer(request)
    if answer[0] == PduType.A_ASSOCIATE_AC:
        assert peers_reading(lambda: _readable(answer)) or not request.echoed.isascii()
        _compare(request, data)


def associate_request_seeds() -> Iterator[bytes]:
    """Every A-ASSOCIATE-RQ of the hostile catalogue."""
    return bodies(PduType.A_ASSOCIATE_RQ)


def associate_acceptance(data: bytes) -> None:
    """An acceptance or a ProtocolViolation; its texts can be logged, and pynetdicom reads it as we do."""
    try:
        acceptance = decode_associate_acceptance(data)
    except ProtocolViolation:
        return
    _check_texts(acceptance, *(context.transfer_syntax for context in acceptance.contexts))
    accepted = [context for context in acceptance.contexts if not context.result]
    theirs = peers_reading(lambda: _pynetdicom_accepted(data)) if all(is_uid(context.transfer_syntax) for context in accepted) else None
    if theirs is not None:
        assert theirs[0] == [(context.context_id, context.transfer_syntax) for context in accepted]
        assert theirs[1] in (None, acceptance.maximum_length)


def associate_acceptance_seeds() -> Iterator[bytes]:
    """What we answer to every A-ASSOCIATE-RQ of the catalogue."""
    for body in associate_request_seeds():
        with suppress(ProtocolViolation):
            answer = _answer(decode_associate_request(body))
            if answer[0] == PduType.A_ASSOCIATE_AC:
                yield answer[6:]


def _check_texts(information: UserInformation, *more: str) -> None:
    for text in (information.implementation_class_uid, information.implementation_version_name, *information.roles, *more):
        assert text.isascii()
        assert text.isprintable()


def _answer(request: AssociateRequest) -> bytes:
    rejection = screen(request, TITLES)
    if rejection is not None:
        return encode_rejection(rejection)
    return encode_acceptance(request, negotiate(request, {"echo", "store"}), LIMITS.max_pdu_bytes)


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
    contexts = [
        (item.presentation_context_id, _unpadded(item.abstract_syntax), tuple(map(_unpadded, item.transfer_syntax)))
        for item in theirs.presentation_context
    ]
    return contexts, theirs.user_information.maximum_length, (theirs.called_ae_title.strip(), theirs.calling_ae_title.strip())


def _unpadded(uid: str) -> str:
    """It takes one NUL away, we take all (PS3.5 9.1 knows one; that more are met in the field is no reason to refuse)."""
    return uid.rstrip("\0")


def _pynetdicom_accepted(data: bytes) -> tuple[Any, Any]:
    theirs: Any = A_ASSOCIATE_AC()
    theirs.decode(b"\2\0" + len(data).to_bytes(4, "big") + data)
    accepted = (item for item in theirs.presentation_context if not item.result_reason)
    contexts = [(item.presentation_context_id, _unpadded(item.transfer_syntax)) for item in accepted]
    return contexts, theirs.user_information.maximum_length


def acceptor(data: bytes) -> None:
    """Never an exception; the same outputs and the same state at the end, however the stream is cut."""
    assert _act([stream(data)], begin_acceptor) == _act(pieces(data), begin_acceptor)


def requestor(data: bytes) -> None:
    """The same for the other role."""
    assert _act([stream(data)], begin_requestor) == _act(pieces(data), begin_requestor)


def requestor_seeds() -> Iterator[bytes]:
    """An acceptance and what may follow, a rejection, and what is sent to acceptors."""
    accepted = associate_ac([(1, 0, EXPLICIT), (3, 0, EXPLICIT)])
    responses = pdata(pdv(1, COMMAND | LAST, echo_rq())) + pdata(pdv(1, DATA, b"ab"), pdv(1, DATA | LAST, b"c"))
    for end in (RELEASE_RQ, RELEASE_RP, RELEASE_RQ + RELEASE_RP, ABORT, b""):
        yield b"\0" + accepted + responses + end
        yield b"\2\0\77" + accepted + end
    yield b"\0" + associate_ac([(1, 0, EXPLICIT), (3, 4, ""), (5, 0, EXPLICIT)])
    yield b"\0" + pdu(3, b"\0\1\1\7")
    yield from islice(stream_seeds(), 0, None, 10)


def begin_acceptor() -> UpperLayer:
    """A machine to which a connection was opened."""
    machine = UpperLayer(LIMITS)
    machine.connect()
    return machine


def begin_requestor() -> UpperLayer:
    """A machine that has asked for an association."""
    machine = UpperLayer(LIMITS)
    machine.associate()
    machine.connected(b"a request", frozenset({1, 3}))
    return machine


def _act(parts: Iterable[bytes], begin: Callable[[], UpperLayer]) -> tuple[list[object], str, bool]:
    machine = begin()
    outputs: list[object] = []
    for part in parts:
        for output in machine.receive(memoryview(part)):
            outputs += owned(output), *_react(machine, output)
    return joined(outputs), machine.state, machine.inside_pdu


def _react(machine: UpperLayer, output: Output) -> tuple[Output, ...]:
    """What the owner of a machine does at once."""
    match output:
        case AssociateIndication(request):
            if rejection := screen(request, TITLES):
                return machine.reject(encode_rejection(rejection))
            return machine.accept(b"accepted", frozenset(negotiate(request, {"echo", "store"}).accepted()))
        case AssociateConfirmation(acceptance) if acceptance.maximum_length & 1:
            return machine.request_release()
        case ReleaseIndication() | ReleaseConfirmation() if (machine.state, Event.EVT14) in TRANSITIONS:
            return machine.release()
    return ()


PRIMITIVES: tuple[tuple[Event, Callable[[UpperLayer], object]], ...] = (
    (Event.EVT1, lambda machine: machine.associate()),
    (Event.EVT2, lambda machine: machine.connected(b"a request", frozenset({1, 3}))),
    (Event.EVT5, lambda machine: machine.connect()),
    (Event.EVT7, lambda machine: machine.accept(b"accepted", frozenset({1, 3}))),
    (Event.EVT8, lambda machine: machine.reject(encode_rejection(Rejection(1, 1, 1, "")))),
    (Event.EVT9, lambda machine: machine.send_data(b"data")),
    (Event.EVT11, lambda machine: machine.request_release()),
    (Event.EVT14, lambda machine: machine.release()),
    (Event.EVT15, lambda machine: machine.abort(AbortSource.SERVICE_USER)),
    (Event.EVT17, lambda machine: machine.closed()),
    (Event.EVT18, lambda machine: machine.timer_expired()),
)


def primitives(data: bytes) -> None:
    """Local primitives between the pieces, at any time: only those that the table does not have are refused, and nothing else raises."""
    machine = begin_requestor() if data[:1] > b"\x80" else begin_acceptor()
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

"""The upper layer machine by itself: table 9-10 of PS3.8, and that it says the same however its bytes are cut."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.machine import (
    RELEASE_RESPONSE,
    TRANSITIONS,
    AbortIndication,
    Action,
    AssociateIndication,
    Close,
    Event,
    InvalidTransition,
    Output,
    ReleaseIndication,
    Send,
    StartTimer,
    State,
    StopTimer,
    UpperLayer,
)
from dicom_adapter.dimse.pdu import AbortReason, AbortSource, Foreign, Fragment
from tests.support.rawscu import ABORT, CT_STORAGE, EXPLICIT, RELEASE_RQ, associate_rq, context, pdata, pdu, pdv

LIMITS = Limits(max_pdu_bytes=4096, max_associate_bytes=8192)
REQUEST = associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT), context(3, "1.2.3", EXPLICIT)])
ACCEPTANCE = b"an acceptance"
PROVIDER_UNEXPECTED = bytes.fromhex("07000000000400000202")
PROVIDER_INVALID = bytes.fromhex("07000000000400000206")
USER_ABORT = bytes.fromhex("07000000000400000000")


def act(machine: UpperLayer, data: bytes) -> list[Output]:
    """Feed `data` and do at once what the owner of a machine does; what comes out owns its bytes."""
    outputs: list[Output] = []
    for output in machine.receive(memoryview(data)):
        outputs.append(owned(output))
        if isinstance(output, AssociateIndication):
            outputs += machine.accept(ACCEPTANCE, frozenset({1, 3}))
        elif isinstance(output, ReleaseIndication):
            outputs += machine.release()
    return outputs


def owned(output: Output) -> Output:
    return output._replace(data=memoryview(bytes(output.data))) if isinstance(output, Fragment) else output


def joined(outputs: list[Output]) -> list[Output]:
    """The same with the parts of each fragment in one; empty parts that end nothing may or may not be there."""
    whole: list[Output] = []
    for output in outputs:
        before = whole[-1] if whole else None
        if isinstance(output, Fragment) and isinstance(before, Fragment) and not before.last and before[:2] == output[:2]:
            whole[-1] = output._replace(data=memoryview(bytes(before.data) + bytes(output.data)))
        else:
            whole.append(output)
    return [output for output in whole if not isinstance(output, Fragment) or output.data or output.last]


def machine_in(state: State) -> UpperLayer:
    machine = UpperLayer(LIMITS)
    if state is State.STA1:
        return machine
    machine.connect()
    if state is State.STA2:
        return machine
    for output in machine.receive(memoryview(REQUEST)):
        if isinstance(output, AssociateIndication) and state is not State.STA3:
            machine.accept(ACCEPTANCE, frozenset({1, 3}))
    if state is State.STA8:
        assert ReleaseIndication() in list(machine.receive(memoryview(RELEASE_RQ)))
    if state is State.STA13:
        act(machine, RELEASE_RQ)
    assert machine.state is state
    return machine


PDUS = {
    Event.EVT3: pdu(2, bytes(68)),
    Event.EVT4: pdu(3, bytes(4)),
    Event.EVT6: REQUEST,
    Event.EVT10: pdata(pdv(1, 1, b"ab")),
    Event.EVT12: RELEASE_RQ,
    Event.EVT13: pdu(6, bytes(4)),
    Event.EVT16: ABORT,
    Event.EVT19: pdu(7, bytes(5)),
}
PRIMITIVES: dict[Event, Callable[[UpperLayer], object]] = {
    Event.EVT5: lambda machine: machine.connect(),
    Event.EVT7: lambda machine: machine.accept(ACCEPTANCE, frozenset()),
    Event.EVT8: lambda machine: machine.reject(b"a rejection"),
    Event.EVT9: lambda machine: machine.send_data(b"data"),
    Event.EVT14: lambda machine: machine.release(),
    Event.EVT18: lambda machine: machine.timer_expired(),
}
ABORTED = "the peer's application aborted"
EXPECTED: dict[Action, list[Output]] = {
    Action.AA1: [Send(USER_ABORT), StartTimer()],
    Action.AA2: [StopTimer(), Close()],
    Action.AA3: [AbortIndication(True, ABORTED), Close()],
    Action.AA6: [],
    Action.AE5: [StartTimer()],
    Action.AE7: [Send(ACCEPTANCE)],
    Action.AE8: [Send(b"a rejection"), StartTimer()],
    Action.AR2: [ReleaseIndication()],
    Action.AR4: [Send(RELEASE_RESPONSE), StartTimer()],
    Action.AR7: [Send(b"data")],
    Action.DT1: [Send(b"data")],
    Action.DT2: [Fragment(1, True, False, memoryview(b"ab"))],
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_cell_of_the_table(state: State, event: Event) -> None:
    machine = machine_in(state)
    cell = TRANSITIONS.get((state, event))
    if event in PDUS:
        if state is State.STA1:
            return  # no connection, no PDU
        assert cell is not None, "every PDU has an answer in every state that can receive"
        outputs = [owned(output) for output in machine.receive(memoryview(PDUS[event]))]
    elif event is Event.EVT15:
        outputs = list(machine.abort(AbortSource.SERVICE_USER))
        assert bool(outputs) == (cell is not None)
    elif event is Event.EVT17:
        outputs = list(machine.closed())
        assert bool(outputs) == (cell is not None)
    elif cell is None:
        with pytest.raises(InvalidTransition):
            PRIMITIVES[event](machine)
        return
    else:
        outputs = list(PRIMITIVES[event](machine))  # type: ignore[call-overload]
    if cell is None:
        assert machine.state is state
        return
    action, after = cell
    assert machine.state is after
    if action is Action.AE6:
        assert outputs[0] == StopTimer()
        assert isinstance(outputs[1], AssociateIndication)
    elif action in (Action.AA7, Action.AA8):
        sent = PROVIDER_INVALID if event is Event.EVT19 else PROVIDER_UNEXPECTED
        assert outputs[0] == Send(sent)
        assert [type(output) for output in outputs[1:]] == ([AbortIndication, StartTimer] if action is Action.AA8 else [])
    elif action is Action.AA4:
        assert outputs == [AbortIndication(False, "the connection was closed")]
    elif action in (Action.AA5, Action.AR5):
        assert outputs == [StopTimer()]
    else:
        assert outputs == EXPECTED[action]


PIECES = st.one_of(
    st.sampled_from([*PDUS.values(), pdata(pdv(1, 3, b"abcd"), pdv(3, 0, b""), pdv(3, 2, b"xyz")), pdu(9, b"abc"), pdu(4, b"abc")]),
    st.builds(lambda data, last: pdata(pdv(1, last, data)), st.binary(max_size=300), st.sampled_from([0, 1, 2, 3, 0xFC])),
    st.binary(max_size=30),
)
STREAMS = st.builds(
    lambda begin, pieces: begin + b"".join(pieces), st.sampled_from([b"", REQUEST, REQUEST, REQUEST]), st.lists(PIECES, max_size=8)
)


@given(STREAMS, st.lists(st.integers(1, 400), max_size=60))
def test_the_machine_says_the_same_however_the_stream_is_cut(stream: bytes, sizes: list[int]) -> None:
    whole = UpperLayer(LIMITS)
    whole.connect()
    expected = act(whole, stream)
    pieces = UpperLayer(LIMITS)
    pieces.connect()
    got: list[Output] = []
    position = 0
    for size in [*sizes, len(stream)]:
        got += act(pieces, stream[position : position + size])
        position += size
    assert joined(got) == joined(expected)
    assert pieces.state is whole.state
    assert pieces.inside_pdu == whole.inside_pdu


@given(
    st.lists(st.tuples(st.integers(0, len(REQUEST) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 40),
    st.binary(max_size=9),
)
def test_a_mutated_association_request_has_only_documented_outcomes(changes: list[tuple[int, int]], cut: int, extra: bytes) -> None:
    request = bytearray(REQUEST)
    for position, value in changes:
        request[position] = value
    if cut < len(request) - 6 and cut % 2:
        del request[len(request) - cut :]
        request += extra
    machine = UpperLayer(LIMITS)
    machine.connect()
    outputs = act(machine, bytes(request))
    kinds = [type(output) for output in outputs]
    match machine.state:
        case State.STA1:
            assert kinds in ([Foreign, Close], [StopTimer, Close])
        case State.STA2:
            assert machine.inside_pdu
            assert not outputs
        case State.STA13:
            accepted_first = kinds[:3] == [StopTimer, AssociateIndication, Send]
            abort = [Send, AbortIndication, StartTimer] if accepted_first else [Send, StartTimer]
            rest = kinds[3:] if accepted_first else kinds
            assert rest[: len(abort)] == abort
            assert set(rest[len(abort) :]) <= {Send}  # AA-7
        case State.STA6:
            assert kinds[:3] == [StopTimer, AssociateIndication, Send]
        case _:
            raise AssertionError(machine.state)


def test_after_an_invalid_pdu_nothing_is_read_any_more() -> None:
    machine = machine_in(State.STA6)
    assert act(machine, pdu(9, b"") + RELEASE_RQ)[0] == Send(bytes.fromhex("07000000000400000201"))
    assert act(machine, RELEASE_RQ + ABORT) == []
    assert machine.state is State.STA13


def test_an_abort_may_carry_its_source_and_reason() -> None:
    machine = machine_in(State.STA6)
    assert machine.abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED)[0] == Send(bytes.fromhex("07000000000400000200"))
    machine = machine_in(State.STA6)
    aborted = pdu(7, bytes((0, 0, 2, 1)))
    assert next(machine.receive(memoryview(aborted))) == AbortIndication(True, "the peer's upper layer aborted, source 2, reason 1")

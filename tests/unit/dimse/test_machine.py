"""The upper layer machine by itself: table 9-10 of PS3.8, and that it says the same however its bytes are cut."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.fsm import TRANSITION_TABLE

from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.machine import (
    RELEASE_REQUEST,
    RELEASE_RESPONSE,
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    AssociateRefusal,
    Close,
    Connect,
    InvalidTransition,
    Output,
    ReleaseConfirmation,
    ReleaseIndication,
    Send,
    StartTimer,
    StopTimer,
    UpperLayer,
)
from dicom_adapter.dimse.pdu import AbortReason, AbortSource, Foreign, Fragment
from dicom_adapter.dimse.states import TRANSITIONS, Action, Cell, Event, State
from tests.support.rawscu import ABORT, CT_STORAGE, EXPLICIT, IMPLICIT, RELEASE_RQ, associate_ac, associate_rq, context, pdata, pdu, pdv

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


RELEASE_RP = pdu(6, bytes(4))
CONFIRMATION = associate_ac([(1, 0, EXPLICIT), (3, 3, IMPLICIT)])


def acceptor_in(state: State) -> UpperLayer:
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
    if state in (State.STA7, State.STA10, State.STA12):
        machine.request_release()
    if state in (State.STA10, State.STA12):
        assert list(machine.receive(memoryview(RELEASE_RQ))) == [ReleaseIndication(collision=True)]
    if state is State.STA12:
        assert list(machine.receive(memoryview(RELEASE_RP))) == [ReleaseConfirmation()]
    if state is State.STA13:
        act(machine, RELEASE_RQ)
    assert machine.state is state
    return machine


def requestor_in(state: State) -> UpperLayer:
    machine = UpperLayer(LIMITS)
    if state is State.STA1:
        return machine
    machine.associate()
    if state is State.STA4:
        return machine
    machine.connected(REQUEST, frozenset({1, 3}))
    if state is State.STA5:
        return machine
    assert isinstance(next(machine.receive(memoryview(CONFIRMATION))), AssociateConfirmation)
    if state is State.STA8:
        assert list(machine.receive(memoryview(RELEASE_RQ))) == [ReleaseIndication()]
    if state in (State.STA7, State.STA9, State.STA11):
        machine.request_release()
    if state in (State.STA9, State.STA11):
        assert list(machine.receive(memoryview(RELEASE_RQ))) == [ReleaseIndication(collision=True)]
    if state is State.STA11:
        machine.release()
    if state is State.STA13:
        machine.abort(AbortSource.SERVICE_USER)
    assert machine.state is state
    return machine


BOTH = (State.STA1, State.STA6, State.STA7, State.STA8, State.STA13)
ACCEPTOR = [state for state in State if state in (*BOTH, State.STA2, State.STA3, State.STA10, State.STA12)]
REQUESTOR = [state for state in State if state in (*BOTH, State.STA4, State.STA5, State.STA9, State.STA11)]

PDUS = {
    Event.EVT3: CONFIRMATION,
    Event.EVT4: pdu(3, bytes((0, 1, 3, 2))),
    Event.EVT6: REQUEST,
    Event.EVT10: pdata(pdv(1, 1, b"ab")),
    Event.EVT12: RELEASE_RQ,
    Event.EVT13: RELEASE_RP,
    Event.EVT16: ABORT,
    Event.EVT19: pdu(7, bytes(5)),
}
PRIMITIVES: dict[Event, Callable[[UpperLayer], object]] = {
    Event.EVT1: lambda machine: machine.associate(),
    Event.EVT2: lambda machine: machine.connected(REQUEST, frozenset({1})),
    Event.EVT5: lambda machine: machine.connect(),
    Event.EVT7: lambda machine: machine.accept(ACCEPTANCE, frozenset()),
    Event.EVT8: lambda machine: machine.reject(b"a rejection"),
    Event.EVT9: lambda machine: machine.send_data(b"data"),
    Event.EVT11: lambda machine: machine.request_release(),
    Event.EVT14: lambda machine: machine.release(),
    Event.EVT18: lambda machine: machine.timer_expired(),
}
ABORTED = "the peer's application aborted"
EXPECTED: dict[Action, list[Output]] = {
    Action.AA1: [Send(USER_ABORT), StartTimer()],
    Action.AA2: [StopTimer(), Close()],
    Action.AA3: [AbortIndication(True, ABORTED), Close()],
    Action.AA4: [AbortIndication(False, "the connection was closed")],
    Action.AA5: [StopTimer()],
    Action.AA6: [],
    Action.AE1: [Connect()],
    Action.AE2: [Send(REQUEST)],
    Action.AE4: [AssociateRefusal(1, 3, 2), Close()],
    Action.AE5: [StartTimer()],
    Action.AE7: [Send(ACCEPTANCE)],
    Action.AE8: [Send(b"a rejection"), StartTimer()],
    Action.AR1: [Send(RELEASE_REQUEST)],
    Action.AR2: [ReleaseIndication()],
    Action.AR3: [ReleaseConfirmation(), Close()],
    Action.AR4: [Send(RELEASE_RESPONSE), StartTimer()],
    Action.AR5: [StopTimer()],
    Action.AR6: [Fragment(1, True, False, memoryview(b"ab"))],
    Action.AR7: [Send(b"data")],
    Action.AR8: [ReleaseIndication(collision=True)],
    Action.AR9: [Send(RELEASE_RESPONSE)],
    Action.AR10: [ReleaseConfirmation()],
    Action.DT1: [Send(b"data")],
    Action.DT2: [Fragment(1, True, False, memoryview(b"ab"))],
}
IGNORED_WHERE_IMPOSSIBLE = {
    Event.EVT15: lambda machine: machine.abort(AbortSource.SERVICE_USER),
    Event.EVT17: lambda machine: machine.closed(),
}
"""Local events that come when they come: where the table has no cell they do nothing."""


def occur(machine: UpperLayer, event: Event) -> list[Output]:
    if event in PDUS:
        return [owned(output) for output in machine.receive(memoryview(PDUS[event]))]
    return list((PRIMITIVES | IGNORED_WHERE_IMPOSSIBLE)[event](machine))


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize(
    ("role", "state"),
    [(acceptor_in, state) for state in ACCEPTOR] + [(requestor_in, state) for state in REQUESTOR],
    ids=lambda value: value.name if isinstance(value, State) else value.__name__.partition("_")[0],
)
def test_the_machine_does_what_the_table_says(role: Callable[[State], UpperLayer], state: State, event: Event) -> None:
    machine = role(state)
    cell = TRANSITIONS.get((state, event))
    if cell is None:
        if event in PDUS:
            assert state in (State.STA1, State.STA4), "every PDU has an answer where there is a connection"
        elif event in IGNORED_WHERE_IMPOSSIBLE:
            assert occur(machine, event) == []
            assert machine.state is state
        else:
            with pytest.raises(InvalidTransition):
                occur(machine, event)
        return
    outputs = occur(machine, event)
    action, after, otherwise = cell
    if action is Action.AR8:
        after = State.STA9 if role is requestor_in else State.STA10
    else:
        assert otherwise is None or action is Action.AE6
    assert machine.state is after
    if action is Action.AE6:
        assert outputs[0] == StopTimer()
        assert isinstance(outputs[1], AssociateIndication)
    elif action is Action.AE3:
        assert isinstance(outputs[0], AssociateConfirmation)
        assert [context.context_id for context in outputs[0].acceptance.contexts] == [1, 3]
    elif action in (Action.AA7, Action.AA8):
        sent = PROVIDER_INVALID if event is Event.EVT19 else PROVIDER_UNEXPECTED
        assert outputs[0] == Send(sent)
        assert [type(output) for output in outputs[1:]] == ([AbortIndication, StartTimer] if action is Action.AA8 else [])
    elif state is State.STA4 and event is Event.EVT15:
        assert outputs == [Close()]
    else:
        assert outputs == EXPECTED[action]


CONNECTED = frozenset({2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13})
STANDARD: dict[int, dict[frozenset[int], str]] = {
    1: {frozenset({1}): "AE-1 Sta4"},
    2: {frozenset({4}): "AE-2 Sta5"},
    3: {frozenset({2}): "AA-1 Sta13", frozenset({5}): "AE-3 Sta6", frozenset({13}): "AA-6 Sta13"},
    4: {frozenset({2}): "AA-1 Sta13", frozenset({5}): "AE-4 Sta1", frozenset({13}): "AA-6 Sta13"},
    5: {frozenset({1}): "AE-5 Sta2"},
    6: {frozenset({2}): "AE-6 Sta3 Sta13", frozenset({13}): "AA-7 Sta13"},
    7: {frozenset({3}): "AE-7 Sta6"},
    8: {frozenset({3}): "AE-8 Sta13"},
    9: {frozenset({6}): "DT-1 Sta6", frozenset({8}): "AR-7 Sta8"},
    10: {frozenset({2}): "AA-1 Sta13", frozenset({6}): "DT-2 Sta6", frozenset({7}): "AR-6 Sta7", frozenset({13}): "AA-6 Sta13"},
    11: {frozenset({6}): "AR-1 Sta7"},
    12: {frozenset({2}): "AA-1 Sta13", frozenset({6}): "AR-2 Sta8", frozenset({7}): "AR-8 Sta9 Sta10", frozenset({13}): "AA-6 Sta13"},
    13: {
        frozenset({2}): "AA-1 Sta13",
        frozenset({7, 11}): "AR-3 Sta1",
        frozenset({10}): "AR-10 Sta12",
        frozenset({13}): "AA-6 Sta13",
    },
    14: {frozenset({8, 12}): "AR-4 Sta13", frozenset({9}): "AR-9 Sta11"},
    15: {frozenset({4}): "AA-2 Sta1", CONNECTED - {2, 13}: "AA-1 Sta13"},
    16: {frozenset({2, 13}): "AA-2 Sta1", CONNECTED - {2, 13}: "AA-3 Sta1"},
    17: {frozenset({2}): "AA-5 Sta1", frozenset({13}): "AR-5 Sta1", CONNECTED - {2, 13} | {4}: "AA-4 Sta1"},
    18: {frozenset({2, 13}): "AA-2 Sta1"},
    19: {frozenset({2}): "AA-1 Sta13", frozenset({13}): "AA-7 Sta13"},
}
"""Table 9-10 written down a second time, event by event. A PDU that nothing is said about in a state is unexpected: AA-8, Sta13."""


def in_the_standard(state: int, event: int) -> str:
    for states, cell in STANDARD[event].items():
        if state in states:
            return cell
    return "AA-8 Sta13" if event in (3, 4, 6, 10, 12, 13, 19) and state in CONNECTED else ""


def test_all_247_cells_are_those_of_the_standard() -> None:
    ours = {
        (state, event): " ".join([cell.action.partition(":")[0], *(after.partition(":")[0] for after in cell[1:] if after)])
        if (cell := TRANSITIONS.get((State[f"STA{state}"], Event[f"EVT{event}"])))
        else ""
        for state in range(1, 14)
        for event in range(1, 20)
    }
    assert len(ours) == len(State) * len(Event) == 247
    assert ours == {(state, event): in_the_standard(state, event) for state, event in ours}


def test_pynetdicom_has_the_same_actions() -> None:
    theirs = {(State[state.upper()], Event[event.upper()]): name.replace("_", "-") for (event, state), name in TRANSITION_TABLE.items()}
    assert {key: cell.action.partition(":")[0] for key, cell in TRANSITIONS.items()} == theirs


def test_every_action_of_the_standard_is_used() -> None:
    assert {cell.action for cell in TRANSITIONS.values()} == set(Action)
    assert all(type(cell) is Cell for cell in TRANSITIONS.values())


PIECES = st.one_of(
    st.sampled_from([*PDUS.values(), pdata(pdv(1, 3, b"abcd"), pdv(3, 0, b""), pdv(3, 2, b"xyz")), pdu(9, b"abc"), pdu(4, b"abc")]),
    st.builds(lambda data, last: pdata(pdv(1, last, data)), st.binary(max_size=300), st.sampled_from([0, 1, 2, 3, 0xFC])),
    st.binary(max_size=30),
)
ANSWERS = st.sampled_from([CONFIRMATION, CONFIRMATION, CONFIRMATION, associate_ac([(5, 0, EXPLICIT)]), pdu(3, bytes(4)), RELEASE_RQ])
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


@given(st.builds(lambda begin, pieces: begin + b"".join(pieces), ANSWERS, st.lists(PIECES, max_size=8)), st.lists(st.integers(1, 400)))
@pytest.mark.parametrize("releasing", [False, True])
def test_so_does_the_requestors(releasing: bool, stream: bytes, sizes: list[int]) -> None:
    def play(cuts: list[int]) -> tuple[list[Output], State]:
        machine = requestor_in(State.STA5)
        outputs: list[Output] = []
        position = 0
        for size in [*cuts, len(stream)]:
            for output in machine.receive(memoryview(stream[position : position + size])):
                outputs.append(owned(output))
                if isinstance(output, AssociateConfirmation) and releasing:
                    outputs += machine.request_release()
                if isinstance(output, ReleaseIndication):
                    outputs += machine.release()
            position += size
        return joined(outputs), machine.state

    assert play(sizes) == play([])


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
    machine = acceptor_in(State.STA6)
    assert act(machine, pdu(9, b"") + RELEASE_RQ)[0] == Send(bytes.fromhex("07000000000400000201"))
    assert act(machine, RELEASE_RQ + ABORT) == []
    assert machine.state is State.STA13


def test_an_abort_may_carry_its_source_and_reason() -> None:
    machine = acceptor_in(State.STA6)
    assert machine.abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED)[0] == Send(bytes.fromhex("07000000000400000200"))
    machine = acceptor_in(State.STA6)
    aborted = pdu(7, bytes((0, 0, 2, 1)))
    assert next(machine.receive(memoryview(aborted))) == AbortIndication(True, "the peer's upper layer aborted, source 2, reason 1")

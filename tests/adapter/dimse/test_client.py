"""The client against our own server: every service, both ways."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from dicom_adapter.dimse import (
    AssociationAborted,
    AssociationEnded,
    AssociationRejected,
    AssociationReleased,
    ClientAssociation,
    ContextNotAccepted,
    Extras,
    GetRequest,
    Handlers,
    Limits,
    MoveOriginator,
    MoveRequest,
    NormalizedRequest,
    PeerAddress,
    PresentationContext,
    Priority,
    QueryRequest,
    Response,
    RoleProposal,
    SopInstance,
    Status,
    StoreRequest,
    SubOperations,
    UserIdentity,
    connect,
)
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from tests.adapter.dimse.nodes import CONTEXTS, Node, node, until
from tests.adapter.dimse.serving import Keeper
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION

PENDING = Status(0xFF00)


async def dial(
    peer: Node | PeerAddress, *, limits: Limits | None = None, handlers: Handlers | None = None, extras: Extras | None = None
) -> ClientAssociation:
    address = peer.address if isinstance(peer, Node) else peer
    return await connect(address, calling_ae_title="WS1", contexts=CONTEXTS, limits=limits, handlers=handlers, extras=extras)


def instance(uid: str, body: bytes | AsyncIterator[bytes]) -> SopInstance:
    return SopInstance(CT_STORAGE, uid, EXPLICIT, body)


async def pieces(data: bytes, *sizes: int) -> AsyncIterator[bytes]:
    position = 0
    for size in (*sizes, len(data)):
        yield data[position : position + size]
        position += size


async def test_an_echo() -> None:
    async with node() as gate:
        async with await dial(gate) as association:
            assert await association.echo() == Status(0)
            assert association.usable
        assert not association.usable
        assert isinstance(association.end, AssociationReleased)
        with pytest.raises(AssociationReleased):
            await association.echo()
        summary = await gate.ended()
        assert summary.outcome == "released"
        assert summary.peer is not None
        assert summary.peer.ae_title == "WS1"


@pytest.mark.parametrize("maximum", [0, 16, 4096, 16384, 131072])
async def test_a_store_arrives_byte_exact_whatever_the_pieces(maximum: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper()
    data = random.Random(3).randbytes(min(200_000, (maximum or 1 << 20) * 300))
    async with node(Handlers(store=keeper), Limits(max_pdu_bytes=maximum or 1 << 20)) as gate:
        if not maximum:
            monkeypatch.setattr("dicom_adapter.dimse.acceptor.encode_acceptance", without_maximum)
        async with await dial(gate) as association:
            assert association.acceptance.maximum_length == maximum
            assert await association.store(instance("1.1", data)) == Status(0)
            assert await association.store(instance("1.2", pieces(data, 1, 0, 7, 4090, 1, 20_000))) == Status(0)
            assert await association.store(instance("1.3", b"")) == Status(0)
            many = pieces(data[:300], *([1] * 300))
            assert await association.store(instance("1.4", many), priority=Priority.HIGH, move_originator=MoveOriginator("X", 9)) == Status(
                0
            )
        assert keeper.stored == {"1.1": data, "1.2": data, "1.3": b"", "1.4": data[:300]}
        assert (keeper.requests[3].priority, keeper.requests[3].move_originator) == (1, MoveOriginator("X", 9))
        assert (keeper.requests[0].priority, keeper.requests[0].move_originator) == (0, None)


def without_maximum(*arguments: object) -> bytes:
    from dicom_adapter.dimse.negotiation import encode_acceptance

    return encode_acceptance(arguments[0], arguments[1], 0)  # type: ignore[arg-type]


async def test_the_status_and_comment_of_a_store_come_back() -> None:
    async def store(request: StoreRequest) -> Status:
        return Status(0xA700, "Http_503, UNAVAILABLE, try later")

    async with node(Handlers(store=store)) as gate, await dial(gate) as association:
        assert await association.store(instance("1.1", bytes(500_000))) == Status(0xA700, "Http_503, UNAVAILABLE, try later")


async def test_a_store_goes_no_faster_than_the_peer_reads() -> None:
    gate_open = asyncio.Event()
    given = 0

    async def store(request: StoreRequest) -> Status:
        await gate_open.wait()
        size = 0
        async for chunk in request.body:
            size += len(chunk)
        return Status(0 if size == 60_000_000 else 0xC000)

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(600):
            given += 1
            yield bytes(100_000)

    async with node(Handlers(store=store)) as gate, await dial(gate) as association:
        storing = asyncio.ensure_future(association.store(instance("1.1", body())))
        held = -1
        while held != given or not given:
            held = given
            await asyncio.sleep(0.1)
        assert held * 100_000 < 12_000_000  # windows and kernel buffers of both sides, not the object
        gate_open.set()
        assert await storing == Status(0)


async def test_a_source_that_fails_before_its_first_byte_leaves_the_association_alone() -> None:
    async def body() -> AsyncIterator[bytes]:
        raise FileNotFoundError("gone")
        yield b""

    async with node(Handlers(store=Keeper())) as gate, await dial(gate) as association:
        with pytest.raises(FileNotFoundError):
            await association.store(instance("1.1", body()))
        assert await association.store(instance("1.2", b"ab")) == Status(0)


async def test_a_source_that_fails_in_the_middle_aborts() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(400_000)
        raise OSError("disk")

    keeper = Keeper()
    async with node(Handlers(store=keeper)) as gate:
        association = await dial(gate)
        with pytest.raises(OSError, match="disk"):
            await association.store(instance("1.1", body()))
        with pytest.raises(AssociationAborted, match="the data set that was being sent broke off"):
            await association.echo()
        await association.release()
        assert (await gate.ended()).outcome == "aborted by peer"
    assert not keeper.stored


class Finder:
    """A C-FIND handler of `count` responses that knows how far it was asked to go, and how it ended."""

    def __init__(self, count: int, size: int = 20) -> None:
        self.count, self.size = count, size
        self.requests: list[QueryRequest] = []
        self.given = 0
        self.ended = asyncio.Event()
        self.how: str = ""

    async def __call__(self, request: QueryRequest) -> AsyncGenerator[Response, None]:
        self.requests.append(request)
        try:
            for number in range(self.count):
                self.given += 1
                yield Response(PENDING, number.to_bytes(4, "big") + bytes(self.size))
                if number % 64 == 63:
                    await asyncio.sleep(0)
            self.how = "complete"
        except asyncio.CancelledError:
            self.how = "cancelled"
            raise
        except GeneratorExit:
            self.how = "closed"
            raise
        finally:
            self.ended.set()


async def test_a_find_gives_its_responses_in_order_and_the_last_one() -> None:
    finder = Finder(100)
    async with node(Handlers(find=finder)) as gate, await dial(gate) as association:
        assert association.transfer_syntaxes(STUDY_ROOT_FIND) == (EXPLICIT,)
        responses = [response async for response in association.find(STUDY_ROOT_FIND, b"identifier", priority=Priority.LOW)]
        assert [response.status for response in responses] == [PENDING] * 100 + [Status(0)]
        assert [response.data_set for response in responses[:-1]] == [number.to_bytes(4, "big") + bytes(20) for number in range(100)]
        assert responses[-1].data_set is None
        request = finder.requests[0]
        assert (request.identifier, request.transfer_syntax_uid, request.sop_class_uid) == (b"identifier", EXPLICIT, STUDY_ROOT_FIND)
        assert (request.priority, request.peer.ae_title, request.extended) == (Priority.LOW, "WS1", None)
    assert gate.recorder.operations[0][0] == "C-FIND"


async def test_a_find_that_fails_after_some_responses() -> None:
    async def find(request: QueryRequest) -> AsyncGenerator[Response, None]:
        yield Response(Status(0xFF01), b"ab")
        yield Response(Status(0xA900, "No QueryRetrieveLevel specified"))
        raise AssertionError("nobody asks after the last response")

    async with node(Handlers(find=find)) as gate, await dial(gate) as association:
        responses = [response async for response in association.find(STUDY_ROOT_FIND, b"ab")]
        assert responses == [Response(Status(0xFF01), b"ab"), Response(Status(0xA900, "No QueryRetrieveLevel specified"))]


async def test_a_handler_that_raises_is_a_failure_of_its_operation_only(caplog: pytest.LogCaptureFixture) -> None:
    async def find(request: QueryRequest) -> AsyncGenerator[Response, None]:
        yield Response(PENDING, b"ab")
        raise RuntimeError("a bug")

    async def act(request: NormalizedRequest) -> Response:
        raise RuntimeError("another")

    async with node(Handlers(find=find, n_action=act)) as gate, await dial(gate) as association:
        responses = [response async for response in association.find(STUDY_ROOT_FIND, b"ab")]
        assert responses[-1].status == Status(0xC000, "Internal error, see the log of the adapter")
        assert (await association.n_action(STORAGE_COMMITMENT, "1.2.3", 1)).status.code == 0x0110
        assert await association.echo() == Status(0)
    assert [record.getMessage() for record in caplog.records] == ["a C-FIND handler failed", "a N-ACTION handler failed"]


async def test_responses_wait_for_a_slow_reader_on_both_sides() -> None:
    finder = Finder(3000, size=20_000)  # 60 MB
    async with node(Handlers(find=finder)) as gate, await dial(gate) as association:
        responses = association.find(STUDY_ROOT_FIND, b"ab")
        assert (await anext(responses)).pending
        held = -1
        while held != finder.given:
            held = finder.given
            await asyncio.sleep(0.1)
        assert held * 20_000 < 8_000_000
        count = 1
        async for response in responses:
            count += response.pending
        assert count == 3000


async def test_leaving_a_find_cancels_it_and_the_association_goes_on() -> None:
    finder = Finder(1_000_000)
    async with node(Handlers(find=finder)) as gate, await dial(gate) as association:
        async with aclosing(association.find(STUDY_ROOT_FIND, b"ab")) as responses:
            async for _ in responses:
                break
        assert await association.echo() == Status(0)  # waits for the last response of the one that was cancelled
        async with asyncio.timeout(60):
            await finder.ended.wait()
        assert finder.how in ("cancelled", "closed")
        assert finder.given < 1_000_000
        assert [(service, status.code) for service, _, status, _, _ in gate.recorder.operations] == [("C-FIND", 0xFE00), ("C-ECHO", 0)]


async def test_leaving_it_without_a_word_does_the_same() -> None:
    finder = Finder(1_000_000)
    async with node(Handlers(find=finder)) as gate, await dial(gate) as association:
        async for _ in association.find(STUDY_ROOT_FIND, b"ab"):
            break
        async with asyncio.timeout(60):
            await finder.ended.wait()
        assert await association.echo() == Status(0)


async def test_a_release_waits_for_the_end_of_what_was_cancelled() -> None:
    finder = Finder(1_000_000)
    async with node(Handlers(find=finder)) as gate:
        async with await dial(gate) as association, aclosing(association.find(STUDY_ROOT_FIND, b"ab")) as responses:
            await anext(responses)
        assert (await gate.ended()).outcome == "released"
        assert (await gate.ended()).operations == {("C-FIND", 0xFE00): 1}


async def test_a_handler_may_end_a_cancelled_move_with_true_numbers() -> None:
    async def move(request: MoveRequest) -> AsyncGenerator[Response, None]:
        assert request.destination == "WS1"
        yield Response(PENDING, sub_operations=SubOperations(9, 1))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield Response(Status(0xFE00), b"failed UIDs", SubOperations(7, 2, 1))

    async with node(Handlers(move=move)) as gate, await dial(gate) as association:
        moving = association.move(STUDY_ROOT_MOVE, b"ab", "WS1")
        first_response = await anext(moving)
        assert first_response == Response(PENDING, None, SubOperations(9, 1))
        await moving.aclose()
        assert await association.echo() == Status(0)
        assert gate.recorder.operations[0][2].code == 0xFE00


async def test_numbers_of_sub_operations_and_the_list_of_failures_come_through() -> None:
    async def move(request: MoveRequest) -> AsyncGenerator[Response, None]:
        for done in range(3):
            yield Response(PENDING, sub_operations=SubOperations(3 - done, done, 0, 0))
        yield Response(Status(0xB000, "1 failed"), b"list of failed UIDs", SubOperations(None, 2, 1, 0))

    async def succeed(request: MoveRequest) -> AsyncGenerator[Response, None]:
        yield Response(PENDING, sub_operations=SubOperations(1, 2, 0, 1))

    async with node(Handlers(move=move)) as gate, await dial(gate) as association:
        responses = [response async for response in association.move(STUDY_ROOT_MOVE, b"ab", "WS9")]
        assert responses[:-1] == [Response(PENDING, None, SubOperations(3 - done, done, 0, 0)) for done in range(3)]
        assert responses[-1] == Response(Status(0xB000, "1 failed"), b"list of failed UIDs", SubOperations(None, 2, 1, 0))
    async with node(Handlers(move=succeed)) as gate, await dial(gate) as association:
        responses = [response async for response in association.move(STUDY_ROOT_MOVE, b"ab", "WS9")]
        assert responses[-1] == Response(Status(0), None, SubOperations(None, 2, 0, 1))


ROLES = Extras(roles={CT_STORAGE: RoleProposal(scu=False, scp=True)})


async def test_a_get_brings_the_instances_over_the_same_association() -> None:
    keeper = Keeper()
    data = random.Random(4).randbytes(300_000)

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        assert request.requestor.transfer_syntaxes(CT_STORAGE) == (EXPLICIT,)
        for number in range(3):
            assert await request.requestor.store(instance(f"1.{number}", pieces(data, 1000))) == Status(0)
            yield Response(PENDING, sub_operations=SubOperations(2 - number, number + 1))
        with pytest.raises(ContextNotAccepted, match="'WS1' has not accepted MR Image Storage"):
            await request.requestor.store(SopInstance("1.2.840.10008.5.1.4.1.1.4", "1.9", EXPLICIT, b"ab"))

    async with node(Handlers(get=get)) as gate, await dial(gate, handlers=Handlers(store=keeper), extras=ROLES) as association:
        assert association.acceptance.roles == {CT_STORAGE: RoleProposal(scu=False, scp=True)}
        responses = [response async for response in association.get(STUDY_ROOT_GET, b"ab")]
        assert responses[-1] == Response(Status(0), None, SubOperations(None, 3, 0, 0))
        assert keeper.stored == {f"1.{number}": data for number in range(3)}
        assert keeper.requests[0].peer.ae_title == "GATE"


async def test_the_end_of_the_association_cancels_a_get_and_its_sub_operation() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        try:
            await request.requestor.store(instance("1.1", bytes(10_000_000)))
            yield Response(PENDING)
        finally:
            ended.set()

    async def store(request: StoreRequest) -> Status:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with node(Handlers(get=get)) as gate:
        association = await dial(gate, handlers=Handlers(store=store), extras=ROLES)
        getting = asyncio.ensure_future(anext(association.get(STUDY_ROOT_GET, b"ab")))
        await begun.wait()
        await association.abort()
        with pytest.raises(AssociationAborted, match="aborted here"):
            await getting
        async with asyncio.timeout(60):
            await ended.wait()


async def test_a_commitment_is_asked_for_and_reported_on_one_association() -> None:
    reports: list[NormalizedRequest] = []

    async def act(request: NormalizedRequest) -> Response:
        assert (request.type_id, request.information, request.sop_instance_uid) == (1, b"list", "1.2.840.10008.1.20.1.1")
        return Response(Status(0), b"reply")

    async def report(request: NormalizedRequest) -> Response:
        reports.append(request)
        return Response(Status(0x0112, "no such object"))

    async with node(Handlers(n_action=act, n_event_report=report)) as gate, await dial(gate) as association:
        response = await association.n_action(STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", 1, b"list")
        assert response == Response(Status(0), b"reply")
        response = await association.n_event_report(STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", 2)
        assert response == Response(Status(0x0112, "no such object"))
    assert [(one.type_id, one.information) for one in reports] == [(2, b"")]


async def test_what_was_not_accepted_is_said_before_anything_is_sent() -> None:
    async with node(Handlers(store=Keeper())) as gate, await dial(gate) as association:
        for ask, sentence in [
            (
                association.store(SopInstance(CT_STORAGE, "1.2", IMPLICIT, b"")),
                f"'GATE' has not accepted CT Image Storage in {IMPLICIT}, only in {EXPLICIT}",
            ),
            (association.n_action(STORAGE_COMMITMENT, "1.2", 1), "'GATE' has not accepted Storage Commitment Push Model"),
            (anext(association.find(STUDY_ROOT_FIND, b"")), "'GATE' has not accepted Study Root Query/Retrieve - FIND"),
        ]:
            with pytest.raises(ContextNotAccepted) as caught:
                await ask
            assert str(caught.value) == sentence
        assert await association.echo() == Status(0)


async def test_a_rejection() -> None:
    async with node() as gate:
        with pytest.raises(AssociationRejected) as caught:
            await dial(PeerAddress("OTHER", "127.0.0.1", gate.server.port))
    error = caught.value
    assert (error.result, error.source, error.reason, error.permanent) == (1, 1, 7, True)
    assert str(error) == "the association was rejected (1/1/7): it has another AE title (called AE title not recognized)"


async def test_asynchronous_operations_are_answered_as_they_finish() -> None:
    gates: dict[str, asyncio.Event] = {f"1.{number}": asyncio.Event() for number in range(4)}
    running: set[str] = set()

    async def store(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        running.add(request.sop_instance_uid)
        await gates[request.sop_instance_uid].wait()
        return Status(0xB000 + int(request.sop_instance_uid[-1]))

    extras = Extras(asynchronous_operations=(8, 1))
    async with node(Handlers(store=store), Limits(max_operations=3)) as gate, await dial(gate, extras=extras) as association:
        assert association.acceptance.asynchronous_operations == (3, 1)
        stores = [asyncio.ensure_future(association.store(instance(uid, bytes(1000)))) for uid in gates]
        await until(lambda: len(running) == 3)
        assert running == {"1.0", "1.1", "1.2"}  # the fourth waits its turn
        for uid in ("1.2", "1.0"):
            gates[uid].set()
            assert (await stores[int(uid[-1])]).code == 0xB000 + int(uid[-1])
        assert not stores[1].done()
        gates["1.3"].set()
        assert (await stores[3]).code == 0xB003
        gates["1.1"].set()
        assert (await stores[1]).code == 0xB001


async def test_without_a_window_one_operation_is_in_flight() -> None:
    running = most = 0

    async def store(request: StoreRequest) -> Status:
        nonlocal running, most
        running += 1
        most = max(most, running)
        async for _ in request.body:
            await asyncio.sleep(0)
        running -= 1
        return Status(0)

    async with node(Handlers(store=store)) as gate, await dial(gate) as association:
        statuses = await asyncio.gather(*(association.store(instance(f"1.{number}", bytes(50_000))) for number in range(20)))
        assert statuses == [Status(0)] * 20
        assert most == 1


async def test_user_identity_and_extended_negotiation_reach_the_other_side() -> None:
    seen: list[object] = []
    finder = Finder(1)

    def access(request: object, address: str) -> None:
        seen.append(request)

    extras = Extras(user_identity=UserIdentity(2, True, b"user", b"secret"), extended={STUDY_ROOT_FIND: b"\1\1"})
    async with (
        node(Handlers(find=finder), access=access, extend=lambda uid, asked: b"\1\0") as gate,
        await dial(gate, extras=extras) as association,
    ):
        assert association.acceptance.identity_response == b""
        assert association.acceptance.extended == {STUDY_ROOT_FIND: b"\1\0"}
        assert [response.status.code async for response in association.find(STUDY_ROOT_FIND, b"")] == [0xFF00, 0]
    assert seen[0].user_identity.secondary == b"secret"  # type: ignore[attr-defined]
    assert finder.requests[0].extended == b"\1\1"


async def test_a_cancelled_store_leaves_nothing_behind() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def store(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        begun.set()
        await cancelled.wait()
        return Status(0xB007)

    async with node(Handlers(store=store)) as gate, await dial(gate) as association:
        storing = asyncio.ensure_future(association.store(instance("1.1", b"ab")))
        await begun.wait()
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        cancelled.set()
        assert await association.echo() == Status(0)


async def test_an_exception_in_the_block_aborts() -> None:
    async with node() as gate:
        with pytest.raises(ZeroDivisionError):
            async with await dial(gate):
                raise ZeroDivisionError
        assert (await gate.ended()).outcome == "aborted by peer"


async def test_a_server_that_shuts_down_ends_what_waits() -> None:
    begun = asyncio.Event()

    async def store(request: StoreRequest) -> Status:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with node(Handlers(store=store)) as gate:
        association = await dial(gate)
        storing = asyncio.ensure_future(association.store(instance("1.1", bytes(100))))
        await begun.wait()
        in_line = asyncio.ensure_future(association.echo())
        await asyncio.sleep(0)
        gate.server.abort()
        for waiting in (storing, in_line):
            with pytest.raises(AssociationEnded, match="the peer's application aborted"):
                await waiting
        await association.release()


async def test_two_sides_that_both_send_much_do_not_wait_for_each_other() -> None:
    """A C-GET whose requestor stores at the same time, with more than the kernel's buffers both ways."""
    keeper, theirs = Keeper(), Keeper()
    data = bytes(6_000_000)

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        assert await request.requestor.store(instance("1.1", data)) == Status(0)
        yield Response(Status(0))

    extras = Extras(roles={CT_STORAGE: RoleProposal(scu=True, scp=True)}, asynchronous_operations=(2, 2))
    async with (
        node(Handlers(store=theirs, get=get), Limits(dimse_timeout=5)) as gate,
        await dial(gate, handlers=Handlers(store=keeper), extras=extras) as association,
    ):
        getting = asyncio.ensure_future(anext(association.get(STUDY_ROOT_GET, b"ab")))
        assert await association.store(instance("1.2", data)) == Status(0)
        assert (await getting).status == Status(0)
    assert len(keeper.stored["1.1"]) == len(theirs.stored["1.2"]) == len(data)


async def test_an_identifier_is_collected_up_to_a_bound() -> None:
    finder = Finder(1)
    limits = Limits(max_data_set_bytes=1000)
    async with node(Handlers(find=finder), limits) as gate, await dial(gate) as association:
        responses = [response async for response in association.find(STUDY_ROOT_FIND, bytes(1001))]
        assert [response.status for response in responses] == [Status(0xA700, "Data set of more than 1000 bytes")]
        assert [response.status.code async for response in association.find(STUDY_ROOT_FIND, bytes(1000))] == [0xFF00, 0]


async def test_contexts_and_titles_are_checked_before_anything_is_opened() -> None:
    peer = PeerAddress("GATE", "127.0.0.1", 1)
    with pytest.raises(ValueError, match="AE title"):
        await connect(peer, calling_ae_title="x" * 17, contexts=CONTEXTS)
    with pytest.raises(ValueError, match="not 0"):
        await connect(peer, calling_ae_title="WS1", contexts=[])
    with pytest.raises(ValueError, match="no UID"):
        await connect(peer, calling_ae_title="WS1", contexts=[PresentationContext(VERIFICATION, ("x",))])


async def test_who_stops_waiting_for_its_turn_leaves_it_to_the_next() -> None:
    begun, hold = asyncio.Event(), asyncio.Event()

    async def store(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        begun.set()
        await hold.wait()
        return Status(0)

    async with node(Handlers(store=store)) as gate, await dial(gate) as association:
        stores = [asyncio.ensure_future(association.store(instance(f"1.{number}", b"ab"))) for number in range(4)]
        await begun.wait()
        stores[1].cancel()
        hold.set()
        assert await stores[0] == Status(0)
        stores[2].cancel()  # its turn has just come, or is about to
        assert await stores[3] == Status(0)
        assert await association.echo() == Status(0)


async def test_a_mistake_of_ours_costs_one_association(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    async with node() as gate:
        other = await dial(gate)
        association = await dial(gate)
        with monkeypatch.context() as patch:
            patch.setattr("dicom_adapter.dimse.performer.immediate_status", fail)
            with pytest.raises(AssociationEnded):
                await association.echo()
        assert await other.echo() == Status(0)
        await other.release()
        assert (await gate.ended()).reason == "internal error"
    assert [record.getMessage() for record in caplog.records] == ["internal error in an association; it is dropped"]

"""The engine against a sender that cuts, mixes and breaks its bytes as it likes."""

import asyncio
import random
import struct

import pytest

from dicom_adapter.dimse import DataSetInterrupted, Status, StoreRequest
from tests.adapter.dimse.serving import Keeper, eventually, serving
from tests.support.rawscu import (
    ABORT,
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    IMPLICIT,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    AssociationAborted,
    AssociationRejected,
    ConnectionClosed,
    RawScu,
    associate_rq,
    command_set,
    context,
    echo_rq,
    pdata,
    pdu,
    pdv,
    send_instances,
    short,
    store_rq,
    uid,
)

CONTEXTS = [context(1, CT_STORAGE, EXPLICIT), context(3, VERIFICATION, IMPLICIT)]
REQUEST = associate_rq("GATE", "CT1", CONTEXTS)


def connected(port: int, request: bytes = REQUEST) -> RawScu:
    return RawScu("127.0.0.1", port).associated(request)


def test_any_fragmentation_arrives_byte_exact() -> None:
    keeper = Keeper()
    data = random.Random(1).randbytes(5001)
    command = store_rq(CT_STORAGE, "1.2.3")
    with serving(keeper) as server, connected(server.port) as scu:
        # command and data in one PDU, a zero-length fragment between, the last one empty
        scu.send(
            pdata(
                pdv(1, COMMAND, command[:10]),
                pdv(1, COMMAND | LAST, command[10:]),
                pdv(1, DATA, data[:1]),
                pdv(1, DATA, b""),
                pdv(1, DATA, data[1:4000]),
            )
            + pdata(pdv(1, DATA, data[4000:]))
            + pdata(pdv(1, DATA | LAST, b""))
        )
        assert scu.response().status == 0
        assert keeper.stored["1.2.3"] == data
        # a value per fragment, one byte each, and then a byte per segment
        for number, byte in enumerate(command):
            scu.send(pdata(pdv(1, COMMAND | (LAST if number == len(command) - 1 else 0), bytes([byte]))))
        for number, byte in enumerate(data[:600]):
            scu.send(pdata(pdv(1, DATA | (LAST if number == 599 else 0), bytes([byte]))))
        assert scu.response().status == 0
        assert keeper.stored["1.2.3"] == data[:600]
        scu.send_bytewise(pdata(pdv(1, COMMAND | LAST, command)) + pdata(pdv(1, DATA | LAST, data[:300])))
        assert scu.response().status == 0
        assert keeper.stored["1.2.3"] == data[:300]
        scu.release()
    assert server.recorder.ended[0].outcome == "released"
    assert server.recorder.ended[0].operations == {("C-STORE", 0): 3}
    assert server.recorder.ended[0].received_bytes == len(scu.sent) == server.recorder.bytes


def test_an_association_request_may_come_byte_by_byte() -> None:
    with serving(Keeper()) as server, RawScu("127.0.0.1", server.port) as scu:
        scu.send_bytewise(REQUEST[:-1])
        assert scu.associate(REQUEST[-1:]) == {1: (0, EXPLICIT), 3: (0, IMPLICIT)}
        scu.release()


def test_requests_sent_ahead_are_answered_in_order() -> None:
    async def slow(request: StoreRequest) -> Status:
        async for _ in request.body:
            await asyncio.sleep(0)
        return Status(0xB000 + request.message_id)

    with serving(slow) as server, connected(server.port) as scu:
        for number in range(40):
            if number % 3:
                scu.send_message(1, store_rq(CT_STORAGE, "1.2.3", number), bytes(100_000))
            else:
                scu.send_message(3, echo_rq(number))
        scu.send(RELEASE_RQ)
        for number in range(40):
            response = scu.response()
            assert response.elements[0x0120] == short(number)
            assert response.status == (0xB000 + number if number % 3 else 0)
        scu.expect(6)


def test_the_first_bytes_of_other_protocols_end_the_connection_without_an_answer() -> None:
    hello = bytes.fromhex("16030100c8010000c40303")
    with serving(Keeper()) as server:
        for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hello, b"\0" * 100, b"\xff", b"SSH-2.0-x\r\n", b""):
            with RawScu("127.0.0.1", server.port) as scu:
                if sent:
                    scu.send(sent)
                    assert scu.closed_silently()
        eventually(lambda: len(server.recorder.foreign) == 6)
        assert set(server.recorder.foreign) == {"127.0.0.1"}
        assert not server.recorder.accepted


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(struct.pack(">BxL", 1, 0xFFFFFFFF), id="associate of 4 GB"),
        pytest.param(struct.pack(">BxL", 1, (1 << 20) + 1), id="associate over the limit"),
        pytest.param(struct.pack(">BxL", 1, 67), id="associate shorter than its fixed fields"),
        pytest.param(pdu(4, bytes(20)), id="data before the association"),
        pytest.param(RELEASE_RQ, id="release before the association"),
        pytest.param(pdu(1, b"\0\1" + bytes(102)), id="items of zeros"),
        pytest.param(associate_rq("GATE", "CT1", CONTEXTS, user_items=b"\x55\0\xff\xff"), id="item past its parent"),
    ],
)
def test_what_is_wrong_before_the_association_is_aborted(sent: bytes) -> None:
    with serving(Keeper()) as server:
        with RawScu("127.0.0.1", server.port) as scu:
            if sent == pdu(1, bytes(2) + b"\1" + bytes(100)):
                sent = pdu(1, b"\0\1" + bytes(102))
            scu.send(sent)
            with pytest.raises(AssociationAborted) as caught:
                scu.expect(2)
            assert caught.value.pair == (0, 0)
        eventually(lambda: server.recorder.foreign == ["127.0.0.1"])


@pytest.mark.parametrize(
    ("sent", "pair"),
    [
        pytest.param(REQUEST, (2, 2), id="a second association request"),
        pytest.param(pdu(2, bytes(68)), (2, 2), id="an acceptance"),
        pytest.param(pdu(6, bytes(4)), (2, 2), id="a release response"),
        pytest.param(pdu(9, bytes(4)), (2, 1), id="a PDU type that is none"),
        pytest.param(struct.pack(">BxL", 4, 0xFFFFFFF0), (2, 6), id="data of 4 GB"),
        pytest.param(struct.pack(">BxL", 4, 131072 + 7), (2, 6), id="data over our maximum"),
        pytest.param(pdu(4, b""), (2, 6), id="data without a value"),
        pytest.param(pdu(4, struct.pack(">LBB", 1, 1, 0)), (2, 6), id="a value of one byte"),
        pytest.param(pdu(4, struct.pack(">LBB", 0xFFFFFFFF, 1, 0)), (2, 6), id="a value of 4 GB"),
        pytest.param(pdu(4, struct.pack(">LBB", 3, 1, 0)), (2, 6), id="a value past its PDU"),
        pytest.param(pdata(pdv(1, COMMAND, b"")) + pdu(4, pdv(1, COMMAND, b"") + b"abc"), (2, 6), id="stray bytes"),
        pytest.param(pdata(pdv(5, COMMAND | LAST, echo_rq())), (2, 6), id="a context that was not accepted"),
        pytest.param(pdata(pdv(1, DATA | LAST, b"abcd")), (2, 6), id="a data set without a command"),
        pytest.param(pdata(pdv(1, COMMAND, b"ab"), pdv(3, COMMAND, b"cd")), (2, 6), id="a command on two contexts"),
        pytest.param(pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "1.2")), pdv(3, DATA, b"cd")), (2, 6), id="data on another context"),
        pytest.param(
            pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "1.2")), pdv(1, COMMAND, b"cd")), (2, 6), id="a command inside data"
        ),
        pytest.param(pdata(pdv(1, COMMAND | LAST, b"\0" * 16)), (2, 6), id="a command set of zeros"),
        pytest.param(pdata(pdv(1, COMMAND | LAST, echo_rq()[:-1])), (2, 6), id="a command set cut short"),
        pytest.param(pdata(pdv(1, COMMAND | LAST, b"")), (2, 6), id="an empty command set"),
        pytest.param(
            pdata(pdv(3, COMMAND | LAST, command_set([(0x0100, short(0x8030)), (0x0110, short(1)), (0x0800, short(0x0101))]))),
            (2, 6),
            id="a response to nothing",
        ),
        pytest.param(pdata(pdv(1, COMMAND, bytes(60000))) + pdata(pdv(1, COMMAND, bytes(6000))), (2, 6), id="a command set without end"),
    ],
)
def test_what_is_wrong_inside_an_association_is_aborted_with_source_and_reason(sent: bytes, pair: tuple[int, int]) -> None:
    with serving(Keeper()) as server:
        with connected(server.port) as scu:
            scu.send(sent)
            with pytest.raises(AssociationAborted) as caught:
                scu.expect(4)
            assert caught.value.pair == pair
        end = server.recorder.end()
        assert end.outcome == "aborted"
        assert end.reason
        # and the next one is served as if nothing had been
        assert send_instances("127.0.0.1", server.port, "GATE", "CT1", [(CT_STORAGE, "1.2", EXPLICIT, b"abcd")]) == [(0, "")]


def store_without(element: int, **values: bytes) -> bytes:
    elements = {
        0x0002: uid(CT_STORAGE),
        0x0100: short(1),
        0x0110: short(7),
        0x0700: short(0),
        0x0800: short(0x0101 if element == 0x0800 else 1),
        0x1000: uid("1.2.3"),
    }
    if element != 0x0800:
        elements[element] = values.get("value", b"")
    return command_set(elements.items())


NO_SUCH_OPERATION = "This operation is not supported"
NO_UID = "AffectedSOPInstanceUID is no UID"
OTHER_CLASS = "SOP class differs from that of its presentation context"
UIDS = {0x0002: uid(CT_STORAGE), 0x1000: uid("1.2.3")}


def request_of(command_field: int, data_set_type: int = 0x0101) -> bytes:
    return command_set([(0x0100, short(command_field)), (0x0110, short(7)), (0x0800, short(data_set_type))])


@pytest.mark.parametrize(
    ("context_id", "command", "data", "status", "comment", "kept"),
    [
        (1, store_without(0x1000), b"ab", 0xC000, "Mandatory tag empty: AffectedSOPInstanceUID", {0x0002: uid(CT_STORAGE)}),
        (1, store_without(0x0002), b"ab", 0xC000, "Mandatory tag empty: AffectedSOPClassUID", {0x1000: uid("1.2.3")}),
        (1, store_without(0x0800), None, 0xC000, "Mandatory data set missing", UIDS),
        (1, store_without(0x1000, value=b"1.2\r\nX: y "), b"ab", 0x0117, NO_UID, {0x0002: uid(CT_STORAGE)}),
        (1, store_without(0x1000, value=b".."), b"ab", 0x0117, NO_UID, {0x0002: uid(CT_STORAGE)}),
        (1, store_without(0x1000, value=b"1" * 66), b"ab", 0x0117, NO_UID, {0x0002: uid(CT_STORAGE)}),
        (3, store_rq(CT_STORAGE, "1.2.3", 7), b"ab", 0x0122, "Verification takes no C-STORE", UIDS),
        (1, store_rq("1.2.840.10008.5.1.4.1.1.4", "1.2.3", 7), b"ab", 0x0122, OTHER_CLASS, {0x1000: uid("1.2.3")}),
        (1, echo_rq(7), None, 0x0122, "C-ECHO needs a presentation context of Verification", {0x0002: uid(VERIFICATION)}),
        (1, request_of(0x0020, 1), b"query", 0x0211, NO_SUCH_OPERATION, {0x0100: short(0x8020)}),
        (3, request_of(0x0130), None, 0x0211, NO_SUCH_OPERATION, {0x0100: short(0x8130)}),
        (3, request_of(0x7777), None, 0x0211, NO_SUCH_OPERATION, {0x0100: short(0xF777)}),
    ],
)
def test_requests_that_cannot_be_served_get_a_status_and_the_association_goes_on(
    context_id: int, command: bytes, data: bytes | None, status: int, comment: str, kept: dict[int, bytes]
) -> None:
    keeper = Keeper()
    with serving(keeper) as server, connected(server.port) as scu:
        scu.send_message(context_id, command, data)
        response = scu.response()
        assert (response.status, response.comment) == (status, comment)
        assert response.context_id == context_id
        assert response.elements[0x0120] == short(7)
        assert response.elements[0x0800] == short(0x0101)
        assert kept.items() <= response.elements.items()
        assert list(response.elements) == sorted(response.elements)
        assert not keeper.requests
        scu.send_message(3, echo_rq(8))
        assert scu.response().status == 0
        scu.release()
        assert eventually(lambda: server.recorder.operations)[0][2] == Status(status, comment)


def test_odd_and_padded_uids_are_understood() -> None:
    keeper = Keeper()
    odd = command_set(
        [(0x0002, CT_STORAGE.encode() + b" "), (0x0100, short(1)), (0x0110, short(1)), (0x0800, short(0)), (0x1000, b"1.02.3\0\0\0")]
    )
    with serving(keeper) as server, connected(server.port) as scu:
        scu.send_message(1, odd, b"ab")
        assert scu.response().status == 0
        assert keeper.stored == {"1.02.3": b"ab"}


def test_a_cancel_for_nothing_is_ignored() -> None:
    cancel = command_set([(0x0100, short(0x0FFF)), (0x0120, short(1)), (0x0800, short(0x0101))])
    with serving(Keeper()) as server, connected(server.port) as scu:
        scu.send_message(3, cancel)
        scu.send_message(3, echo_rq(5))
        assert scu.response().elements[0x0120] == short(5)


def test_a_response_is_cut_to_the_maximum_length_of_the_peer() -> None:
    request = associate_rq("GATE", "CT1", CONTEXTS, maximum_length=22)
    with serving(Keeper()) as server, connected(server.port, request) as scu:
        scu.send_message(1, store_without(0x1000), b"ab")
        first = scu.receive()
        assert len(first.body) == 22
        command = first.body[6:]
        while not first.body[5] & LAST:
            first = scu.receive()
            assert len(first.body) <= 22
            command += first.body[6:]
        assert command.endswith(b"AffectedSOPInstanceUID ")


@pytest.mark.parametrize("end", ["abort", "close", "reset", "violation", "release"])
def test_a_data_set_that_breaks_off_interrupts_its_handler(end: str) -> None:
    seen: list[object] = []

    async def store(request: StoreRequest) -> Status:
        try:
            async for chunk in request.body:
                seen.append(chunk)  # noqa: PERF401 - what came before the interruption counts
        except DataSetInterrupted as error:
            seen.append(error)
            raise
        return Status(0)

    with serving(store) as server:
        with connected(server.port) as scu:
            scu.send(pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "1.2"))) + pdata(pdv(1, DATA, b"abcd")))
            eventually(lambda: seen)
            match end:
                case "abort":
                    scu.send(ABORT)
                case "reset":
                    scu.send_reset()
                case "violation":
                    scu.send(b"\xff" * 6)
                case "release":
                    scu.release()
                case _:
                    scu.close()
            eventually(lambda: len(seen) == 2)
        assert seen[0] == b"abcd"
        assert isinstance(seen[1], DataSetInterrupted)
        summary = server.recorder.end()
        expected = {"abort": "aborted by peer", "violation": "aborted", "release": "released"}
        assert summary.outcome == expected.get(end, "lost")
        assert summary.operations == {}
        assert not server.recorder.operations


def test_a_complete_data_set_is_stored_though_the_peer_is_gone() -> None:
    gate: list[asyncio.Event] = []
    done: list[bytes] = []

    async def store(request: StoreRequest) -> Status:
        gate.append(asyncio.Event())
        data = b"".join([chunk async for chunk in request.body])
        await gate[0].wait()
        done.append(data)
        return Status(0)

    with serving(store) as server:
        with connected(server.port) as scu:
            scu.send_message(1, store_rq(CT_STORAGE, "1.2"), b"abcd")
            eventually(lambda: gate and server.recorder.bytes == len(scu.sent))
            (association,) = server.server._registry.connections
        eventually(lambda: association._lost)  # an answer that goes out before would be met with a reset
        assert not done
        server.loop.call_soon_threadsafe(lambda: gate[0].set())
        summary = server.recorder.end()
        assert done == [b"abcd"]
        assert summary.operations == {("C-STORE", 0): 1}
        assert summary.outcome == "lost"
        assert summary.reason == "the peer closed the connection without a release"


def test_a_handler_may_answer_before_the_end() -> None:
    async def store(request: StoreRequest) -> Status:
        return Status(0xA700, "Spool full:\r\n0.4 GiB free \\ “kept”")

    with serving(store, receive_window_bytes=4096) as server, connected(server.port) as scu:
        for number in (1, 2):
            scu.send_message(1, store_rq(CT_STORAGE, "1.2", number), bytes(3_000_000))
            response = scu.response()
            assert (response.status, response.comment) == (0xA700, "Spool full: 0.4 GiB free ? ?kept?")
            assert response.elements[0x1000] == uid("1.2")
        scu.release()


def test_a_handler_that_fails_is_answered_with_a_status(caplog: pytest.LogCaptureFixture) -> None:
    async def store(request: StoreRequest) -> Status:
        if request.message_id == 1:
            raise RuntimeError("boom")
        raise DataSetInterrupted("not true")

    with serving(store) as server, connected(server.port) as scu:
        for number in (1, 2):
            scu.send_message(1, store_rq(CT_STORAGE, "1.2", number), b"ab")
            response = scu.response()
            assert (response.status, response.comment) == (0xA700, "Internal error, see the log of the adapter")
        scu.release()
    assert "boom" in caplog.text


def test_what_comes_after_the_release_does_no_harm() -> None:
    with serving(Keeper()) as server:
        with connected(server.port) as scu:
            scu.send(RELEASE_RQ + pdata(pdv(3, COMMAND | LAST, echo_rq())) + RELEASE_RQ)
            scu.expect(6)
        assert server.recorder.end().outcome == "released"


def test_rejections() -> None:
    with serving(Keeper(), titles=("GATE", "OLDGATE"), max_associations=3, max_associations_per_peer=2) as server:

        def rejected(request: bytes) -> tuple[tuple[int, int, int], str]:
            before = len(server.recorder.rejected)
            with RawScu("127.0.0.1", server.port) as scu, pytest.raises(AssociationRejected) as caught:
                scu.associate(request)
            eventually(lambda: len(server.recorder.rejected) > before)
            return caught.value.triple, server.recorder.rejected[-1][1].message

        assert rejected(associate_rq("GATEWAY", "CT1", CONTEXTS)) == (
            (1, 1, 7),
            "it called 'GATEWAY', we are 'GATE'; correct the sender or add 'GATEWAY' to spec.acceptedAETitles",
        )
        assert rejected(associate_rq("G\xc4TE", "CT1", CONTEXTS))[0] == (1, 1, 7)
        assert rejected(associate_rq("GATE", " ", CONTEXTS))[0] == (1, 1, 3)
        assert rejected(associate_rq("GATE", "CT1", CONTEXTS, version=2))[0] == (1, 2, 2)
        assert rejected(associate_rq("GATE", "CT1", CONTEXTS, application_context="1.2.3"))[0] == (1, 1, 2)
        with connected(server.port), connected(server.port, associate_rq("OLDGATE", "CT1", CONTEXTS)):
            assert rejected(REQUEST) == ((2, 3, 2), "2 of its 2 associations are open (spec.limits.maxAssociationsPerPeer)")
            with connected(server.port, associate_rq(" GATE", "MR1", CONTEXTS)) as scu:
                assert rejected(REQUEST) == ((2, 3, 2), "3 of 3 associations are open (spec.limits.maxAssociations)")
                assert server.server.active == 3
                scu.send_message(3, echo_rq())
                assert scu.response().status == 0
        eventually(lambda: not server.server.active)
        with connected(server.port) as scu:
            scu.release()
        assert [peer.ae_title for peer, _ in server.recorder.rejected] == ["CT1", "CT1", "", "CT1", "CT1", "CT1", "CT1"]


def test_the_acceptance_gives_back_what_the_standard_wants_given_back() -> None:
    request = bytearray(associate_rq("GATE", "CT\xe9", CONTEXTS))
    request[42:74] = bytes(range(32))
    with serving(Keeper(), max_pdu_bytes=65536) as server, connected(server.port, bytes(request)) as scu:
        assert scu.acceptance[:4] == b"\0\1\0\0"
        assert scu.acceptance[4:68] == request[10:74]
        items = scu.user_items()
        assert items[0x51] == struct.pack(">L", 65536)
        assert items[0x52].startswith(b"2.25.")
        assert items[0x55] == b"DICOMADAPTER"
        assert set(items) == {0x51, 0x52, 0x55}
        assert eventually(lambda: server.recorder.accepted)[0][1].ae_title == "CT?"


def test_a_reply_to_a_connection_that_is_closed_at_once_harms_nobody() -> None:
    with serving(Keeper(), max_associations_per_peer=100) as server:
        for _ in range(50):
            scu = RawScu("127.0.0.1", server.port)
            scu.send(REQUEST + pdata(pdv(3, COMMAND | LAST, echo_rq())))
            scu.send_reset()
        eventually(lambda: not server.server._registry.connections)
        with connected(server.port) as scu:
            scu.send_message(3, echo_rq())
            assert scu.response().status == 0
        with pytest.raises((ConnectionClosed, OSError)):
            scu.receive()

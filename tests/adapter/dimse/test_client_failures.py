"""The client against peers that close, abort, stall or talk nonsense at any point: always one of the documented errors, in time."""

import asyncio
import socket
import struct
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from dicom_adapter.dimse import (
    AssociationAborted,
    AssociationEnded,
    AssociationLost,
    AssociationRejected,
    AssociationReleased,
    ClientAssociation,
    ContextNotAccepted,
    DimseError,
    Limits,
    NotDicom,
    PeerAddress,
    PeerSilent,
    PeerUnreachable,
    PeerViolation,
    SopInstance,
    Status,
    connect,
)
from dicom_adapter.dimse.requestor import RequestedAssociation
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from tests.adapter.dimse.nodes import CONTEXTS, impostor, read_pdu, settled, until
from tests.adapter.dimse.serving import Keeper, serving
from tests.support.rawscu import (
    ABORT,
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    LAST,
    RELEASE_RQ,
    associate_ac,
    command_set,
    echo_rq,
    elements_of,
    pdata,
    pdu,
    pdv,
    short,
)

Play = Callable[[Reader, Writer], Awaitable[None]]
PATIENT = Limits(max_data_set_bytes=10_000)
QUICK = Limits(connect_timeout=1, association_timeout=1, dimse_timeout=1, response_timeout=1, max_data_set_bytes=10_000)
"""Where silence is what is looked for: anywhere else a busy machine could be taken for a silent peer."""
ACCEPTANCE = associate_ac([(2 * number + 1, 0, context.transfer_syntaxes[0]) for number, context in enumerate(CONTEXTS)])
RELEASE_RP = pdu(6, bytes(4))
FOREVER = 3600.0


async def dial(peer: PeerAddress, limits: Limits = PATIENT) -> ClientAssociation:
    return await connect(peer, calling_ae_title="WS1", contexts=CONTEXTS, limits=limits)


def saying(*answers: bytes, then: str = "stall") -> Play:
    """Reads a PDU and sends the first answer, and so on; then stalls, closes or resets."""

    async def play(reader: Reader, writer: Writer) -> None:
        for answer in answers:
            await read_pdu(reader)
            writer.write(answer)
        if then == "stall":
            await asyncio.sleep(FOREVER)
        elif then == "reset":
            await writer.drain()
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    return play


def limits_for(error: type[DimseError]) -> Limits:
    return QUICK if error is PeerSilent else PATIENT


async def wait_for_close(reader: Reader, writer: Writer) -> None:
    while await reader.read(1 << 16):
        pass


# No association


async def test_a_name_that_nobody_has() -> None:
    with pytest.raises(PeerUnreachable) as caught:
        await dial(PeerAddress("GATE", "no-such-host.invalid", 104), QUICK)
    assert caught.value.cause == "dns"
    assert str(caught.value) == "'no-such-host.invalid' cannot be resolved: there is no such name, or the DNS does not answer"
    with pytest.raises(PeerUnreachable, match="cannot be resolved"):
        await dial(PeerAddress("GATE", "x" * 70 + ".invalid", 104), QUICK)


async def test_a_port_where_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(PeerUnreachable) as caught:
            await dial(PeerAddress("GATE", "127.0.0.1", port))
    assert caught.value.cause == "refused"
    assert str(caught.value) == f"127.0.0.1:{port} refuses the connection: nothing listens on this port"


async def test_a_host_that_gives_no_answer() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:  # a full queue of connections: the kernel answers no more of them
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        with pytest.raises(PeerUnreachable) as caught:
            await dial(PeerAddress("GATE", "127.0.0.1", port), QUICK)
        for sock in waiting:
            sock.close()
    assert caught.value.cause == "silent"
    assert str(caught.value) == f"127.0.0.1:{port} gives no answer for 1 s: is the host down, or a firewall in the way?"


async def test_a_network_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
    with pytest.raises(PeerUnreachable, match="cannot be reached: No route to host") as caught:
        await dial(PeerAddress("GATE", "127.0.0.1", 1))
    assert caught.value.cause == "network"


NOT_DICOM = {
    "HTTP": saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", then="close"),
    "TLS": saying(bytes.fromhex("15030100020250"), then="close"),
    "SSH": saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
}


@pytest.mark.parametrize("play", NOT_DICOM.values(), ids=NOT_DICOM)
async def test_something_else_than_a_dicom_node(play: Play) -> None:
    async with impostor(play) as peer:
        with pytest.raises(NotDicom, match="something answers there, but it does not speak DICOM"):
            await dial(peer)


NO_ASSOCIATION: dict[str, tuple[Play, type[DimseError], str]] = {
    "silence": (saying(), PeerSilent, "no answer to the association request for 1 s"),
    "half an answer": (saying(ACCEPTANCE[:80]), PeerSilent, "no answer to the association request for 1 s"),
    "a close at once": (saying(then="close"), AssociationLost, "closed the connection without an answer|connection was lost"),
    "a close after the request": (saying(b"", then="close"), AssociationLost, "closed the connection without an answer"),
    "a reset": (saying(b"", then="reset"), AssociationLost, "without an answer|connection was lost"),
    "an abort": (saying(ABORT), AssociationAborted, "the peer's application aborted"),
    "an abort of the provider": (saying(pdu(7, bytes((0, 0, 2, 2)))), AssociationAborted, "upper layer aborted, source 2, reason 2"),
    "a request of its own": (saying(pdu(1, bytes(100))), PeerViolation, "unexpected A_ASSOCIATE_RQ"),
    "data": (saying(pdata(pdv(1, 3, b"ab"))), PeerViolation, "unexpected P_DATA_TF"),
    "a release": (saying(RELEASE_RP), PeerViolation, "unexpected A_RELEASE_RP"),
    "an unknown PDU": (saying(ACCEPTANCE[:1] + b"\0\xff\xff\xff\xff"), PeerViolation, "A_ASSOCIATE_AC of 4294967295 bytes"),
    "an acceptance without contexts": (saying(pdu(2, bytes(68))), PeerViolation, "another protocol version"),
    "an acceptance of what was not proposed": (saying(associate_ac([(99, 0, EXPLICIT)])), PeerViolation, "not proposed"),
    "an acceptance of one context twice": (saying(associate_ac([(1, 0, EXPLICIT)] * 2)), PeerViolation, "twice"),
}


@pytest.mark.parametrize(("play", "error", "sentence"), NO_ASSOCIATION.values(), ids=NO_ASSOCIATION)
async def test_no_association_comes_about(play: Play, error: type[DimseError], sentence: str) -> None:
    before = asyncio.all_tasks()
    async with impostor(play) as peer:
        with pytest.raises(error, match=sentence):
            await dial(peer, limits_for(error))
    assert asyncio.all_tasks() == before


async def test_a_request_on_a_context_that_nobody_can_use(caplog: pytest.LogCaptureFixture) -> None:
    accepted = associate_ac([(1, 0, "1.2.3"), (3, 0, EXPLICIT)])  # 1.2.3 was not proposed
    async with impostor(saying(accepted + pdata(pdv(1, COMMAND | LAST, echo_rq())))) as peer:
        association = await dial(peer)
        await until(lambda: not association.usable)
        assert isinstance(association.end, PeerViolation)
        assert "a request on presentation context 1, which cannot be used" in str(association.end)
        await association.abort()
    assert not caplog.records


REJECTIONS = {
    (1, 1, 7): "it has another AE title (called AE title not recognized)",
    (1, 1, 3): "it does not know our AE title (calling AE title not recognized)",
    (1, 1, 2): "it does not know our application context name",
    (1, 1, 1): "no reason given",
    (1, 2, 2): "it speaks another version of the upper layer protocol",
    (2, 3, 1): "it is congested for the moment",
    (2, 3, 2): "it has as many associations as it takes (local limit exceeded)",
    (9, 9, 9): "for a reason that the standard does not have",
}


@pytest.mark.parametrize("triple", REJECTIONS)
async def test_rejections_are_told_apart(triple: tuple[int, int, int]) -> None:
    async with impostor(saying(pdu(3, bytes((0, *triple))))) as peer:
        with pytest.raises(AssociationRejected) as caught:
            await dial(peer)
    error = caught.value
    assert (error.result, error.source, error.reason) == triple
    assert str(error) == f"the association was rejected ({'/'.join(map(str, triple))}): {REJECTIONS[triple]}"
    assert error.permanent == (triple[0] == 1)


async def test_giving_up_the_wait_closes_the_connection() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def play(reader: Reader, writer: Writer) -> None:
        assert (await read_pdu(reader))[0] == 1
        asked.set()
        assert (await read_pdu(reader))[0] == 7
        assert await reader.read() == b""
        gone.set()

    async with impostor(play) as peer:
        dialing = asyncio.ensure_future(dial(peer, Limits()))
        async with asyncio.timeout(60):
            await asked.wait()
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        async with asyncio.timeout(60):
            await gone.wait()


async def test_the_second_address_of_a_host_is_tried() -> None:
    async with impostor(saying(ACCEPTANCE, RELEASE_RP)) as peer:
        loop = asyncio.get_running_loop()
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, peer.port)) for host in ("127.0.0.2", "127.0.0.1")]

        async def resolve(*_: object, **__: object) -> object:
            return answer

        loop.getaddrinfo = resolve  # type: ignore[method-assign,assignment]
        association = await dial(PeerAddress("GATE", "two-addresses", peer.port))
        await association.release()


# In an association


def response(field: int, message_id: int, status: int = 0, *, data_set: bool = False) -> bytes:
    return command_set(
        [(0x0100, short(field)), (0x0120, short(message_id)), (0x0800, short(1 if data_set else 0x0101)), (0x0900, short(status))]
    )


def message(context_id: int, command: bytes, data: bytes | None = None) -> bytes:
    return pdata(pdv(context_id, COMMAND | LAST, command)) + (pdata(pdv(context_id, DATA | LAST, data)) if data is not None else b"")


ECHOED = message(1, response(0x8030, 1))
IN_AN_ASSOCIATION: dict[str, tuple[Play, type[AssociationEnded], str]] = {
    "silence": (saying(ACCEPTANCE, b""), PeerSilent, "no response for 1 s"),
    "a close": (saying(ACCEPTANCE, b"", then="close"), AssociationLost, "closed the connection without a release"),
    "a reset": (saying(ACCEPTANCE, b"", then="reset"), AssociationLost, "connection"),
    "an abort": (saying(ACCEPTANCE, ABORT), AssociationAborted, "the peer's application aborted"),
    "a release": (saying(ACCEPTANCE, RELEASE_RQ), AssociationReleased, "the peer has released the association"),
    "another association": (saying(ACCEPTANCE, ACCEPTANCE), PeerViolation, "unexpected A_ASSOCIATE_AC"),
    "half a response": (saying(ACCEPTANCE, ECHOED[:20]), PeerSilent, "no data for 1 s inside a message"),
    "a response to something else": (saying(ACCEPTANCE, message(1, response(0x8030, 77))), PeerViolation, "where nothing was asked"),
    "a response of another kind": (saying(ACCEPTANCE, message(1, response(0x8001, 1))), PeerViolation, "where nothing was asked"),
    "a response elsewhere": (saying(ACCEPTANCE, message(3, response(0x8030, 1))), PeerViolation, "where nothing was asked"),
    "a response without a status": (
        saying(ACCEPTANCE, message(1, command_set([(0x0100, short(0x8030)), (0x0120, short(1)), (0x0800, short(0x0101))]))),
        PeerViolation,
        "a response without a status",
    ),
    "a response on no context": (saying(ACCEPTANCE, message(77, response(0x8030, 1))), PeerViolation, "context 77"),
    "a response without end": (saying(ACCEPTANCE, pdata(pdv(1, COMMAND, bytes(40_000))) * 2), PeerViolation, "more than 65536 bytes"),
    "a data set without end": (
        saying(ACCEPTANCE, message(1, response(0x8030, 1, data_set=True), bytes(20_000))),
        PeerViolation,
        "a response of more than 10000 bytes",
    ),
    "garbage": (saying(ACCEPTANCE, b"\x77" * 100), PeerViolation, "unknown PDU type 0x77"),
    "a PDU too long": (saying(ACCEPTANCE, b"\4\0\xff\xff\xff\xff"), PeerViolation, "P_DATA_TF of 4294967295 bytes"),
}


@pytest.mark.parametrize(("play", "error", "sentence"), IN_AN_ASSOCIATION.values(), ids=IN_AN_ASSOCIATION)
async def test_what_waits_for_a_response_ends(play: Play, error: type[AssociationEnded], sentence: str) -> None:
    before = asyncio.all_tasks()
    async with impostor(play) as peer:
        association = await dial(peer, limits_for(error))
        with pytest.raises(error, match=sentence):
            await association.echo()
        assert not association.usable
        assert type(association.end) is error
        with pytest.raises(error):
            await association.echo()
        async with asyncio.timeout(60):
            await association.release()
    assert asyncio.all_tasks() == before


ITERATING = IN_AN_ASSOCIATION | {
    "a data set without end": (
        saying(ACCEPTANCE, message(5, response(0x8020, 1, 0xFF00, data_set=True), bytes(20_000))),
        PeerViolation,
        "a response of more than 10000 bytes",
    )
}


@pytest.mark.parametrize(("play", "error", "sentence"), ITERATING.values(), ids=ITERATING)
async def test_an_iteration_over_responses_ends_the_same_way(play: Play, error: type[AssociationEnded], sentence: str) -> None:
    async with impostor(play) as peer:
        association = await dial(peer, limits_for(error))
        with pytest.raises(error, match=sentence):
            async for _ in association.find(STUDY_ROOT_FIND, b"ab"):
                raise AssertionError("nothing was found")
        async with asyncio.timeout(60):
            await association.abort()


async def test_a_find_that_stalls_after_some_responses() -> None:
    found = message(5, response(0x8020, 1, 0xFF00, data_set=True), b"ab")
    async with impostor(saying(ACCEPTANCE, b"", found * 3)) as peer:
        association = await dial(peer, QUICK)
        count = 0
        with pytest.raises(PeerSilent, match=r"no response for 1 s"):
            async for one in association.find(STUDY_ROOT_FIND, b"ab"):
                count += one.pending
        assert count == 3
        await association.release()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)


async def test_a_peer_that_does_not_read_what_is_stored() -> None:
    async with impostor(saying(ACCEPTANCE)) as peer:
        association = await dial(peer, QUICK)
        async with asyncio.timeout(60):
            with pytest.raises(PeerSilent, match=r"left what we send unread for 1 s"):
                await association.store(SopInstance(CT_STORAGE, "1.2", EXPLICIT, endless()))
        await association.release()


@pytest.mark.parametrize(
    ("interruption", "error"),
    [(ABORT, AssociationAborted), (RELEASE_RP, PeerViolation), (b"", AssociationLost), (RELEASE_RQ, AssociationReleased)],
)
async def test_a_store_that_is_interrupted(interruption: bytes, error: type[AssociationEnded]) -> None:
    closed = False

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            async for chunk in endless():
                yield chunk
        finally:
            closed = True

    async def play(reader: Reader, writer: Writer) -> None:
        await read_pdu(reader)
        writer.write(ACCEPTANCE)
        for _ in range(20):
            await read_pdu(reader)
        writer.write(interruption)
        if interruption:
            await wait_for_close(reader, writer)

    async with impostor(play) as peer:
        association = await dial(peer)
        source = body()
        with pytest.raises(error):
            await association.store(SopInstance(CT_STORAGE, "1.2", EXPLICIT, source))
        await source.aclose()
        assert closed
        await association.release()


async def test_a_store_whose_connection_fails_while_it_writes_goes_no_further() -> None:
    """Its source need not wait for anything, and so nobody else would have a turn: not even who has to tell it."""
    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for given in range(1, 1000):
            if given == 3:
                association._association._connection.abort()  # what a write does that meets a reset
            yield bytes(20_000)

    async with impostor(saying(ACCEPTANCE)) as peer:
        association = await dial(peer)
        with pytest.raises(AssociationLost):
            await association.store(SopInstance(CT_STORAGE, "1.2", EXPLICIT, body()))
    assert given == 3


async def test_a_status_that_comes_before_the_data_set_is_complete() -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_pdu(reader)
        writer.write(ACCEPTANCE)
        await read_pdu(reader)
        writer.write(message(3, response(0x8001, 1, 0xA700)))
        while (await read_pdu(reader))[0] != 5:
            pass
        writer.write(RELEASE_RP)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(10_000)
            await asyncio.sleep(0)

    async with impostor(play) as peer, await dial(peer) as association:
        assert await association.store(SopInstance(CT_STORAGE, "1.2", EXPLICIT, body())) == Status(0xA700)


async def test_a_peer_that_does_not_agree_to_a_release_is_left() -> None:
    async with impostor(saying(ACCEPTANCE, b"", b"")) as peer:
        association = await dial(peer, QUICK)
        async with asyncio.timeout(60):
            await association.release()
        assert isinstance(association.end, PeerSilent)
        assert str(association.end) == "no answer to the release for 1 s"


async def test_a_release_collision() -> None:
    seen: list[int] = []

    async def play(reader: Reader, writer: Writer) -> None:
        await read_pdu(reader)
        writer.write(ACCEPTANCE)
        seen.append((await read_pdu(reader))[0])
        writer.write(RELEASE_RQ)
        seen.append((await read_pdu(reader))[0])
        writer.write(RELEASE_RP)
        assert await reader.read() == b""

    async with impostor(play) as peer:
        association = await dial(peer)
        async with asyncio.timeout(60):
            await association.release()
        assert isinstance(association.end, AssociationReleased)
        await until(lambda: seen == [5, 6])


async def test_a_peer_that_releases_of_itself_is_answered() -> None:
    released = asyncio.Event()

    async def play(reader: Reader, writer: Writer) -> None:
        await read_pdu(reader)
        writer.write(ACCEPTANCE + RELEASE_RQ)
        assert (await read_pdu(reader))[0] == 6
        released.set()

    async with impostor(play) as peer:
        association = await dial(peer)
        async with asyncio.timeout(60):
            await released.wait()
            await association.release()
        assert not association.usable


async def test_a_request_of_the_peer_that_nothing_serves() -> None:
    async def play(reader: Reader, writer: Writer) -> None:
        await read_pdu(reader)
        find = command_set([(0x0002, STUDY_ROOT_FIND.encode() + b"\0"), (0x0100, short(0x20)), (0x0110, short(9)), (0x0800, short(0x0101))])
        writer.write(ACCEPTANCE + message(5, find))
        _, body = await read_pdu(reader)
        elements = elements_of(body[6:])
        answers.append((elements[0x0100], elements[0x0120], elements[0x0900]))
        await read_pdu(reader)
        writer.write(RELEASE_RP)

    answers: list[tuple[bytes, bytes, bytes]] = []
    async with impostor(play) as peer:
        association = await dial(peer)
        await until(lambda: answers)
        await association.release()
    assert answers == [(short(0x8020), short(9), short(0x0211))]


async def test_no_context_was_accepted() -> None:
    async with (
        impostor(saying(associate_ac([(1, 3, ""), (3, 4, ""), (5, 0, "1.2.3")]), RELEASE_RP)) as peer,
        await dial(peer) as association,
    ):
        with pytest.raises(ContextNotAccepted, match="'GATE' has not accepted Verification"):
            await association.echo()
        with pytest.raises(ContextNotAccepted, match="'GATE' has not accepted Study Root"):  # in a syntax that was not proposed
            await anext(association.find(STUDY_ROOT_FIND, b""))


async def test_an_idle_association_ends_as_well() -> None:
    async with impostor(saying(ACCEPTANCE, b"")) as peer:
        association = await dial(peer, Limits(idle_timeout=0.2))
        await until(lambda: not association.usable)
        assert str(association.end) == "idle for 0.2 s"
        await association.release()
    await settled()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_call_that_is_cancelled_just_when_it_has_come_about_ends_as_cancelled(
    new_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = RequestedAssociation.start

    async def call(port: int) -> None:
        calling = asyncio.create_task(dial(PeerAddress("GATE", "127.0.0.1", port)))

        def started(association: RequestedAssociation) -> None:
            start(association)
            calling.cancel()

        monkeypatch.setattr(RequestedAssociation, "start", started)
        with pytest.raises(asyncio.CancelledError):
            await calling

    with serving(Keeper()) as server, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(call(server.port))

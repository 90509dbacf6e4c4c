"""Time, memory and the end of a server: silent peers, slow handlers, drain and abort."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, suppress
from typing import cast

import pytest
import uvloop

from dicom_adapter.dimse import Handlers, Peer, QueryRequest, Response, Status, StoreRequest
from dicom_adapter.dimse.association import Connection, reset
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from dicom_adapter.dimse.transport import FIRST_READ_BYTES
from tests.adapter.dimse.serving import Keeper, Serving, eventually, serving
from tests.support.rawscu import (
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    IMPLICIT,
    LAST,
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
    pdv,
    short,
    store_rq,
    uid,
)

REQUEST = associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT), context(3, VERIFICATION, IMPLICIT)])


def connected(server: Serving) -> RawScu:
    return RawScu("127.0.0.1", server.port).associated(REQUEST)


def pause(seconds: float) -> None:
    """Let time pass where time is what is tested."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until)


def aborted(scu: RawScu) -> tuple[int, int]:
    with pytest.raises(AssociationAborted) as caught:
        scu.expect(4)
    return caught.value.pair


def test_a_peer_that_stalls_inside_a_data_set_is_aborted() -> None:
    with serving(Keeper(), dimse_timeout=0.3) as server, connected(server) as scu:
        began = time.monotonic()
        scu.send(pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "1.2"))) + pdata(pdv(1, DATA, b"abcd")))
        assert aborted(scu) == (2, 0)
        assert time.monotonic() - began > 0.25
        scu.close()
        summary = server.recorder.end()
        assert summary.outcome == "aborted"
        assert summary.reason == "no data for 0.3 s inside C-STORE; nothing of it was stored (spec.limits.dimseTimeoutSeconds)"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_came_while_the_loop_was_busy_counts(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with serving(Keeper(), dimse_timeout=1.5, new_loop=new_loop) as server, connected(server) as scu, connected(server) as other:
        scu.send(pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "1.2"))) + pdata(pdv(1, DATA, b"abcd")))
        eventually(lambda: server.recorder.bytes == len(scu.sent) + len(other.sent))
        busy, free = threading.Event(), threading.Event()

        def work(count: int) -> None:
            busy.set()
            free.wait(60)

        server.recorder.bytes_received = work  # type: ignore[method-assign]
        other.send_message(3, echo_rq())
        assert busy.wait(60)
        pause(2)
        scu.send(pdata(pdv(1, DATA | LAST, b"efgh")))
        free.set()
        assert scu.response().status == 0


def heard_in_the_course_of_an_echo(server: Serving, scu: RawScu) -> int:
    """How much the server reads between two of its own doings: the echo is sent, the echo is answered."""
    began, ended, port = list[int](), list[int](), scu.socket.getsockname()[1]

    def send() -> None:
        began.append(server.recorder.bytes)
        scu.send_message(3, echo_rq())

    def operation_ended(service: str, peer: Peer, status: Status, seconds: float, sop_instance_uid: str | None) -> None:
        if peer.port == port:
            ended.append(server.recorder.bytes)

    server.recorder.operation_ended = operation_ended  # type: ignore[method-assign]
    server.loop.call_soon_threadsafe(send)
    assert scu.response().status == 0
    return eventually(lambda: ended)[0] - began[0]


def test_a_flood_from_some_peers_leaves_the_others_their_turns() -> None:
    with serving(Keeper(), new_loop=uvloop.new_event_loop) as server, ExitStack() as stack:
        flooding = [stack.enter_context(connected(server)) for _ in range(8)]
        other = stack.enter_context(connected(server))
        for scu in flooding:
            scu.socket.setblocking(False)
            with suppress(BlockingIOError):  # more than a second's work waits in the kernel
                while True:
                    scu.socket.send(pdata(pdv(3, COMMAND | LAST, echo_rq())) * 1000)
        heard = sum(heard_in_the_course_of_an_echo(server, other) for _ in range(5))
        print(f"{heard} bytes of the flood were heard in the course of five echoes")
        assert heard < 5 * len(flooding) * 4 * FIRST_READ_BYTES, "libuv by itself reads 32 times in a round"


@pytest.mark.parametrize("begun", [b"\x04", pdata(pdv(1, COMMAND, b"ab")), pdata(pdv(1, COMMAND, b"ab"))[:-1]])
def test_a_peer_that_stalls_inside_anything_else_is_aborted(begun: bytes) -> None:
    with serving(Keeper(), dimse_timeout=0.2) as server, connected(server) as scu:
        scu.send(begun)
        assert aborted(scu) == (2, 0)
        scu.close()
        assert server.recorder.end().reason == "no data for 0.2 s inside a message (spec.limits.dimseTimeoutSeconds)"


def test_an_idle_association_is_aborted_and_traffic_keeps_it_alive() -> None:
    with serving(Keeper(), idle_timeout=2.0, dimse_timeout=0.5) as server, connected(server) as scu:
        for _ in range(12):
            pause(0.2)
            scu.send_message(3, echo_rq())
            assert scu.response().status == 0
        assert aborted(scu) == (2, 0)
        scu.close()
        assert server.recorder.end().reason == "idle for 2 s (spec.limits.idleTimeoutSeconds)"


def test_a_handler_may_take_longer_than_every_timeout() -> None:
    async def store(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        await asyncio.sleep(3)
        return Status(0)

    with serving(store, idle_timeout=1.5, dimse_timeout=1.5, association_timeout=1.5) as server, connected(server) as scu:
        scu.send_message(1, store_rq(CT_STORAGE, "1.2"), b"abcd")
        assert scu.response().status == 0


def test_connections_that_ask_for_nothing_end_with_the_association_timer() -> None:
    with serving(Keeper(), association_timeout=0.3) as server:
        began = time.monotonic()
        silent = RawScu("127.0.0.1", server.port)
        slow = RawScu("127.0.0.1", server.port)
        slow.send(REQUEST[:50])
        for scu in (silent, slow):
            assert scu.closed_silently()
            scu.close()
        assert time.monotonic() - began > 0.25
        eventually(lambda: server.recorder.foreign == ["127.0.0.1"] * 2)


def test_a_peer_that_does_not_close_after_its_release_is_closed() -> None:
    with serving(Keeper(), association_timeout=1.5) as server, connected(server) as scu:
        scu.release()
        with pytest.raises(ConnectionClosed):
            scu.receive()
        assert server.recorder.end().outcome == "released"


def test_a_peer_that_reads_nothing_is_dropped() -> None:
    with serving(Keeper(), dimse_timeout=2.0) as server:
        scu = RawScu("127.0.0.1", server.port, window=2048)
        scu.associate(REQUEST)
        scu.socket.settimeout(0.2)
        echoes = b"".join(pdata(pdv(3, COMMAND | LAST, echo_rq(number))) for number in range(2000))
        sent = 0
        while not server.recorder.ended:
            try:
                sent += scu.socket.send(echoes[sent % len(echoes) :])
            except TimeoutError:
                pass
            except OSError:
                break
        summary = server.recorder.end()
        assert summary.outcome == "aborted"
        assert summary.reason == "it left our answers unread for 2 s (spec.limits.dimseTimeoutSeconds)"
        scu.close()


def test_a_peer_that_has_closed_and_reads_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had coming is still to be sent: a handler that has more for it waits for that no longer than for any reader."""
    monkeypatch.setattr("dicom_adapter.dimse.transport.WRITE_BUFFER_BYTES", 1 << 30)  # it is little enough to be taken
    closed = asyncio.Event()
    begun: list[bool] = []
    ended: list[bool] = []

    async def find(request: QueryRequest) -> AsyncGenerator[Response, None]:
        try:
            yield Response(Status(0xFF00), bytes(2_000_000))
            begun.append(True)
            await closed.wait()
            for _ in range(1000):
                yield Response(Status(0xFF00), b"ab")
        finally:
            ended.append(True)

    with serving(handlers=Handlers(find=find), dimse_timeout=0.5) as server, RawScu("127.0.0.1", server.port, window=2048) as scu:
        scu.associate(associate_rq("GATE", "CT1", [context(1, STUDY_ROOT_FIND, EXPLICIT)]))
        elements = [(0x0002, uid(STUDY_ROOT_FIND)), (0x0100, short(0x20)), (0x0110, short(1)), (0x0700, short(0)), (0x0800, short(1))]
        scu.send_message(1, command_set(elements), b"ab")
        eventually(lambda: begun)
        (association,) = server.server._registry.connections
        scu.socket.shutdown(socket.SHUT_WR)
        eventually(association._connection.is_closing)
        server.loop.call_soon_threadsafe(closed.set)
        summary = server.recorder.end()
        assert (summary.outcome, summary.operations) == ("aborted", {})
        assert summary.reason == "it left our answers unread for 0.5 s (spec.limits.dimseTimeoutSeconds)"
        assert ended


def test_what_is_reset_leaves_nothing_in_the_kernel_and_its_peer_notices() -> None:
    class Transport:
        def __init__(self, sock: socket.socket) -> None:
            self.get_extra_info = {"socket": sock}.get
            self.abort = sock.close

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        ours, _ = listener.accept()
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(100_000))
        reset(cast(Connection, Transport(ours)))
        with pytest.raises(ConnectionResetError):
            while peer.recv(1 << 20):
                pass


def test_a_slow_handler_holds_its_peer_back_and_nothing_is_lost() -> None:
    gate: list[asyncio.Event] = []
    size, total = 40_000, 40_000_000

    async def store(request: StoreRequest) -> Status:
        gate.append(asyncio.Event())
        await gate[0].wait()
        received = 0
        async for chunk in request.body:
            received += len(chunk)
        return Status(0 if received == total else 0xC000)

    with serving(store, receive_window_bytes=1 << 20, dimse_timeout=1.5) as server, connected(server) as scu:
        pdus = b"".join(pdata(pdv(1, DATA | (LAST if end == total else 0), bytes(size))) for end in range(size, total + 1, size))
        sender = threading.Thread(target=scu.send_message, args=(1, store_rq(CT_STORAGE, "1.2")))
        sender.start()
        sender.join()
        eventually(lambda: gate)
        sender = threading.Thread(target=scu.send, args=(pdus,))
        sender.start()

        # Held back longer than the DIMSE timeout, which is not the peer's fault: it is not aborted.
        (association,) = server.server._registry.connections
        eventually(lambda: association.held_back)
        held = server.recorder.bytes
        pause(2.5)
        assert held == server.recorder.bytes < (1 << 20) + (1 << 19)
        server.loop.call_soon_threadsafe(lambda: gate[0].set())
        sender.join()
        assert scu.response().status == 0


def test_a_drain_lets_operations_end_and_takes_no_new_associations() -> None:
    gate: list[asyncio.Event] = []

    async def store(request: StoreRequest) -> Status:
        gate.append(asyncio.Event())
        async for _ in request.body:
            pass
        await gate[-1].wait()
        return Status(0)

    with serving(store) as server, connected(server) as busy, connected(server) as idle, RawScu("127.0.0.1", server.port) as late:
        busy.send_message(1, store_rq(CT_STORAGE, "1.2"), b"abcd")
        eventually(lambda: gate)
        began = server.loop.time()
        draining = server.start(server.server.drain(accept_for=1.5, deadline=began + 120))
        with connected(server) as welcome:
            welcome.release()
        eventually(lambda: server.loop.time() > began + 1.5 and _refuses(server.port))
        with pytest.raises(AssociationRejected) as caught:
            late.associate(REQUEST)
        assert caught.value.triple == (2, 3, 1)
        assert aborted(idle) == (0, 0)
        assert server.loop.time() - began > 2
        idle.close()
        eventually(lambda: "idle while shutting down" in [summary.reason for summary in server.recorder.ended])
        # the busy one is not touched, not even past the two seconds
        server.loop.call_soon_threadsafe(lambda: gate[0].set())
        assert busy.response().status == 0
        busy.send_message(3, echo_rq())
        assert busy.response().status == 0
        busy.release()
        busy.close()
        late.close()
        assert draining.result(60) is None  # long before its deadline


def _refuses(port: int) -> bool:
    try:
        RawScu("127.0.0.1", port).close()
    except OSError:
        return True
    return False


def test_after_the_deadline_of_a_drain_new_images_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_adapter.dimse.deadlines.DRAINED_IDLE_SECONDS", 600.0)
    monkeypatch.setattr("dicom_adapter.dimse.server.LAST_ANSWERS_SECONDS", 600.0)
    gate: list[asyncio.Event] = []

    async def store(request: StoreRequest) -> Status:
        gate.append(asyncio.Event())
        async for _ in request.body:
            pass
        await gate[-1].wait()
        return Status(0)

    with serving(store) as server, connected(server) as scu:
        scu.send_message(1, store_rq(CT_STORAGE, "1.2"), b"abcd")
        eventually(lambda: gate)
        draining = server.start(server.server.drain(accept_for=0, deadline=server.loop.time() + 0.1))
        eventually(lambda: server.server._registry.refusing)
        server.loop.call_soon_threadsafe(lambda: gate[0].set())
        assert scu.response().status == 0
        scu.send_message(1, store_rq(CT_STORAGE, "1.3", 2), b"abcd")
        response = scu.response()
        assert (response.status, response.comment) == (0xA700, "Shutting down, send again")
        assert aborted(scu) == (0, 0)  # at once, not because it idles while the server drains
        scu.close()
        draining.result(60)
        assert server.recorder.end().operations == {("C-STORE", 0): 1, ("C-STORE", 0xA700): 1}


def test_a_drain_ends_though_a_handler_does_not() -> None:
    async def store(request: StoreRequest) -> Status:
        await asyncio.Event().wait()
        return Status(0)

    with serving(store) as server, connected(server) as scu:
        scu.send_message(1, store_rq(CT_STORAGE, "1.2"), b"abcd")
        eventually(lambda: server.recorder.bytes == len(scu.sent))
        draining = server.start(server.server.drain(accept_for=0, deadline=server.loop.time()))
        assert aborted(scu) == (0, 0)
        draining.result(60)


def test_an_abort_during_a_drain_ends_both_at_once() -> None:
    with serving(Keeper()) as server, connected(server) as scu, RawScu("127.0.0.1", server.port) as silent:
        draining = server.start(server.server.drain(accept_for=60, deadline=server.loop.time() + 60))
        server.abort()
        assert aborted(scu) == (0, 0)
        assert silent.closed_silently()
        draining.result(60)
        assert server.recorder.end().outcome == "aborted"
        assert server.recorder.end().reason == "shutting down"
        assert not server.recorder.foreign


def test_the_port_can_be_taken_only_once() -> None:
    with serving(Keeper()) as server, pytest.raises(OSError, match="Address already in use"), serving(Keeper()) as other:
        other.call(other.server.start("127.0.0.1", server.port))

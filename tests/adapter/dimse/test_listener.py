"""Who waits at the door: everybody is let in at once, and nobody is turned away for want of descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

import pytest
import uvloop

from dicom_adapter.dimse import listener
from dicom_adapter.dimse.listener import Listener
from tests.adapter.dimse.nodes import node


class Door:
    """A listener on loopback, and what became of those who came."""

    def __init__(self) -> None:
        self.protocols: asyncio.Queue[asyncio.Protocol] = asyncio.Queue()
        self.listener = Listener(self._protocol)

    def _protocol(self) -> asyncio.Protocol:
        protocol = asyncio.Protocol()
        self.protocols.put_nowait(protocol)
        return protocol

    async def inside(self, count: int) -> None:
        for _ in range(count):
            await self.protocols.get()


@pytest.fixture
async def door():
    found = Door()
    await found.listener.open("127.0.0.1", 0)
    yield found
    found.listener.abort()


def knock(door: Door, count: int) -> list[socket.socket]:
    """Connections that the kernel has taken and nobody has accepted."""
    return [socket.create_connection(("127.0.0.1", door.listener.port), timeout=5) for _ in range(count)]


async def test_all_who_wait_are_let_in_in_one_round(door: Door):
    peers = knock(door, 200)
    (listening,) = door.listener._sockets
    door.listener.accept(listening)
    with pytest.raises(BlockingIOError):
        listening.accept()
    await door.inside(200)
    for peer in peers:
        peer.close()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What accept(2) fails with, one after the other, before it works again."""
    accept, errors = socket.socket.accept, list[int]()

    def failing(self: socket.socket):
        if errors:
            number = errors.pop(0)
            raise OSError(number, os.strerror(number))
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    return errors


async def test_without_descriptors_they_wait_until_there_are_some(door: Door, failures: list[int], monkeypatch, caplog):
    monkeypatch.setattr(listener, "PAUSE_SECONDS", 0.0)
    failures += [errno.EMFILE, errno.ENFILE, errno.EMFILE]
    (peer,) = knock(door, 1)
    await door.inside(1)
    assert not failures
    assert [record.getMessage() for record in caplog.records] == ["new connections wait until there is room for them: Too many open files"]
    peer.close()


async def test_a_peer_that_has_left_again_keeps_nobody_out(door: Door, failures: list[int]):
    failures.append(errno.ECONNABORTED)
    (peer,) = knock(door, 1)
    (listening,) = door.listener._sockets
    door.listener.accept(listening)
    await door.inside(1)
    peer.close()


async def test_who_is_on_the_way_in_is_left_alone_when_the_server_aborts(door: Door):
    (peer,) = knock(door, 1)
    (listening,) = door.listener._sockets
    door.listener.accept(listening)
    door.listener.abort()
    peer.setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
    assert door.protocols.empty()
    assert not door.listener.listening
    peer.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("turns", range(5))
def test_who_is_on_the_way_in_when_the_server_aborts_is_closed_and_is_no_stranger(
    new_loop: Callable[[], asyncio.AbstractEventLoop], turns: int
):
    async def main() -> None:
        async with node() as gate:
            peer = socket.create_connection(("127.0.0.1", gate.server.port), timeout=5)
            peer.setblocking(False)
            door = gate.server._listener
            assert door is not None
            door.accept(door._sockets[0])
            for _ in range(turns):  # its task begins, its transport is there, its protocol hears of it
                await asyncio.sleep(0)
            gate.server.abort()
            async with asyncio.timeout(60):
                await gate.server.wait_closed()
                assert not gate.server._registry.connections
                assert not door.opening
                assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
            peer.close()
        assert not gate.recorder.foreign

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_a_machine_without_ipv6_listens_on_ipv4_alone(monkeypatch: pytest.MonkeyPatch):
    made = socket.socket.bind

    def bind(self: socket.socket, address) -> None:
        if self.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        made(self, address)

    monkeypatch.setattr(socket.socket, "bind", bind)
    door = Door()
    await door.listener.open("", 0)
    assert [listening.family for listening in door.listener._sockets] == [socket.AF_INET]
    door.listener.close()


async def test_an_address_that_is_not_ours_is_an_error():
    with pytest.raises(OSError, match="Cannot assign requested address"):
        await Door().listener.open("192.0.2.1", 0)

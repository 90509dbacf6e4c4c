"""Peers that hold on: idle associations, peers over the limit, peers that send a byte a second, peers that never read."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.soak.neighbour import REQUEST, Neighbour, serve_once
from tests.support.rawscu import (
    COMMAND,
    CT_STORAGE,
    DATA,
    LAST,
    AssociationRejected,
    RawScu,
    echo_rq,
    pdata,
    pdv,
    store_rq,
)
from tests.support.vitals import MEGABYTE, Sink

IDLE = 2000
LIMITS = {"max_associations": 4000, "max_associations_per_peer": 4000}


@contextmanager
def connections(port: int, count: int) -> Iterator[list[RawScu]]:
    """So many connections, closed at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(RawScu("127.0.0.1", port, timeout=60)) for _ in range(count)]


def associate_all(scus: list[RawScu]) -> None:
    for scu in scus:
        scu.associate(REQUEST)


def echo_all(scus: list[RawScu]) -> None:
    for scu in scus:
        scu.send_message(3, echo_rq(7))
        assert scu.response().status == 0


def percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {ordered[len(ordered) // 2] * 1000:.1f} ms, p99 {ordered[len(ordered) * 99 // 100] * 1000:.1f} ms"


async def test_two_thousand_idle_associations_cost_less_than_64_megabytes(long: bool) -> None:
    async with Sink(**LIMITS) as server:
        await asyncio.to_thread(serve_once, server.port, 1, os.urandom(1000))
        empty = await server.vitals_when_quiet()
        with connections(server.port, IDLE) as held:
            await asyncio.to_thread(associate_all, held)
            async with Neighbour(server.port, pause=0.1) as neighbour:
                await asyncio.sleep(60 if long else 1)
            full = await server.vitals_when(lambda now: now.alive["AcceptedAssociation"] == IDLE)  # the neighbour's last has ended
            print(f"{IDLE} idle: {(full.resident - empty.resident) / MEGABYTE:.1f} MB; {neighbour}")
            assert full.resident - empty.resident < 64 * MEGABYTE
        after = await server.vitals_when_quiet(empty)
        assert after.descriptors == empty.descriptors
        assert after.threads == empty.threads
        assert after.alive == empty.alive


def refuse_all(port: int, count: int) -> list[float]:
    """Ask for so many associations, each of which must be rejected as transient, local limit exceeded; return how long each took."""
    seconds = []
    for _ in range(count):
        began = time.monotonic()
        with RawScu("127.0.0.1", port, timeout=60) as scu:
            with pytest.raises(AssociationRejected) as caught:
                scu.associate(REQUEST)
            assert caught.value.triple == (2, 3, 2)
        seconds.append(time.monotonic() - began)
    return seconds


async def test_over_the_limit_everyone_is_refused_at_once_and_those_inside_are_served(long: bool) -> None:
    async with Sink(max_associations=100, max_associations_per_peer=100) as server:
        with connections(server.port, 100) as held:
            await asyncio.to_thread(associate_all, held)
            full = await server.vitals()
            seconds = await asyncio.to_thread(refuse_all, server.port, 5000 if long else 300)
            print(f"{len(seconds)} over a limit of 100: refused in {percentiles(seconds)}")
            await asyncio.to_thread(echo_all, held)
            held[0].close()
            now = await server.vitals_when(lambda now: now.alive["SocketProtocol"] == now.alive["AcceptedAssociation"] == 99)
            assert now.resident - full.resident < 4 * MEGABYTE
            await asyncio.to_thread(serve_once, server.port, 1, os.urandom(1000))


@dataclass
class Slow:
    """A peer that sends what it has a byte at a time, or that sends all it can and reads nothing; `ended` is when it was cut off."""

    scu: RawScu
    data: bytes
    greedy: bool = False
    began: float = field(default_factory=time.monotonic)
    sent: int = 0
    ended: float | None = None

    def step(self) -> None:
        """Send more."""
        try:
            if self.greedy:
                with suppress(BlockingIOError):
                    while True:
                        self.sent += self.scu.socket.send(self.data[self.sent % len(self.data) :])
            else:
                self.scu.socket.send(self.data[self.sent % len(self.data) :][:1])
                self.sent += 1
        except BlockingIOError:
            pass
        except OSError:
            self.ended = time.monotonic() - self.began


ECHOES = b"".join(pdata(pdv(3, COMMAND | LAST, echo_rq(number))) for number in range(2000))


def loris_before_the_association(scu: RawScu) -> Slow:
    return Slow(scu, REQUEST[:-1])


def loris_inside_a_data_set(scu: RawScu) -> Slow:
    scu.associate(REQUEST)
    scu.send(pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "2.25.1"))))
    scu.send(pdata(pdv(1, DATA, bytes(60_000)))[:100])
    return Slow(scu, bytes(50_000))


def hog(scu: RawScu) -> Slow:
    scu.associate(REQUEST)
    return Slow(scu, ECHOES, greedy=True)


def gather(port: int, stack: ExitStack, count: int, kind: Callable[[RawScu], Slow]) -> list[Slow]:
    """So many peers of a kind, closed with the stack."""
    peers = []
    for _ in range(count):
        scu = stack.enter_context(RawScu("127.0.0.1", port, timeout=60))
        peers.append(kind(scu))
        scu.socket.setblocking(False)
    return peers


def hold(peers: list[Slow], mortal: list[Slow], pause: float) -> None:
    """Let them do their thing until the mortal ones have been cut off, or should have been long ago."""
    until = time.monotonic() + 240
    while any(peer.ended is None for peer in mortal) and time.monotonic() < until:
        for peer in peers:
            if peer.ended is None:
                peer.step()
        time.sleep(pause)


async def test_slow_and_never_reading_peers_end_with_their_timers_and_hurt_nobody(long: bool) -> None:
    lorises, hogs = (256, 64) if long else (64, 8)
    limits = {} if long else {"association_timeout": 5, "dimse_timeout": 10}
    async with Sink(**LIMITS, **limits) as server:
        await asyncio.to_thread(serve_once, server.port, 1, os.urandom(40_000))
        empty = await server.vitals_when_quiet()
        with ExitStack() as stack:
            storing = await asyncio.to_thread(gather, server.port, stack, lorises, loris_inside_a_data_set)
            never_reading = await asyncio.to_thread(gather, server.port, stack, hogs, hog)
            requesting = await asyncio.to_thread(gather, server.port, stack, lorises, loris_before_the_association)
            async with Neighbour(server.port, pause=0.2) as neighbour:
                mortal = requesting + never_reading
                holding = asyncio.create_task(asyncio.to_thread(hold, storing + mortal, mortal, 1.0 if long else 0.2))
                await asyncio.sleep(20 if long else 1)
                full = await server.vitals()
                await holding
            for name, group in (("A-ASSOCIATE-RQ a byte at a time", requesting), ("never reading", never_reading)):
                ends = [peer.ended for peer in group if peer.ended is not None]
                assert len(ends) == len(group), name
                print(f"{len(group)} {name}: cut off after {min(ends):.1f} to {max(ends):.1f} s")
            assert all(peer.ended is None for peer in storing), "who sends, however slowly, is not cut off"
            cost = full.resident - empty.resident
            print(f"{2 * lorises} slow and {hogs} that never read: {cost / MEGABYTE:.1f} MB; {neighbour}")
            assert cost < 64 * MEGABYTE
        after = await server.vitals_when_quiet(empty)
        assert (after.descriptors, after.threads, after.alive) == (empty.descriptors, empty.threads, empty.alive)

"""Peers that hold on: idle associations, peers over the limit, peers that send a byte a second, peers that never read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.soak.neighbour import REQUEST, Neighbour, serve_once
from tests.support.rawscu import (
    RawScu,
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


async def test_two_thousand_idle_associations_cost_less_than_64_megabytes(long: bool) -> None:
    async with Sink(**LIMITS) as server:
        await asyncio.to_thread(serve_once, server.port, 1, os.urandom(1000))
        empty = await server.vitals_when_quiet()
        with connections(server.port, IDLE) as held:
            await asyncio.to_thread(associate_all, held)
            async with Neighbour(server.port, pause=0.1) as neighbour:
                await asyncio.sleep(60 if long else 1)
            full = await server.vitals()
            assert full.alive["AcceptedAssociation"] == IDLE
            print(f"{IDLE} idle: {(full.resident - empty.resident) / MEGABYTE:.1f} MB; {neighbour}")
            assert full.resident - empty.resident < 64 * MEGABYTE
        after = await server.vitals_when_quiet()
        assert after.descriptors == empty.descriptors
        assert after.threads == empty.threads
        assert after.alive == empty.alive

"""Proxies and servers that end connections when they are used again cost no image."""

from __future__ import annotations

import asyncio
import random

from tests.support.delivering import delivering
from tests.support.dicom import generated
from tests.support.relay import Relay
from tests.support.store import FaultStore


async def _three_thousand(relay: Relay, store: FaultStore, *, lanes: int) -> None:
    images = [generated(200) for _ in range(3000)]
    async with delivering(f"http://127.0.0.1:{relay.port}/dicom-web") as sender:

        async def send(share: int) -> list[int]:
            return [(await sender.send(one)).verdict.status for one in images[share::lanes]]

        statuses = await asyncio.gather(*(send(share) for share in range(lanes)))
        assert statuses == [[0] * (3000 // lanes)] * lanes
        assert sender.observer.retries == []  # nothing of it was a failed try
    assert store.stored.keys() == {one.sop_instance_uid for one in images}


async def test_a_proxy_that_ends_each_connection_after_a_thousand_requests_costs_none_of_3000_images() -> None:
    async with FaultStore(keep=False) as store, Relay(store.port, ends=lambda number: number > 1000) as relay:
        await _three_thousand(relay, store, lanes=2)
        assert relay.ended >= 1


async def test_a_server_that_closes_connections_at_the_moment_of_their_reuse_costs_none_of_3000_images() -> None:
    chance = random.Random(1)
    async with FaultStore(keep=False) as store, Relay(store.port, ends=lambda number: number > 1 and chance.random() < 0.1) as relay:
        await _three_thousand(relay, store, lanes=4)
        assert relay.ended > 200

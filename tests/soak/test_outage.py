"""A store that vanishes under four senders: every image that was acknowledged is stored, and stored whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial

from tests.support.adapter import Adapter
from tests.support.dicom import Instance, generated
from tests.support.rawscu import send_instances
from tests.support.relay import Relay
from tests.support.store import FaultStore

SENDERS, IMAGES = 4, 200


async def send(adapter: Adapter, images: Sequence[Instance]) -> tuple[set[str], int]:
    """Sends them over four associations at the same time: who was acknowledged, how many were refused."""
    wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in images]
    shares = [asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", f"CT{n}", wire[n::SENDERS]) for n in range(SENDERS)]
    acknowledged, refused = set(), 0
    for n, outcomes in enumerate(await asyncio.gather(*shares)):
        for one, (status, comment) in zip(images[n::SENDERS], outcomes, strict=True):
            if status == 0:
                acknowledged.add(one.sop_instance_uid)
            else:
                assert status == 0xA700, comment
                refused += 1
    return acknowledged, refused


def _reached(store: FaultStore, posts: int, sending: asyncio.Task[tuple[set[str], int]]) -> bool:
    return sending.done() or len(store.posts) >= posts


async def test_every_acknowledged_image_is_stored(long: bool) -> None:
    chance = random.Random()
    rounds, cuts, outage = (20, 1, 60.0) if long else (1, 3, 3.0)
    async with FaultStore() as store, Relay(store.port) as relay, Adapter(f"http://127.0.0.1:{relay.port}/dicom-web") as adapter:
        for number in range(rounds):
            images = {one.sop_instance_uid: one for one in (generated(20_000) for _ in range(SENDERS * IMAGES))}
            store.posts.clear()
            sending = asyncio.create_task(send(adapter, list(images.values())))
            for cut in sorted(chance.randrange(10, SENDERS * IMAGES * 3 // 4) for _ in range(cuts)):
                await store.until(partial(_reached, store, cut, sending), 120)
                await asyncio.sleep(chance.uniform(0, 0.05))  # anywhere in a request
                await relay.down()
                await asyncio.sleep(outage)
                await relay.up()
            acknowledged, refused = await sending
            stored = store.stored
            print(
                f"round {number}: {len(acknowledged)} acknowledged, {refused} refused, {len(stored)} stored in {len(store.posts)} requests"
            )
            assert len(acknowledged) + refused == SENDERS * IMAGES
            assert acknowledged <= stored.keys()
            for uid, post in stored.items():
                assert post.part.endswith(images[uid].data_set), uid
            await adapter.store_becomes("Reachable")

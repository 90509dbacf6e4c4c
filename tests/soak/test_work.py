"""Ten hours of a department's work in minutes: associations without end before a store that fails now and then."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random

from tests.soak.neighbour import REQUEST
from tests.soak.test_hostile import proven
from tests.support.rawscu import CT_STORAGE, RawScu, echo_rq, store_rq
from tests.support.sink import instance_uid
from tests.support.store import FaultStore, Post, Reply
from tests.support.vitals import MEGABYTE, Vitals, WatchedAdapter

SENDERS = 4
INSTANCES = 10
FAULTS = (Reply(status=503), Reply(status=500), Reply(instead="reset"), Reply(instead="garbage"))


def unreliable(rng: Random) -> Callable[[Post], Reply | None]:
    """One request of twenty ends badly."""

    def reply(post: Post) -> Reply | None:
        verdict = proven(post)
        post.start, post.headers = b"", {}
        return rng.choice(FAULTS) if rng.random() < 0.05 else verdict

    return reply


def work(port: int, numbers: list[int], seed: int) -> list[str]:
    """An association with an echo and some images; what is refused is sent again. Returns what was acknowledged."""
    rng = Random(seed)
    acknowledged = []
    with RawScu("127.0.0.1", port, timeout=60).associated(REQUEST) as scu:
        scu.send_message(3, echo_rq(1))
        assert scu.response().status == 0
        for number in numbers:
            data = os.urandom(rng.choice((2_000, 20_000, 150_000)))
            uid = instance_uid(number, data)
            for attempt in count(2):
                scu.send_message(1, store_rq(CT_STORAGE, uid, attempt), data)
                if (status := scu.response().status) == 0:
                    break
                assert status == 0xA700
            acknowledged.append(uid)
        scu.release()
    return acknowledged


def report(done: int, seconds: float, now: Vitals) -> None:
    print(f"{done:,} associations, {done * INSTANCES:,} images in {seconds:.0f} s: {now}")


async def test_what_is_acknowledged_is_stored_and_nothing_grows(long: bool) -> None:
    associations = 6000 if long else 60
    async with FaultStore(reply=unreliable(Random(13))) as store, WatchedAdapter(store.url) as adapter:
        loop, began = asyncio.get_running_loop(), time.monotonic()
        acknowledged: list[str] = []
        sizes: list[int] = []
        first = Vitals(0, 0, 0, 0, {})
        batch = associations // 10
        with ThreadPoolExecutor(SENDERS) as pool:
            for start in range(0, associations, batch):
                jobs = (
                    loop.run_in_executor(pool, work, adapter.port, list(range(n * INSTANCES, (n + 1) * INSTANCES)), n)
                    for n in range(start, start + batch)
                )
                for uids in await asyncio.gather(*jobs):
                    acknowledged += uids
                now = await adapter.vitals_when_quiet(first if start else None)
                report(start + batch, time.monotonic() - began, now)
                sizes.append(now.resident)
                first = now if start == 0 else first
        stored = store.stored
        assert len(acknowledged) == len(set(acknowledged)) == associations * INSTANCES
        assert [uid for uid in acknowledged if uid not in stored] == []
        faults = sum(post.answered != 200 for post in store.posts)
        grown = (sizes[-1] - sizes[1]) / MEGABYTE
        print(f"{len(store.posts):,} requests, {faults} with a fault; {grown:+.1f} MB over the last nine tenths")
        assert faults
        assert grown < 8
        assert now.descriptors <= first.descriptors + SENDERS
        assert not adapter.complaints()

"""Hostile traffic from eight sides, and a good neighbour who must not notice: the whole adapter, looked at from outside."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from typing import Any

from tests.soak.neighbour import Neighbour, serve_once
from tests.support.dicom import split
from tests.support.store import FaultStore, Post, Reply
from tests.support.vitals import MEGABYTE, ROOT, WatchedAdapter

LIMITS = {"maxAssociations": 1000, "maxAssociationsPerPeer": 1000}
WARM_UP_SECONDS = 0.5
KEPT = 9
"""Connections to the store that may be open: one for each worker and the neighbour."""
RESOLVERS = 6
"""Threads of asyncio's executor, which looks up names; they stay."""


def proven(post: Post) -> Reply | None:
    """Store what proves itself (`tests.support.sink.instance_uid`), refuse what does not."""
    data, post.part = split(post.part)[1], b""
    return None if post.uid.rpartition(".")[2] == str(zlib.crc32(data)) else Reply(status=400)


async def attack(port: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run `tests.soak.attack` in a process of its own and return what it says."""
    command = (sys.executable, "-m", "tests.soak.attack", str(port), str(seconds), str(seed))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(out)
    assert not told["failures"], "\n".join(told["failures"])
    return told


async def test_hostile_input_raises_nothing_leaves_nothing_and_disturbs_nobody(long: bool) -> None:
    async with FaultStore(reply=proven) as store, WatchedAdapter(store.url, spec={"limits": LIMITS}) as adapter:
        await attack(adapter.port, WARM_UP_SECONDS, 0)  # imports, caches, and the arenas of so many associations at once
        await asyncio.to_thread(serve_once, adapter.port, 1, os.urandom(40_000))
        before = await adapter.vitals_when_quiet()
        for seed in (1, 2, 3) if long else (1,):
            async with Neighbour(adapter.port, pause=0.4) as neighbour:
                told = await attack(adapter.port, 60 if long else 3, seed)
            after = await adapter.vitals_when_quiet(before)
            print(f"seed {seed}: {told['inputs']:,} inputs, {told['inputs'] / told['seconds']:.0f}/s; {neighbour}")
            print(f"  {after}; {(after.resident - before.resident) / MEGABYTE:+.1f} MB left; {adapter.log_bytes:,} bytes of log")
            assert after.resident - before.resident < 20 * MEGABYTE
            assert after.peak - before.resident < 150 * MEGABYTE
            assert after.descriptors <= before.descriptors + KEPT
            assert after.threads <= before.threads + RESOLVERS
        assert adapter.log_bytes < 5 * MEGABYTE
        assert not adapter.complaints()

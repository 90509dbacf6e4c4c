"""Large objects: the adapter holds a part of each, whatever the store does, and never the whole of one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from tests.support.dicom import Instance, generated
from tests.support.rawscu import COMMAND, DATA, LAST, RawScu, associate_rq, context, pdata, pdv, store_rq
from tests.support.store import FaultStore, Reply
from tests.support.vitals import MEGABYTE, WatchedAdapter

FRAGMENT = 131072 - 12
SENDERS = 64
SPEC = {"limits": {"maxAssociations": 100, "maxAssociationsPerPeer": 100}, "delivery": {"timeoutSeconds": 300}}
"""Nobody is told that a slow store took too long."""


def begin(one: Instance, size: int) -> bytes:
    """The data set of an instance with `size` bytes of pixels, without them."""
    return one.data_set + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, size)


def send(port: int, one: Instance, size: int, block: bytes, together: Barrier | None = None) -> int:
    """Send an instance whose pixels are `block` again and again, once everybody is `together`; return the status."""
    with RawScu("127.0.0.1", port, timeout=600) as scu:
        scu.associate(associate_rq("GATE", "CT1", [context(1, one.sop_class_uid, one.transfer_syntax_uid)]))
        if together is not None:
            together.wait(120)
        scu.socket.sendall(pdata(pdv(1, COMMAND | LAST, store_rq(one.sop_class_uid, one.sop_instance_uid))))
        scu.socket.sendall(pdata(pdv(1, DATA, begin(one, size))))
        full = pdata(pdv(1, DATA, block))
        whole, rest = divmod(size, len(block))
        for _ in range(whole):
            scu.socket.sendall(full)
        scu.socket.sendall(pdata(pdv(1, DATA | LAST, block[:rest])))
        status = scu.response().status
        scu.release()
    return status


def digest(start: bytes, one: Instance, size: int, block: bytes) -> str:
    """The SHA-256 of the Part 10 file that a store gets; its file meta information is taken from the file's `start`."""
    expected = hashlib.sha256(start[: 144 + int.from_bytes(start[140:144], "little")] + begin(one, size))
    whole, rest = divmod(size, len(block))
    for _ in range(whole):
        expected.update(block)
    expected.update(block[:rest])
    return expected.hexdigest()


async def test_a_very_large_object_passes_without_ever_being_in_memory(long: bool) -> None:
    size = 2_000 * MEGABYTE if long else 120 * MEGABYTE
    one, block = generated(0), os.urandom(FRAGMENT)
    async with FaultStore(keep=False) as store, WatchedAdapter(store.url) as adapter:
        began = time.monotonic()
        assert await asyncio.to_thread(send, adapter.port, one, size, block) == 0
        seconds = time.monotonic() - began
        now = await adapter.vitals()
        print(f"{size / MEGABYTE:.0f} MB at {size / seconds / MEGABYTE:.0f} MB/s: {now}")
        (post,) = store.posts
        assert post.complete
        assert post.chunked
        assert post.digest == await asyncio.to_thread(digest, post.start, one, size, block)
        assert now.peak < 150 * MEGABYTE


async def test_many_large_objects_at_once_before_a_slow_store(long: bool) -> None:
    size = 20 * MEGABYTE if long else 5 * MEGABYTE
    block = os.urandom(FRAGMENT)
    instances = [generated(0) for _ in range(SENDERS)]
    async with FaultStore(keep=False) as store, WatchedAdapter(store.url, spec=SPEC) as adapter:
        store.script.extend([Reply(instead="read slowly", delay=0.01)] * SENDERS)
        before = await adapter.vitals()
        with ThreadPoolExecutor(SENDERS) as pool:  # asyncio's own has a few threads only
            loop = asyncio.get_running_loop()
            together = Barrier(SENDERS)
            sending = [loop.run_in_executor(pool, send, adapter.port, one, size, block, together) for one in instances]
            statuses = await asyncio.gather(*sending)
        after = await adapter.vitals_when_quiet()
        print(f"{SENDERS} times {size / MEGABYTE:.0f} MB at once: {before.resident / MEGABYTE:.1f} MB before; {after}")
        assert set(statuses) == {0}
        stored = store.stored
        for one in instances:
            post = stored[one.sop_instance_uid]
            assert post.digest == digest(post.start, one, size, block)
        assert after.peak < 400 * MEGABYTE
        assert not adapter.complaints()

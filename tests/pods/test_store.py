"""A store that is down, forbids, refuses; and an image larger than the pod's memory."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.pods.conftest import Adapters, send_to
from tests.support import dicom, rawscu
from tests.support.kubernetes import condition, wait_until
from tests.support.store import FaultStore, Reply, google_error

NODE = "10.10.0.1"
FORBIDDEN = google_error(403, "PERMISSION_DENIED", "Permission healthcare.dicomStores.dicomWebWrite denied on resource.")


async def test_the_sender_reads_why_and_the_next_image_is_stored(adapters: Adapters):
    async with FaultStore(host=NODE) as store:
        once = {"retry": {"maxAttempts": 1}}  # a 503 that goes away would be ridden out
        adapter = await asyncio.to_thread(adapters.apply, dicomStore=store.url, delivery=once)
        store.script.extend([Reply(), Reply(403, FORBIDDEN), Reply(409, "", content_type="text/plain"), Reply(503, ""), Reply()])
        answers = await asyncio.to_thread(send_to, adapter, *(dicom.generated() for _ in range(5)))
    assert answers == [
        (0x0000, ""),
        (0x0124, "Http_403, PERMISSION_DENIED, Permission healthcare.dicomStores.d"),
        (0xC000, "Http_409, Conflict"),
        (0xA700, "Http_503, Service Unavailable"),
        (0x0000, ""),
    ]


async def test_in_a_pod_check_needs_no_argument(adapters: Adapters):
    async with FaultStore(host=NODE) as store:
        await asyncio.to_thread(adapters.apply, dicomStore=store.url)

        def check() -> tuple[int, str]:
            done = adapters.kubectl.run("exec", "deployment/gate", "--", "dicom-adapter", "check", check=False)
            return done.returncode, done.stdout.splitlines()[-1]

        assert await asyncio.to_thread(check) == (0, "reachable: images can be stored")
        store.write_reply = Reply(403, FORBIDDEN)
        assert await asyncio.to_thread(check) == (1, "not reachable, at write")
        assert not store.posts


async def test_a_store_that_is_down_is_named_and_comes_back(adapters: Adapters):
    async with FaultStore(host=NODE) as store:
        port = store.port
        adapter = await asyncio.to_thread(adapters.apply, dicomStore=store.url)
    assert await asyncio.to_thread(send_to, adapter, dicom.generated()) == [(0xA700, f"Unreachable, {NODE}:{port} refused the connection")]

    def reason(expected: str):
        return lambda: condition(adapters.kubectl.get("dicomadapter", "gate"), "StoreReachable").get("reason") == expected

    await asyncio.to_thread(wait_until, "the condition says that the store is down", reason("Unreachable"))
    ready = condition(adapters.kubectl.get("dicomadapter", "gate"), "Ready")
    assert ready["status"] == "True", "a store outage leaves the adapter ready: senders get an answer"
    async with FaultStore(host=NODE, port=port):
        assert await asyncio.to_thread(send_to, adapter, dicom.generated()) == [(0x0000, "")]
        await asyncio.to_thread(wait_until, "the condition says that the store is back", reason("Reachable"))


async def test_what_a_sender_breaks_off_is_never_completed(adapters: Adapters):
    async with FaultStore(host=NODE) as store:
        adapter = await asyncio.to_thread(adapters.apply, dicomStore=store.url, logLevel="Debug")  # every association has its line
        address, port = adapter["status"]["address"], adapter["status"]["port"]
        for size in (1_000_000, 40_000_000):
            await asyncio.to_thread(break_off, address, port, size)
            if size > 8_000_000:
                await store.until(lambda: any(post.size > 0 for post in store.posts))
        await asyncio.to_thread(
            wait_until, "the adapter has noticed", lambda: adapters.kubectl("logs", "deployment/gate").count("'BROKEN' from") >= 2
        )
        assert not store.stored
        assert not any(post.complete for post in store.posts)
        assert await asyncio.to_thread(send_to, adapter, dicom.generated()) == [(0x0000, "")]


@pytest.mark.slow
async def test_a_gigabyte_passes_through_a_pod_of_200_megabytes(adapters: Adapters):
    async with FaultStore(host=NODE, keep=False) as store:
        adapter = await asyncio.to_thread(
            adapters.apply, dicomStore=store.url, resources={"requests": {"memory": "64Mi"}, "limits": {"memory": "200Mi"}}
        )
        item = dicom.generated(1 << 30)
        answers = await asyncio.to_thread(send_to, adapter, item)
        (post,) = store.posts
    assert answers == [(0x0000, "")]
    assert post.chunked
    header = post.start[: len(post.start) - len(dicom.split(post.start)[1])]
    assert post.digest == hashlib.sha256(header + item.data_set).hexdigest()
    (pod,) = adapters.kubectl.get("pods", **{"app.kubernetes.io/name": "dicom-adapter"})
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def break_off(address: str, port: int, size: int) -> None:
    """Sends half of a data set and ends the connection with a reset."""
    item = dicom.generated(size)
    with rawscu.RawScu(address, port) as scu:
        scu.associate(rawscu.associate_rq("GATE", "BROKEN", [rawscu.context(1, item.sop_class_uid, item.transfer_syntax_uid)]))
        scu.send(rawscu.pdata(rawscu.pdv(1, rawscu.COMMAND | rawscu.LAST, rawscu.store_rq(item.sop_class_uid, item.sop_instance_uid))))
        for start in range(0, size // 2, 16_000):
            scu.send(rawscu.pdata(rawscu.pdv(1, rawscu.DATA, item.data_set[start : start + 16_000])))
        scu.send_reset()

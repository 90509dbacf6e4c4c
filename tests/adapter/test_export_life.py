"""The exporter's beginning and end, leases, memory: nothing lost, few duplicates, whatever happens to the process."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
from pathlib import Path

from tests.adapter.test_export import becomes, counted
from tests.support.adapter import COMMAND, run
from tests.support.dicom import generated
from tests.support.exporting import Exporter, StoreNode, WadoStore, scene, spec
from tests.support.faults import Reply
from tests.support.orthanc import free_port
from tests.support.pubsub import PubSub
from tests.support.store import FaultStore

KILLS, IMAGES = 2, 300
LONG_KILLS, LONG_IMAGES = 20, 5000


async def test_a_drain_finishes_what_is_on_its_way_gives_the_rest_back_and_the_next_one_goes_on() -> None:
    async with scene() as (store, pubsub, node):
        node.delay = 0.05
        texts = [store.add(generated(1000)) for _ in range(60)]
        ids = await pubsub.publish(*texts)
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            await exporter.poll(lambda: _received(node, 10))
            exporter.signal(signal.SIGTERM)
            assert exporter.process
            assert await asyncio.wait_for(exporter.process.wait(), 60) == 0
            messages = await pubsub.messages()
            stored = {one.data.rpartition("/")[2] for one in messages.values() if one.acks}
            assert stored == set(node.log.received)  # nothing was sent and not acknowledged
            back = [one for one in messages.values() if not one.acks and one.deliveries]
            assert back
            assert all(one.deadlines[-1] == 0 for one in back)
        async with Exporter(spec(store, pubsub, node.port)):
            await pubsub.acknowledged(ids)
        assert set(node.log.counts.values()) == {1}
        assert max(one.deliveries for one in (await pubsub.messages()).values()) <= 2


async def _received(node: StoreNode, count: int) -> bool:
    return len(node.log.received) >= count


async def test_killed_at_random_it_loses_nothing_and_sends_little_twice(long: bool) -> None:
    kills, count = (LONG_KILLS, LONG_IMAGES) if long else (KILLS, IMAGES)
    rng = random.Random(9)
    async with WadoStore() as store, PubSub(deadline=2, shortest=1) as pubsub, StoreNode() as node:
        instances = [generated(2000) for _ in range(count)]
        ids = await pubsub.publish(*(store.add(one) for one in instances))
        for _ in range(kills):
            before = len(node.log.received)
            async with Exporter(spec(store, pubsub, node.port)) as exporter:
                await exporter.poll(lambda before=before: _received(node, min(before + rng.randrange(1, 100), count)))  # type: ignore[misc]
                exporter.signal(signal.SIGKILL)
                assert exporter.process
                await exporter.process.wait()
        async with Exporter(spec(store, pubsub, node.port)):
            await pubsub.acknowledged(ids, 120)
        twice = sum(node.log.counts.values()) - count
        print(f"{kills} kills: {len(node.log.received)} of {count} images stored, {twice} of them sent again")
        assert {one.sop_instance_uid: hashlib.sha256(one.data_set).digest() for one in instances} == node.log.received
        assert twice <= kills * 256


async def test_what_takes_longer_than_its_deadline_stays_ours() -> None:
    async with WadoStore() as store, PubSub(deadline=4, shortest=1) as pubsub, StoreNode() as node:
        node.delay = 4.5
        await pubsub.fault("get", milliseconds=2000)  # how long that is comes late, and no message before
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            ids = await pubsub.publish(*(store.add(generated(1000)) for _ in range(4)))
            messages = await pubsub.acknowledged(ids)
            assert {messages[one].deliveries for one in ids} == {1}
            assert any(len(messages[one].deadlines) > 2 for one in ids)
            assert "dicom_export_lease_expired_total 0.0" in (await exporter.get("/metrics"))[1]


async def test_a_large_image_is_streamed() -> None:
    size = 96 << 20
    async with scene() as (store, pubsub, node):
        small, large = generated(1000), generated(size)
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            await pubsub.acknowledged(await pubsub.publish(store.add(small)))
            before = exporter.resident_bytes("VmHWM")
            await pubsub.acknowledged(await pubsub.publish(store.add(large)))
            assert exporter.resident_bytes("VmHWM") - before < 48 << 20
        assert node.log.received[large.sop_instance_uid] == hashlib.sha256(large.data_set).digest()


async def test_a_secret_that_is_missing_is_waited_for() -> None:
    async with scene() as (store, pubsub, node):
        document = spec(store, pubsub, node.port)
        document["source"]["credentials"] = {"basicAuthSecret": {"name": "orthanc"}, "allowInsecure": True}
        async with Exporter(document, wait=False) as exporter:
            await exporter.line("Secret 'orthanc' does not exist in namespace 'rad'; create it, no restart is needed")
            directory = exporter.mounts / "secrets" / "orthanc"
            directory.mkdir(parents=True)
            (directory / "username").write_text("u")
            (directory / "password").write_text("p")
            await exporter.ready()
            await pubsub.acknowledged(await pubsub.publish(store.add(generated(100))))
            await becomes(exporter, "source", "Reachable")
            assert (await counted(exporter))["exported"] == 1
        assert store.authorizations == {"Basic dTpw"}
        assert (await pubsub.state())["authorization"] == ""


async def test_beside_a_subscription_a_sweep_finds_what_nobody_told_of(tmp_path: Path) -> None:
    async with scene() as (store, pubsub, node):
        before, told, lost = (generated(100) for _ in range(3))
        store.studies["1.2.3"] = [before.sop_instance_uid]
        store.add(before)
        document = spec(store, pubsub, node.port)
        document["source"]["reconcile"] = {"intervalSeconds": 1}
        async with Exporter(document, ledger=tmp_path / "exported.db") as exporter:
            await exporter.poll(lambda: _listed(store))
            store.studies["1.2.3"] += [told.sop_instance_uid]
            await pubsub.acknowledged(await pubsub.publish(store.add(told)))
            store.add(lost)
            store.studies["1.2.3"] += [lost.sop_instance_uid]
            await exporter.poll(lambda: _received(node, 2))
        assert set(node.log.received) == {told.sop_instance_uid, lost.sop_instance_uid}


async def _listed(store: WadoStore) -> bool:
    return store.listed > 0


async def test_a_second_signal_does_not_wait_for_what_is_on_its_way() -> None:
    async with scene() as (store, pubsub, node):
        node.delay = 30.0
        (one,) = await pubsub.publish(store.add(generated(100)))
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            await exporter.poll(lambda: _counted(node))
            exporter.signal(signal.SIGTERM)
            await exporter.line("the adapter is shutting down: it finishes the images that are on their way")
            exporter.signal(signal.SIGTERM)
            assert exporter.process
            assert await asyncio.wait_for(exporter.process.wait(), 60) == 1
        assert (await pubsub.messages())[one].deadlines[-1:] == (0,)


async def test_what_is_asked_of_the_store_when_the_end_comes_says_nothing_of_it(tmp_path: Path) -> None:
    async with PubSub() as pubsub, StoreNode() as node, FaultStore() as store:
        store.search_reply = Reply(instead="never answer")
        document = spec(store, pubsub, node.port)
        document["source"] |= {"dicomStore": store.url, "reconcile": {"intervalSeconds": 1}}
        async with Exporter(document, ledger=tmp_path / "exported.db") as exporter:
            await store.until(lambda: len(store.requests) == 2)  # the probe, and the sweep
            exporter.signal(signal.SIGTERM)
            assert await exporter.ended() == 0
        assert [line["event"] for line in exporter.lines] == ["Ready", "Draining", "Drained"]


async def _counted(node: StoreNode) -> bool:
    return bool(node.taken)


async def test_a_ledger_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    document = tmp_path / "export.yaml"
    document.write_text("source: {dicomStore: http://h/w, poll: {}}\ndestination: {peer: {aeTitle: A, host: h, port: 1}}\n")
    path = str(tmp_path / "no" / "such")
    status, _, told = await run(*COMMAND, "export", f"--config={document}", f"--ledger={path}", f"--http_port={free_port()}")
    assert (status, told) == (1, f"--ledger: '{path}' cannot be opened as a ledger; name a file in a directory that can be written to\n")

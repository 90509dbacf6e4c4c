"""The exporter as a process between Google's Pub/Sub emulator, a store and DICOM nodes: every row of its table over the wire."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.dimse import Limits, StoreRequest
from dicom_adapter.dimse.observer import Rejection
from dicom_adapter.export.events import TABLE, Event
from tests.adapter.dimse.peers import read, storescp
from tests.support.dicom import SAMPLES, generated, instance, write_sample
from tests.support.exporting import Exporter, StoreNode, WadoStore, part10, scene, spec
from tests.support.faults import Reply
from tests.support.google import COMMAND, GoogleIdentity
from tests.support.healthcare import HealthcareApi
from tests.support.pubsub import DEAD, SUBSCRIPTION, PubSub
from tests.support.store import FaultStore

ARRIVED = {"action": "StoreInstances"}


async def counted(exporter: Exporter) -> dict[str, int]:
    """Messages by result."""
    prefix = 'dicom_export_messages_total{result="'
    lines = (await exporter.get("/metrics"))[1].splitlines()
    found = (line.removeprefix(prefix).split('"} ') for line in lines if line.startswith(prefix))
    return {result: int(float(value)) for result, value in found if float(value)}


async def test_each_row_that_needs_no_outage(tmp_path: Path) -> None:
    """One exporter, one message for each thing that may happen to one."""
    answers: dict[str, int] = {}
    async with scene(lambda request: answers.get(request.sop_instance_uid, 0)) as (store, pubsub, node):
        instances = {name: generated(2000) for name in ("stored", "bare", "warned", "refused", "cannot", "unsupported", "broken", "other")}
        text = {name: store.add(one) for name, one in instances.items()}
        uid = {name: one.sop_instance_uid for name, one in instances.items()}
        answers |= {uid["warned"]: 0xB007, uid["refused"]: 0xA900, uid["cannot"]: 0xC123, uid["unsupported"]: 0x0122}
        store.images[uid["broken"]].content = b"no DICOM at all" * 20
        store.images[uid["other"]].content = part10(generated(100))
        late = generated(100)
        text["late"] = store.add(late)
        image = store.images.pop(late.sop_instance_uid)
        store.studies["1.2.9"] = [store.add(generated(100), "1.2.9").rpartition("/")[2] for _ in range(70)]
        text["other modality"] = store.add(instance(write_sample("MR", tmp_path)))
        async with Exporter(spec(store, pubsub, node.port, filter={"modalities": ["OT"]})) as exporter:
            done = [
                *await pubsub.publish(text["other modality"], **ARRIVED),
                *await pubsub.publish(text["stored"], "/" + text["warned"] + "/", **ARRIVED, versionId="1"),
                *await pubsub.publish(text["bare"]),  # older stores tell nothing but the path
                *await pubsub.publish(text["stored"], **ARRIVED, versionId="1"),
                *await pubsub.publish(text["stored"], action="DeleteInstance"),
                *await pubsub.publish(text["stored"], action="SetBlobSettings"),
                *await pubsub.publish("studies/1.2.9"),
            ]
            await pubsub.acknowledged(done)  # alone, the others do not wait for so long that their leases are renewed
            (waiting,) = await pubsub.publish(text["late"])
            put_off = await pubsub.publish(
                *(text[name] for name in ("refused", "cannot", "unsupported", "broken", "other")),
                "projects/p/locations/l/datasets/d/dicomStores/another/dicomWeb/studies/1.2",
                "studies/1.2/series/../instances/1",
                "studies/1.02/series/1.2/instances/1.2.3",
                "http://evil.example/studies/1.2/series/1.2/instances/1.2.3",
                "\u00e9",
                "x" * 5000,
            )
            await exporter.poll(lambda: _missed(store, late.sop_instance_uid))
            store.images[late.sop_instance_uid] = image
            messages = await pubsub.until(lambda found: all(found[one].deadlines for one in put_off))  # they come again 10 s later
            assert {messages[one].deadlines for one in put_off} == {(10,)}
            assert not any(messages[one].acks for one in put_off)
            await pubsub.acknowledged([waiting])
            assert set(node.log.received) == {uid["stored"], uid["bare"], uid["warned"], late.sop_instance_uid, *store.studies["1.2.9"]}
            assert node.log.counts[uid["stored"]] == 1
            assert await counted(exporter) == {"exported": 5, "deduplicated": 1, "ignored": 2, "filtered": 1, "retried": 1 + len(put_off)}
            assert hashlib.sha256(instances["stored"].data_set).digest() == node.log.received[uid["stored"]]
            status = await exporter.status()
            assert (status["exported"], status["delivering"]["reason"]) == (74, "Delivering")
            assert not any("evil" in str(line) or ".." in str(line.get("message", "")) for line in exporter.lines)
            assert all(path.startswith(("/dicom-web/studies/1.2.3/", "/dicom-web/studies/1.2.9/")) for path in store.paths)


async def _missed(store: WadoStore, uid: str) -> bool:
    return uid in store.missed


async def test_a_source_that_does_not_let_us_in_is_waited_for() -> None:
    async with scene() as (store, pubsub, node), Exporter(spec(store, pubsub, node.port)) as exporter:
        await becomes(exporter, "source", "Reachable")
        for status, reason in ((401, "Unauthorized"), (403, "Unauthorized"), (429, "Throttled"), (503, "Failing")):
            store.status = status
            (one,) = await pubsub.publish(store.add(generated(100)))
            await becomes(exporter, "source", reason)
            assert await _is(exporter, "delivering", "SourceDown")
            assert (await exporter.get("/readyz"))[0] == 200
            store.status = 200
            message = (await pubsub.acknowledged([one]))[one]
            assert message.deliveries == 1
            assert 0 not in message.deadlines
            await becomes(exporter, "source", "Reachable")


async def becomes(exporter: Exporter, what: str, reason: str) -> None:
    """Waits until /status says so."""
    await exporter.poll(lambda: _is(exporter, what, reason))


async def _is(exporter: Exporter, what: str, reason: str) -> bool:
    return bool((await exporter.status())[what]["reason"] == reason)


async def test_a_store_that_breaks_off_in_the_middle_is_asked_again() -> None:
    async with scene() as (store, pubsub, node):
        small, large = generated(10_000), generated(6 << 20)
        texts = [store.add(one) for one in (small, large)]
        for image in store.images.values():
            image.fault = "break off"
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            ids = await pubsub.publish(*texts)
            await becomes(exporter, "source", "Failing")
            for image in store.images.values():
                image.fault = 0
            await pubsub.acknowledged(ids)
        assert set(node.log.received) == set(store.images)


class _Node(StoreNode):
    """A node with moods."""

    def __init__(self) -> None:
        self.rejects: Rejection | None = None
        self.status = 0
        self.aborts = False
        super().__init__(self._judge, access=lambda request, address: self.rejects)

    def _judge(self, request: StoreRequest) -> int:
        if self.aborts:
            self.abort()
        return self.status


async def test_a_node_in_every_kind_of_trouble_is_waited_for_and_costs_no_message_an_attempt() -> None:
    """Down, rejecting, aborting in the middle, out of resources, failing without a reason: one after the other, with one exporter."""
    one_three = Rejection(1, 1, 3, "")
    async with WadoStore() as store, PubSub() as pubsub, _Node() as node:
        delivery = {"maxDeliveryAttempts": 1, "deadLetter": {"topic": DEAD}}
        async with Exporter(spec(store, pubsub, node.port, delivery=delivery)) as exporter:
            await becomes(exporter, "destination", "Reachable")

            async def through(reason: str) -> dict[str, Any]:
                """Publishes an image, waits until /status says so, and gives it."""
                ids.extend(await pubsub.publish(store.add(generated(2000))))
                await becomes(exporter, "destination", reason)
                return await exporter.status()

            async def mended() -> None:
                await pubsub.acknowledged(ids)
                await becomes(exporter, "destination", "Reachable")

            ids: list[str] = []
            await node.stop()
            status = await through("Refused")
            assert status["destination"]["message"] == (
                f"PACS@127.0.0.1:{node.port}: 127.0.0.1:{node.port} refuses the connection: nothing listens on this port"
            )
            assert (status["delivering"]["reason"], status["ready"]) == ("DestinationDown", True)
            await node.start()
            await mended()

            node.abort()  # what was kept is closed: a new association is made without a word
            ids += await pubsub.publish(store.add(generated(2000)))
            await mended()

            node.rejects = one_three
            node.abort()
            status = await through("Rejected")
            assert status["destination"]["message"] == (
                "'PACS': the association was rejected (1/1/3): it does not know our AE title (calling AE title not recognized); "
                "have 'EXPORTADAPTER' and this address registered there, or name another in spec.callingAETitle"
            )
            node.rejects = None
            await mended()

            for code in (0xA700, 0x0124, 0x0110):
                node.status = code
                status = await through("Failing")
                assert status["destination"]["message"] == f"'PACS' answers a C-STORE with {code:04X}"
                node.status = 0
                await mended()

            messages = await pubsub.messages()
            assert {messages[one].deliveries for one in ids} == {1}
            assert not await pubsub.messages(DEAD)


async def test_a_node_that_aborts_in_the_middle_gets_the_image_again() -> None:
    async with WadoStore() as store, PubSub() as pubsub, _Node() as node, Exporter(spec(store, pubsub, node.port)) as exporter:
        node.aborts = True
        ids = await pubsub.publish(store.add(generated(2000)))
        await becomes(exporter, "destination", "Unreachable")
        node.aborts = False
        message = (await pubsub.acknowledged(ids))[ids[0]]
        assert (message.deliveries, 0 in message.deadlines) == (1, False)


async def test_a_dead_letter_is_published_with_its_reason_and_acknowledged() -> None:
    async with scene(lambda request: 0xA900) as (store, pubsub, node):
        delivery = {"maxDeliveryAttempts": 1, "deadLetter": {"topic": DEAD}}
        text = store.add(generated(100))
        async with Exporter(spec(store, pubsub, node.port, delivery=delivery)) as exporter:
            ids = await pubsub.publish(text, **ARRIVED)
            await pubsub.acknowledged(ids)
            (letter,) = (await pubsub.messages(DEAD)).values()
            assert letter.data == text
            assert letter.attributes == {**ARRIVED, "exportReason": "'PACS' answers a C-STORE with A900", "exportMessageId": ids[0]}
            await exporter.line(f"/{text}: 'PACS' answers a C-STORE with A900; published to {DEAD} and acknowledged")


async def test_where_the_subscription_has_a_policy_the_message_is_only_put_off() -> None:
    async with scene(lambda request: 0xA900, dead_letter_after=5) as (store, pubsub, node):
        delivery = {"maxDeliveryAttempts": 1, "deadLetter": {"topic": DEAD}}
        text = store.add(generated(100))
        await pubsub.fault("get", milliseconds=2000)  # that it has one comes late, and no message before
        async with Exporter(spec(store, pubsub, node.port, delivery=delivery)) as exporter:
            (one,) = await pubsub.publish(text)
            message = (await pubsub.until(lambda found: found[one].deadlines))[one]
            assert (message.deadlines, message.acks) == ((10,), 0)
            await exporter.line(f"/{text}: 'PACS' answers a C-STORE with A900; attempt 1, Pub/Sub's dead-letter policy decides")


async def test_without_either_it_is_kept_and_said() -> None:
    async with scene(lambda request: 0xA900) as (store, pubsub, node):
        text = store.add(generated(100))
        async with Exporter(spec(store, pubsub, node.port, delivery={"maxDeliveryAttempts": 1})) as exporter:
            (one,) = await pubsub.publish(text)
            await pubsub.until(lambda found: found[one].deadlines == (600,))
            status = await exporter.status()
            assert (status["delivering"]["reason"], status["retained"]) == ("PoisonMessages", 1)


async def test_a_subscription_that_cannot_be_pulled_from_is_a_reason_of_its_own() -> None:
    async with scene() as (store, pubsub, node):
        await pubsub.fault("pull", count=-1, status=403)
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            await becomes(exporter, "source", "Unauthorized")
            message = f"Pub/Sub answers 403 about {SUBSCRIPTION}: grant the adapter's account roles/pubsub.subscriber on it"
            assert (await exporter.status())["source"]["message"] == message
            await pubsub.fault("pull", count=-1, status=404)
            await becomes(exporter, "source", "SubscriptionNotFound")
            await pubsub.fault("pull", count=0)
            await pubsub.acknowledged(await pubsub.publish(store.add(generated(100))))
            await becomes(exporter, "source", "Reachable")


async def test_pub_sub_that_throttles_loses_acknowledgements_and_answers_slowly_costs_no_image() -> None:
    async with scene() as (store, pubsub, node):
        await pubsub.fault("pull", status=429, retryAfter="1", count=2)
        await pubsub.fault("pull", short=True, count=3)
        await pubsub.fault("pull", status=504)
        await pubsub.fault("pull", milliseconds=300)
        await pubsub.fault("acknowledge", status=503)
        await pubsub.fault("acknowledge", status=503, keeps=True)
        await pubsub.fault("get", status=403)
        texts = [store.add(generated(100)) for _ in range(60)]
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            await pubsub.acknowledged(await pubsub.publish(*texts))
            assert (await counted(exporter))["exported"] == 60
        assert set(node.log.counts.values()) == {1}


async def test_a_peer_that_takes_nothing_but_implicit_vr_gets_it_uncompressed(tmp_path: Path) -> None:
    """dcmtk's storescp as an old node. Where it takes an image as it is stored, not a byte is changed."""
    names = ("MR implicit", "MR", "RLE", "JPEG 2000")
    samples = {name: instance(write_sample(name, tmp_path)) for name in names}
    received = tmp_path / "received"
    with storescp(received, "+xi") as port:
        async with WadoStore() as store, PubSub() as pubsub:
            texts = {name: store.add(one) for name, one in samples.items()}
            async with Exporter(spec(store, pubsub, port, delivery={"maxAssociations": 1})):
                await pubsub.acknowledged(await pubsub.publish(*texts.values()))
            files = [read(file) for file in received.iterdir()]
    assert {one.transfer_syntax_uid for one in files} == {"1.2.840.10008.1.2"}
    assert samples["MR implicit"].data_set in {one.data_set for one in files}


@pytest.mark.parametrize("transcode", ["WhenRefused", "Never"])
async def test_a_syntax_that_the_peer_does_not_take_is_said(transcode: str, tmp_path: Path) -> None:
    """`Never`, or a video: it cannot be had uncompressed."""
    one = instance(write_sample("RLE", tmp_path))
    syntax = one.transfer_syntax_uid
    if transcode == "WhenRefused":
        syntax = "1.2.840.10008.1.2.4.102"
        one = type(one)(one.sop_class_uid, one.sop_instance_uid, syntax, one.data_set)
    with storescp(tmp_path / "received", "+xi") as port:
        async with WadoStore() as store, PubSub() as pubsub:
            text = store.add(one)
            async with Exporter(spec(store, pubsub, port, transcode=transcode)) as exporter:
                (message,) = await pubsub.publish(text)
                await pubsub.until(lambda found: found[message].deadlines)
                told = {
                    "Never": f"'PACS' takes MR Image Storage uncompressed only, not in {syntax}; "
                    "write spec.transcode: WhenRefused to have it sent so",
                    "WhenRefused": f"'PACS' does not take {syntax}, and it cannot be sent uncompressed: it is a video",
                }[transcode]
                await exporter.line(f"/{text}: {told}; attempt 1 of 5, the next in 10 s")


async def test_every_syntax_arrives_byte_for_byte_over_two_associations(tmp_path: Path) -> None:
    samples = [instance(write_sample(name, tmp_path)) for name in SAMPLES]
    async with scene() as (store, pubsub, node):
        texts = [store.add(one) for one in samples]
        async with Exporter(spec(store, pubsub, node.port)):
            await pubsub.acknowledged(await pubsub.publish(*texts))
        for one in samples:
            assert node.log.received[one.sop_instance_uid] == hashlib.sha256(one.data_set).digest()
            assert node.log.syntaxes[one.sop_instance_uid] == one.transfer_syntax_uid


async def test_a_node_that_takes_one_association_gets_everything_over_it() -> None:
    """The second is rejected with 2/3/2, local limit exceeded, while the first works: that is no outage."""
    seen: list[int] = []

    def judge(request: StoreRequest) -> int:
        seen.append(request.association_id)
        return 0

    async with WadoStore() as store, PubSub() as pubsub, StoreNode(judge, limits=Limits(max_associations=1)) as node:
        node.delay = 0.02
        texts = [store.add(generated(1000)) for _ in range(30)]
        async with Exporter(spec(store, pubsub, node.port)) as exporter:
            await becomes(exporter, "destination", "Reachable")  # its own echo is an association as well
            await pubsub.acknowledged(await pubsub.publish(*texts))
            assert not any("Unavailable" in line.get("event", "") for line in exporter.lines)
        assert len(node.log.received) == 30
        assert len(set(seen)) == 1


async def test_a_study_goes_over_one_association_that_is_released_at_its_end() -> None:
    async with scene() as (store, pubsub, node):
        first = [generated(1000) for _ in range(12)]
        second = [generated(1000) for _ in range(5)]
        texts = [*(store.add(one, "1.2.1") for one in first), *(store.add(one, "1.2.2") for one in second)]
        async with Exporter(spec(store, pubsub, node.port, grouping="Study", settleSeconds=1)):
            await pubsub.acknowledged(await pubsub.publish(*texts))
        groups = {frozenset(uids) for uids in node.log.associations.values()}
        assert groups == {frozenset(one.sop_instance_uid for one in study) for study in (first, second)}


# -- DICOMweb as destination -------------------------------------------------------------------------


async def test_a_dicomweb_destination_gets_part_10_and_its_verdict_is_read() -> None:
    async with WadoStore() as store, PubSub() as pubsub, FaultStore() as there:
        instances = [generated(2000), generated(5 << 20)]
        texts = [store.add(one) for one in instances]
        document = spec(store, pubsub, 1, destination={"dicomweb": {"url": there.url}})
        async with Exporter(document) as exporter:
            await pubsub.acknowledged(await pubsub.publish(*texts))
            assert {post.uid: post.part for post in there.stored.values()} == {one.sop_instance_uid: part10(one) for one in instances}
            there.script.append(Reply(503, ""))
            again = generated(2000)
            await pubsub.acknowledged(await pubsub.publish(store.add(again)))
            await exporter.poll_lines(lambda text: text.startswith("the destination is down") and "Http_503" in text)


async def test_our_token_goes_to_the_source_and_to_pub_sub_and_never_to_a_destination_that_did_not_ask() -> None:
    """And no word of it, of a patient or of what the store holds in the log, /status or /metrics: the exporter's end scans them."""
    async with GoogleIdentity() as identity, HealthcareApi(identity) as source, PubSub() as pubsub, FaultStore() as there:
        one = generated(2000)
        source.instances.take(part10(one))
        path = _path(source, one.sop_instance_uid)
        document = {
            "source": {
                "dicomStore": source.url,
                "credentials": {"googleApplicationDefault": {}},
                "pubsub": {"subscription": SUBSCRIPTION, "endpoint": pubsub.url, "allowInsecure": True},
            },
            "destination": {"dicomweb": {"url": there.url}},
        }
        await pubsub.fault("pull", status=401)  # a token that has run out before its time: a new one serves, and nothing is said
        async with Exporter(document, command=COMMAND, environment=identity.metadata_environment()) as exporter:
            await pubsub.acknowledged(await pubsub.publish(f"{source.path}/dicomWeb/{path}"))
            told = str(exporter.lines) + (await exporter.get("/status"))[1] + (await exporter.get("/metrics"))[1]
        tokens = identity.issued
        assert len(tokens) == 2
        seen = {bearer.removeprefix("Bearer ") for bearer in source.bearers if bearer}
        assert seen
        assert seen <= tokens
        assert not any(line["severity"] == "ERROR" for line in exporter.lines)
        assert (await pubsub.state())["authorization"].removeprefix("Bearer ") in tokens
        assert there.stored
        assert not any("authorization" in {name.lower() for name in headers} for _, _, headers in there.requests)
        assert not any(token in told for token in tokens)


def _path(store: HealthcareApi, uid: str) -> str:
    one = store.instances.by_uid()[uid]
    return f"studies/{one.study}/series/{one.series}/instances/{uid}"


def test_every_row_is_shown_over_the_wire_here() -> None:
    """Which test shows which row: a new row wants a line."""
    shown = {
        test_each_row_that_needs_no_outage: (
            Event.STORED, Event.STORED_WITH_WARNING, Event.NOT_AN_ARRIVAL, Event.KNOWN, Event.REFUSED, Event.UNREADABLE, Event.NOT_THERE,
            Event.FILTERED,
        ),
        test_a_source_that_does_not_let_us_in_is_waited_for: (Event.SOURCE_UNAVAILABLE,),
        test_a_store_that_breaks_off_in_the_middle_is_asked_again: (Event.BROKEN_OFF,),
        test_a_node_in_every_kind_of_trouble_is_waited_for_and_costs_no_message_an_attempt: (
            Event.DESTINATION_UNAVAILABLE, Event.STALE, Event.FAILED,
        ),
        test_a_node_that_aborts_in_the_middle_gets_the_image_again: (Event.CUT_OFF,),
        test_a_node_that_takes_one_association_gets_everything_over_it: (Event.CROWDED,),
        test_a_syntax_that_the_peer_does_not_take_is_said: (Event.SYNTAX_REFUSED,),
    }  # fmt: skip
    rows = {event for events in shown.values() for event in events}
    assert {row.event for row in TABLE} == rows

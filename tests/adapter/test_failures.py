"""When a delivery fails: what the sender, the log and /status say, to the letter. Other answers of a store: test_verdicts."""

from __future__ import annotations

import asyncio

from tests.adapter.test_faults import put_token
from tests.support.adapter import Adapter
from tests.support.delivering import other
from tests.support.dicom import Instance, generated
from tests.support.google import GoogleIdentity
from tests.support.healthcare import HealthcareApi
from tests.support.rawscu import RawScu, associate_rq, context, send_instances, store_rq
from tests.support.store import FaultStore, Post, Reply, google_error

JSON = "application/json"
QUICK = {"initialDelayMilliseconds": 10, "maxDelayMilliseconds": 20}
UNAVAILABLE = google_error(503, "UNAVAILABLE", "The service is currently unavailable")


async def send(adapter: Adapter, *instances: Instance) -> list[tuple[int, str]]:
    wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
    return await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)


async def test_a_command_without_a_uid() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        one = generated()

        def ask() -> tuple[int, str]:
            with RawScu("127.0.0.1", adapter.port) as scu:
                scu.associate(associate_rq("GATE", "CT1", [context(1, one.sop_class_uid, one.transfer_syntax_uid)]))
                scu.send_message(1, store_rq(one.sop_class_uid, ""), one.data_set)
                response = scu.response()
                scu.release()
            return response.status, response.comment

        assert await asyncio.to_thread(ask) == (0xC000, "Mandatory tag empty: AffectedSOPInstanceUID")
        line = await adapter.line("C-STORE from 'CT1' failed: C000 Mandatory tag empty: AffectedSOPInstanceUID")
        assert line["severity"] == "WARNING"
        assert not store.posts


async def test_conflicts_and_a_data_set_of_another_instance() -> None:
    spec = {"credentials": {"bearerTokenSecret": {"name": "token"}, "allowInsecure": True}, "logLevel": "Debug"}
    async with GoogleIdentity() as identity, HealthcareApi(identity) as api, Adapter(api.url, spec=spec, wait=False) as adapter:
        put_token(adapter, identity)
        await adapter.ready()
        one = generated()
        api.script.extend([Reply(), Reply(409, "", "text/plain")])
        assert await send(adapter, one, other(one)) == [(0, ""), (0xC409, "Http_409, ALREADY_EXISTS, instance exists with other content")]
        line = await adapter.line("C-STORE from 'CT1' refused for good: 409 ALREADY_EXISTS; spec.delivery.onConflict is Fail")
        assert (line["severity"], line["http_status"], line["sop_instance_uid"]) == ("WARNING", 409, one.sop_instance_uid)
        assert (await adapter.status())["lastError"]["message"] == line["message"]
        wrong = Instance(one.sop_class_uid, "1.2.3.4", one.transfer_syntax_uid, one.data_set)
        assert await send(adapter, wrong) == [(0xA900, "SOP Instance UID of data set and command differ")]
        line = await adapter.line("C-STORE from 'CT1' failed: A900 SOP Instance UID of data set and command differ")
        assert line["severity"] == "WARNING"
        _, metrics = await adapter.get("/metrics")
        assert 'dicom_delivery_conflicts_total{action="Failed"} 1.0' in metrics


async def test_a_store_that_throttles() -> None:
    reply = Reply(429, google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for dicomweb_ops"), JSON)
    async with FaultStore() as store, Adapter(store.url, spec={"delivery": {"retry": QUICK}}) as adapter:
        store.script.extend([reply] * 4)
        assert await send(adapter, generated()) == [(0xA700, "Http_429, RESOURCE_EXHAUSTED, Quota exceeded for dicomweb_ops")]
        line = await adapter.line("the store throttles (429): sending at most 1 a second")
        assert line["severity"] == "WARNING"
        line = await adapter.line("C-STORE from 'CT1' failed: A700 Http_429, RESOURCE_EXHAUSTED, Quota exceeded for dicomweb_ops")
        assert (line["attempts"], line["http_status"]) == (4, 429)


async def test_a_further_store_that_throttles_is_named() -> None:
    async with FaultStore() as store, FaultStore() as archive:
        archive.script.extend([Reply(429, google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded"), JSON)] * 4)
        spec = {
            "delivery": {"retry": QUICK},
            "destinations": [{"name": "archive", "dicomStore": archive.url}],
            "routes": [{"destinations": ["archive"]}],
        }
        async with Adapter(store.url, spec=spec) as adapter:
            assert await send(adapter, generated()) == [(0xA700, "Http_429, RESOURCE_EXHAUSTED, Quota exceeded")]
            line = await adapter.line("'archive' throttles (429): sending at most 1 a second")
            assert (line["severity"], line["destination"]) == ("WARNING", "archive")


async def test_a_store_that_is_unavailable_and_comes_back() -> None:
    down = True

    def answer(_: Post) -> Reply | None:
        return Reply(503, UNAVAILABLE, JSON) if down else None

    async with FaultStore(reply=answer) as store, Adapter(store.url, spec={"delivery": {"retry": QUICK}}) as adapter:
        store.search_reply = Reply(503, UNAVAILABLE, JSON)
        assert await send(adapter, generated()) == [(0xA700, "Http_503, UNAVAILABLE, The service is currently unavailable")]
        await adapter.line("C-STORE from 'CT1' failed: A700 Http_503, UNAVAILABLE, The service is currently unavailable")
        status = await adapter.store_becomes("Unreachable")
        sentence = "the store answers 503 UNAVAILABLE: senders get A700 and keep their images"
        assert status["store"]["message"] == sentence
        assert status["verdict"] == {"level": "bad", "message": sentence}
        await adapter.line(sentence)
        down, store.search_reply = False, Reply(body="[]")
        assert await send(adapter, generated()) == [(0, "")]
        await adapter.store_becomes("Reachable")
    assert any(line["message"].startswith("the store answers again after ") for line in adapter.lines)

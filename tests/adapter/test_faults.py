"""Every fault of a store, for small and large images, over one association: the right status, and nothing half stored or stored twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.support.adapter import Adapter
from tests.support.dicom import Instance, generated, split
from tests.support.faults import Reply
from tests.support.google import CLOUD_HEALTHCARE, GoogleIdentity
from tests.support.healthcare import HealthcareApi
from tests.support.rawscu import RawScu, associate_rq, context, store_rq
from tests.support.store import google_error

UNAVAILABLE = google_error(503, "UNAVAILABLE", "The service is currently unavailable")
QUOTA = google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for dicomweb_ops")
JSON = "application/json"
LOST = "Unreachable, STORE closed the connection"


@dataclass(frozen=True)
class Fault:
    """What the store does to the requests of one image; what the sender gets; whether the store has the image in the end. `spare`: so many
    of the replies may not be needed."""

    replies: list[Reply] = field(default_factory=list)
    status: int = 0
    comment: str = ""
    stored: bool = True
    spare: int = 0


def always(reply: Reply, times: int = 4) -> list[Reply]:
    return [reply] * times


FAULTS = {
    "no fault": Fault(),
    "503 once": Fault([Reply(503, UNAVAILABLE, JSON)]),
    "503 with Retry-After": Fault([Reply(503, "", headers={"Retry-After": "1"})]),
    "503 for ever": Fault(
        always(Reply(503, UNAVAILABLE, JSON)), 0xA700, "Http_503, UNAVAILABLE, The service is currently unavailable", False
    ),
    "500 before the body is read": Fault([Reply(500, "", when="before body")]),
    "408, 502, 504": Fault([Reply(408, ""), Reply(502, ""), Reply(504, "")]),
    "400": Fault([Reply(400, "")], 0xC000, "Http_400, Bad Request", False),
    "delay": Fault([Reply(delay=0.3)]),
    "reset before the body": Fault([Reply(instead="reset", when="before body")]),
    "reset in the middle of the body": Fault([Reply(instead="reset", when="mid body")]),
    "reset after the body": Fault([Reply(instead="reset")]),
    "reset after the image was stored": Fault([Reply(instead="reset", keeps=True)]),
    # Four tries, each of which may have met a connection that was kept, of an image or of a probe: that costs one request more.
    "reset for ever": Fault(always(Reply(instead="reset"), 8), 0xA700, LOST, False, spare=4),
    "truncated answer": Fault([Reply(instead="truncate")]),
    "garbage for an answer, stored": Fault([Reply(instead="garbage", keeps=True)]),
    "garbage for an answer, not stored": Fault([Reply(instead="garbage")]),
    "half-closed connection": Fault([Reply(instead="half-close")]),
    "slow reader": Fault([Reply(instead="read slowly", delay=0.002)]),
    "no answer": Fault([Reply(instead="never answer")], 0xA700, "Store took longer than 5 s", False),
    "429 for ever": Fault(
        always(Reply(429, QUOTA, JSON)), 0xA700, "Http_429, RESOURCE_EXHAUSTED, Quota exceeded for dicomweb_ops", False
    ),  # last: it slows down what follows
}
SPEC = {
    "credentials": {"bearerTokenSecret": {"name": "token"}, "allowInsecure": True},
    "delivery": {"timeoutSeconds": 5, "retry": {"initialDelayMilliseconds": 10, "maxDelayMilliseconds": 20}},
    "logLevel": "Debug",
}


def put_token(adapter: Adapter, identity: GoogleIdentity) -> None:
    directory = adapter.mounts / "secrets" / "token"
    directory.mkdir(parents=True)
    (directory / "token").write_text(identity.issue("a@p.iam.gserviceaccount.com", [CLOUD_HEALTHCARE]))


@pytest.mark.parametrize("size", [1024, 5 << 20])
async def test_each_fault_costs_its_own_image_at_most_and_never_the_association(size: int) -> None:
    images = {name: generated(size) for name in FAULTS}
    after: list[Instance] = []
    async with GoogleIdentity() as identity, HealthcareApi(identity) as api, Adapter(api.url, spec=SPEC, wait=False) as adapter:
        put_token(adapter, identity)
        await adapter.ready()
        where = f"127.0.0.1:{api.port}"
        first = next(iter(images.values()))
        with RawScu("127.0.0.1", adapter.port, timeout=30) as scu:

            def send(one: Instance) -> tuple[int, str]:
                scu.send_message(1, store_rq(one.sop_class_uid, one.sop_instance_uid), one.data_set, size=16_000)
                response = scu.response()
                return response.status, response.comment

            await asyncio.to_thread(
                scu.associate, associate_rq("GATE", "CT1", [context(1, first.sop_class_uid, first.transfer_syntax_uid)])
            )
            for name, one in images.items():
                fault = FAULTS[name]
                api.script.extend(fault.replies)
                assert await asyncio.to_thread(send, one) == (fault.status, fault.comment.replace("STORE", where)), name
                assert len(api.script) <= fault.spare, name
                api.script.clear()
                after.append(generated())
                assert await asyncio.to_thread(send, after[-1]) == (0, ""), name
            scu.release()
        stored = {uid: split(one.content)[1] for uid, one in api.instances.by_uid().items()}
    expected = {one.sop_instance_uid: one.data_set for name, one in images.items() if FAULTS[name].stored}
    assert stored == expected | {one.sop_instance_uid: one.data_set for one in after}

"""What the sender and the log say of what a store may answer, over the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.adapter import Adapter, dcmsend
from tests.support.dicom import generated, write_sample
from tests.support.orthanc import free_port
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore, Post, Reply, failed_json, google_error, stored_json

NOT_USED = (
    "Cloud Healthcare API has not been used in project 123 before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/healthcare.googleapis.com/overview?project=123 then retry."
)
SCOPES = "Request had insufficient authentication scopes."
PERMISSION = "Permission healthcare.dicomStores.dicomWebWrite denied on resource 'projects/p/locations/l/datasets/d/dicomStores/s'."
JSON = "application/json"
REFUSED_XML = """<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"><Item number="1">
<DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID"><Value number="1">@UID@</Value></DicomAttribute>
<DicomAttribute tag="00081197" vr="US" keyword="FailureReason"><Value number="1">272</Value></DicomAttribute>
</Item></DicomAttribute></NativeDicomModel>"""
FAILED = "C-STORE from 'CT1' failed: "
REFUSED = "C-STORE from 'CT1' refused for good: "

# reply, status, Error Comment, log line (empty: none). @UID@ stands for the instance's own.
TABLE = {
    "api not enabled": (
        Reply(403, google_error(403, "PERMISSION_DENIED", NOT_USED), JSON),
        0x0124,
        "Http_403, PERMISSION_DENIED, Cloud Healthcare API has not been u",
        f"{FAILED}0124 Http_403, PERMISSION_DENIED, {NOT_USED}",
    ),
    "scopes": (
        Reply(403, google_error(403, "PERMISSION_DENIED", SCOPES), JSON),
        0x0124,
        "Http_403, PERMISSION_DENIED, Request had insufficient authentica",
        f"{FAILED}0124 Http_403, PERMISSION_DENIED, {SCOPES}",
    ),
    "permission": (
        Reply(403, google_error(403, "PERMISSION_DENIED", PERMISSION), JSON),
        0x0124,
        "Http_403, PERMISSION_DENIED, Permission healthcare.dicomStores.d",
        f"{FAILED}0124 Http_403, PERMISSION_DENIED, {PERMISSION}",
    ),
    "401": (
        Reply(401, google_error(401, "UNAUTHENTICATED", "Request had invalid credentials"), JSON),
        0x0124,
        "Http_401, UNAUTHENTICATED, Request had invalid credentials",
        f"{FAILED}0124 Http_401, UNAUTHENTICATED, Request had invalid credentials",
    ),
    "404": (
        Reply(404, google_error(404, "NOT_FOUND", "dicomStore does not exist"), JSON),
        0xA700,
        "Http_404, NOT_FOUND, dicomStore does not exist",
        f"{FAILED}A700 Http_404, NOT_FOUND, dicomStore does not exist",
    ),
    "html is never quoted": (
        Reply(404, "<html><body>nginx: secret path</body></html>", "text/html"),
        0xA700,
        "Http_404, Not Found",
        f"{FAILED}A700 Http_404, Not Found",
    ),
    "a redirect is not followed": (
        Reply(307, "", headers={"Location": "http://127.0.0.1:1/elsewhere"}),
        0xA700,
        "Http_307, Temporary Redirect, the store redirects; correct dicom",
        f"{FAILED}A700 Http_307, Temporary Redirect, the store redirects; correct dicomStore",
    ),
    "400": (
        Reply(400, google_error(400, "INVALID_ARGUMENT", "StudyInstanceUID is missing"), JSON),
        0xC000,
        "Http_400, INVALID_ARGUMENT, StudyInstanceUID is missing",
        f"{REFUSED}400 INVALID_ARGUMENT: StudyInstanceUID is missing",
    ),
    "409 that names a reason": (
        Reply(409, REFUSED_XML, "application/dicom+xml"),
        0xC000,
        "The store refused the instance: Failure Reason 0110",
        f"{REFUSED}409, Failure Reason 0110",
    ),
    "409 without a body": (Reply(409, "", "text/plain"), 0xC000, "Http_409, Conflict", f"{REFUSED}409 Conflict"),
    "409, proven duplicate": (
        Reply(409, google_error(409, "ALREADY_EXISTS", "instance exists with other content"), JSON),
        0xC409,
        "Http_409, ALREADY_EXISTS, instance exists with other content",
        f"{REFUSED}409 ALREADY_EXISTS; spec.delivery.onConflict is Fail",
    ),
    "409 whose body names the instance as stored": (Reply(409, stored_json("@UID@")), 0, "", ""),
    "429": (
        Reply(429, google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for dicomweb_ops"), JSON),
        0xA700,
        "Http_429, RESOURCE_EXHAUSTED, Quota exceeded for dicomweb_ops",
        f"{FAILED}A700 Http_429, RESOURCE_EXHAUSTED, Quota exceeded for dicomweb_ops",
    ),
    "503": (
        Reply(503, google_error(503, "UNAVAILABLE", "The service is currently unavailable"), JSON),
        0xA700,
        "Http_503, UNAVAILABLE, The service is currently unavailable",
        f"{FAILED}A700 Http_503, UNAVAILABLE, The service is currently unavailable",
    ),
    "plain text": (Reply(500, "out of\r\ndisk\x00", "text/plain"), 0xA700, "Http_500, Internal Server Error, out of disk", ""),
    "202 that does not name it": (
        Reply(202, "", "text/plain"),
        0xA700,
        "Http_202, Accepted, the answer does not name the instance",
        f"{FAILED}A700 Http_202, Accepted, the answer does not name the instance; outcome unknown",
    ),
    "202 that names it": (Reply(202, stored_json("@UID@")), 0, "", ""),
    "200 with a failure inside": (
        Reply(200, failed_json("@UID@", 0xA900)),
        0xA900,
        "The store refused the instance: Failure Reason A900",
        f"{REFUSED}200, Failure Reason A900",
    ),
    "200 with a warning": (
        Reply(200, stored_json("@UID@", warning=0xB000)),
        0xB000,
        "Stored; the store coerced elements (B000)",
        "C-STORE from 'CT1': stored with warning B000",
    ),
    "200 with an empty body": (Reply(200, ""), 0, "", ""),
    "200 with garbage": (
        Reply(200, "\x00garbage", "text/plain"),
        0,
        "",
        "C-STORE from 'CT1': 200 with a body that cannot be read: taken as stored",
    ),
    "connection lost": (Reply(instead="reset"), 0xA700, "Unreachable, STORE closed the connection", "*; outcome unknown"),
    "and the next image is stored": (Reply(), 0, "", ""),
}


ONCE = {"logLevel": "Debug", "delivery": {"retry": {"maxAttempts": 1}}}


async def test_every_answer_of_a_store_becomes_the_documented_status_comment_and_log_line() -> None:
    instances = [generated() for _ in TABLE]
    replies = {one.sop_instance_uid: reply for one, (reply, *_) in zip(instances, TABLE.values(), strict=True)}
    for uid, reply in replies.items():
        if isinstance(reply.body, str):
            reply.body = reply.body.replace("@UID@", uid)
    # By image, not one after the other: the request that is reset may have met a connection that idled too long, and is made once more.
    async with FaultStore(reply=lambda post: replies[post.uid]) as store, Adapter(store.url, spec=ONCE) as adapter:
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        where = f"127.0.0.1:{store.port}"
        expected = [(status, comment.replace("STORE", where)) for _, status, comment, _ in TABLE.values()]
        assert dict(zip(TABLE, outcomes, strict=True)) == dict(zip(TABLE, expected, strict=True))
        assert all(len(comment) <= 64 for _, comment in outcomes)
    by_uid = {line.get("sop_instance_uid"): line for line in adapter.lines}
    for name, one in zip(TABLE, instances, strict=True):
        status, log = TABLE[name][1], TABLE[name][3]
        if log == "*; outcome unknown":
            log = f"{FAILED}A700 Unreachable, {where} closed the connection; outcome unknown"
        if log:
            line = by_uid[one.sop_instance_uid]
            assert (line["message"], line["severity"], line["status"]) == (log, "WARNING", f"{status:04X}"), name
            assert {"peer", "address", "association"} <= line.keys()
        elif not status:
            assert one.sop_instance_uid not in by_uid, name
    text = str(adapter.lines)
    assert "Test^Image" not in text
    assert "nginx" not in text


async def test_a_store_that_is_down_then_back_costs_the_sender_a_status_and_not_the_association() -> None:
    def wire(number: int) -> list[tuple[str, str, str, bytes]]:
        return [
            (one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in [generated() for _ in range(number)]
        ]

    port = free_port()
    async with Adapter(f"http://127.0.0.1:{port}/dicom-web") as adapter:
        down = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire(2))
        assert down == [(0xA700, f"Unreachable, 127.0.0.1:{port} refused the connection")] * 2
        status = await adapter.store_becomes("Unreachable")
        assert status["store"]["message"] == f"127.0.0.1:{port} refuses connections"
        assert status["verdict"] == {"level": "bad", "message": f"127.0.0.1:{port} refuses connections"}
        assert status["ready"] is True
        assert status["lastError"]["message"] == f"{FAILED}A700 Unreachable, 127.0.0.1:{port} refused the connection"
        async with FaultStore(port=port) as store:
            assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire(1)) == [(0, "")]
            assert len(store.stored) == 1
            await adapter.store_becomes("Reachable")
    messages = [line["message"] for line in adapter.lines]
    assert messages.count(f"127.0.0.1:{port} refuses connections") == 1
    assert any(message.startswith("the store answers again after ") for message in messages)
    assert messages.count(f"{FAILED}A700 Unreachable, 127.0.0.1:{port} refused the connection") == 2  # the second one held back to the end


async def test_a_connection_that_the_store_closes_at_the_moment_of_its_reuse_costs_no_image() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        store.script.extend([Reply(), Reply(instead="reset"), Reply()])
        instances = [generated(), generated(), generated(6 << 20)]
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire) == [(0, "")] * 3
        assert [(post.complete, post.answered) for post in store.posts] == [(True, 200), (True, None), (True, 200), (True, 200)]
        assert store.posts[1].part == store.posts[2].part
        assert store.posts[3].headers["Connection"] == "close"


async def test_a_host_name_that_does_not_exist() -> None:
    async with Adapter("http://pacs.invalid/dicom-web") as adapter:
        one = generated()
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set)]
        outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        assert outcomes == [(0xA700, "Unreachable, DNS: pacs.invalid not found")]
        status = await adapter.store_becomes("Unreachable")
    assert (
        status["store"]["message"] == "'pacs.invalid' cannot be resolved in the pod (NXDOMAIN): check spec.dicomStore and the cluster's DNS"
    )


@pytest.mark.parametrize("size", [1024, 6 << 20])
async def test_a_store_that_does_not_answer_in_time(size: int) -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"delivery": {"timeoutSeconds": 3}}) as adapter:
        store.script.append(Reply(instead="never answer"))
        instances = [generated(size), generated()]
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        assert outcomes == [(0xA700, "Store took longer than 3 s"), (0, "")]
    await adapter.line(f"{FAILED}A700 Store took longer than 3 s; outcome unknown")


async def test_a_store_that_stops_reading_in_the_middle_of_an_object_is_given_up_on() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"delivery": {"timeoutSeconds": 3}}) as adapter:
        store.script.append(Reply(instead="stop reading"))
        instances = [generated(64 << 20), generated()]
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        assert outcomes == [(0xA700, "Store took longer than 3 s"), (0, "")]
    assert any(line["message"] == f"{FAILED}A700 Store took longer than 3 s" for line in adapter.lines), adapter.lines


async def test_a_store_that_answers_before_it_has_read_a_large_object_is_believed_when_it_refuses_and_not_when_it_accepts() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        store.script.append(Reply(413, google_error(413, "INVALID_ARGUMENT", "too large"), JSON, when="before body"))
        store.script.append(Reply(200, "", when="before body"))
        instances = [generated(64 << 20), generated(64 << 20), generated()]
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        assert outcomes[1:] == [(0xA700, "Store answered before it had the whole instance"), (0, "")]
        # The server closes after such an answer: its reset may overtake the answer itself.
        assert outcomes[0] in [
            (0xC000, "Http_413, INVALID_ARGUMENT, too large"),
            (0xA700, f"Unreachable, 127.0.0.1:{store.port} closed the connection"),
        ]


async def test_dcmsend_shows_the_documented_comment(tmp_path: Path) -> None:
    def always(_: Post) -> Reply:
        return Reply(403, google_error(403, "PERMISSION_DENIED", PERMISSION), JSON)

    async with FaultStore(reply=always) as store, Adapter(store.url) as adapter:
        printed = await dcmsend(adapter.port, [write_sample("CT", tmp_path)])
    assert "DIMSE Status                  : 0x0124: Refused: Not authorized" in printed
    assert "(0000,0902) LO [Http_403, PERMISSION_DENIED, Permission healthcare.dicomStores.d]" in printed
    assert "Affected SOP Instance UID" in printed.partition("INCOMING")[2]

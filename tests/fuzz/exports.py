"""Targets: what an exporter is told and given, by whoever can publish to a topic and by a store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from dicom_adapter.config import DicomStore
from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.dimse.sopclasses import is_uid
from dicom_adapter.export import fetch, notification, pubsub
from tests.support.dicom import generated
from tests.support.exporting import part10

PATH = "projects/p/locations/l/datasets/d/dicomStores/s"
STORE = DicomStore(f"https://healthcare.googleapis.com/v1/{PATH}/dicomWeb", PATH)
RESOURCE = re.compile(r"/studies/[0-9.]{1,64}(/series/[0-9.]{1,64}(/instances/[0-9.]{1,64})?)?")
UID = "1.2.3"


def told(data: bytes) -> None:
    """A pull's answer, and the messages in it: what is asked for is below the store, or the message is unreadable."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        messages = [pubsub.Received("m", "a", data, {"action": data[:40].decode("latin-1")})]
    else:
        messages = [pubsub.received(found)] if isinstance(found, dict) else []
    for message in messages:
        assert message.published >= 0
        try:
            notice = notification.read(message.data, message.attributes, STORE)
        except notification.Unreadable:
            continue
        assert RESOURCE.fullmatch(notice.resource)
        assert len(notice.version) <= 128


def told_seeds() -> Iterator[bytes]:
    """Messages, and answers with them."""
    texts = [f"{PATH}/dicomWeb/studies/1.2/series/1.3/instances/1.4", "/studies/1.2", "studies/../x", "https://evil.example/studies/1.2"]
    yield from (text.encode() for text in texts)
    message = {"data": "c3R1ZGllcy8xLjI=", "messageId": "1", "publishTime": "2026-11-25T14:25:33.741368587Z", "attributes": {"action": "x"}}
    yield json.dumps({"ackId": "a", "deliveryAttempt": 2, "message": message}).encode()
    yield json.dumps({"message": {"data": "!", "publishTime": "0000-13-99T99:99:99.9Z", "attributes": [1]}}).encode()


def image(data: bytes) -> None:
    """What a store gives: an image with UIDs that are some, or a reason."""
    try:
        found = fetch.image(InstancePath("1.1", "1.2", UID), data, None)
    except fetch.Failed:
        return
    assert all(map(is_uid, (found.sop_class_uid, found.transfer_syntax_uid)))
    assert found.sop_instance_uid == UID
    assert 144 <= found.offset <= len(data)


def image_seeds() -> Iterator[bytes]:
    """A Part 10 stream, and pieces of one."""
    content = part10(generated(16)).replace(b"MediaStorage", b"")
    uid = content[content.index(b"\x02\x00\x03\x00UI") + 8 :]
    length = int.from_bytes(content[content.index(b"\x02\x00\x03\x00UI") + 6 :][:2], "little")
    whole = content.replace(uid[:length], UID.encode().ljust(length, b"\0"))
    yield whole
    yield whole[:300]
    yield content

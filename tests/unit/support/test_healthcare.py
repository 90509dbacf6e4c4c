"""The double of the Cloud Healthcare API is as strict as the API: what it lets pass, the API lets pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dicom_adapter.part10 import FileMeta
from tests.support import multipart
from tests.support.dicom import generated
from tests.support.faults import Reply
from tests.support.google import CLOUD_HEALTHCARE, GoogleIdentity
from tests.support.healthcare import NOT_ENABLED, READ, SCOPES_INSUFFICIENT, WRITE, HealthcareApi, denied

TYPE = 'multipart/related; type="application/dicom"; boundary=b'
HEAD = b"--b\r\nContent-Type: application/dicom\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (HEAD + b"one\r\n--b--", [b"one"]),
        (HEAD + b"one\r\n--b--\r\n", [b"one"]),
        (HEAD + b"one\r\n" + HEAD + b"two\r\n--b--\r\n", [b"one", b"two"]),
        (b"--b\r\nContent-Type: application/dicom; transfer-syntax=1.2\r\nContent-ID: 1\r\n\r\none\r\n--b--", [b"one"]),
    ],
)
def test_a_well_formed_body_is_taken_apart(body: bytes, found: list[bytes]) -> None:
    assert multipart.parts(TYPE, body) == found


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "does not begin with the boundary"),
        (b"\r\n" + HEAD + b"one\r\n--b--", "does not begin with the boundary"),
        (b"--b--\r\n", "has no parts"),
        (b"--b\nContent-Type: application/dicom\n\none\n--b--", "not followed by CRLF"),
        (HEAD + b"one", "the closing boundary is missing"),
        (HEAD + b"one\r\n--b\r\n", "the headers of a part do not end"),
        (HEAD + b"one\r\n--b--\r\nmore", "after the closing boundary"),
        (b"--b\r\nContent-Type\r\n\r\none\r\n--b--", "malformed header"),
        (b"--b\r\n\r\none\r\n--b--", "not of type application/dicom"),
        (b"--b\r\nContent-Type: image/jpeg\r\n\r\none\r\n--b--", "not of type application/dicom"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(multipart.NotMultipart, match=why):
        multipart.parts(TYPE, body)


@pytest.mark.parametrize(
    "content_type", ["application/dicom", TYPE.replace("boundary=b", ""), TYPE.replace("application/dicom", "text/xml")]
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(multipart.WrongType):
        multipart.parts(content_type, HEAD + b"one\r\n--b--")


def part10(size: int = 64) -> tuple[str, bytes]:
    one = generated(size)
    meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", "TEST")
    return one.sop_instance_uid, meta.encode() + one.data_set


class Client:
    """What a client of the API would send."""

    def __init__(self, api: HealthcareApi, session: aiohttp.ClientSession) -> None:
        self.api = api
        self.session = session
        self.token = api.identity.issue("a@p.iam.gserviceaccount.com", [CLOUD_HEALTHCARE])

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, bytes]:
        sent = {"Authorization": f"Bearer {self.token}", **{key.replace("_", "-"): value for key, value in headers.items()}}
        async with self.session.request(method, f"{self.api.url}/{path}", data=body, headers=sent) as answer:
            return answer.status, answer.content_type, await answer.read()

    async def store(self, *contents: bytes, path: str = "studies") -> tuple[int, str, bytes]:
        body = b"".join(HEAD + content + b"\r\n" for content in contents) + b"--b--\r\n"
        return await self.ask("POST", path, body, Content_Type=TYPE, Accept="application/dicom+json")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with GoogleIdentity() as identity, HealthcareApi(identity) as api, aiohttp.ClientSession() as session:
        yield Client(api, session)


async def test_equal_bytes_are_stored_once_and_other_bytes_conflict(client: Client) -> None:
    uid, content = part10()
    for _ in range(2):
        status, _, body = await client.store(content)
        assert (status, uid in body.decode()) == (200, True)
    status, kind, body = await client.store(content.replace(b"Test^Image", b"Test^Other"))
    assert (status, kind) == (409, "application/dicom+xml")
    assert b'keyword="FailureDetail"><Value number="1">instance already exists' in body
    assert client.api.instances.by_uid()[uid].content == content
    status, _, body = await client.store(part10()[1], content.replace(b"Test^Image", b"Test^Other"))
    assert (status, len(client.api.instances)) == (202, 2)


async def test_what_is_no_instance_is_refused(client: Client) -> None:
    _, content = part10()
    assert (await client.store(b"no DICOM"))[0] == 409
    assert (await client.store(content[:600]))[0] in (400, 409)
    assert (await client.store(content, path="studies/1.2.3"))[0] == 409
    assert (await client.ask("POST", "studies", content, Content_Type="application/dicom"))[0] == 415
    assert len(client.api.instances) == 0


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"token": "none"}, 401, "Request had invalid authentication credentials"),
        ({"scopes": ["https://www.googleapis.com/auth/devstorage.read_only"]}, 403, SCOPES_INSUFFICIENT),
        ({"enabled": False}, 403, NOT_ENABLED),
        ({"permissions": {READ}}, 403, "Permission healthcare.dicomStores.dicomWebWrite denied on resource"),
        ({"path": "projects/p/locations/europe-west4/datasets/d/dicomStores/other"}, 404, "dicomStore not found"),
        ({"quota": 0}, 429, "RESOURCE_EXHAUSTED"),
    ],
)
async def test_the_front_door(client: Client, change: dict[str, Any], status: int, text: str) -> None:
    address = client.api.url
    for name, value in change.items():
        if name == "token":
            client.token = value
        elif name == "scopes":
            client.token = client.api.identity.issue("a@p.iam.gserviceaccount.com", value)
        else:
            setattr(client.api, name, value)
    body = HEAD + part10()[1] + b"\r\n--b--\r\n"
    headers = {"Authorization": f"Bearer {client.token}", "Content-Type": TYPE}
    async with client.session.post(f"{address}/studies", data=body, headers=headers) as answer:
        assert (answer.status, text in (await answer.json())["error"]["message"] + await answer.text()) == (status, True)
    assert len(client.api.instances) == 0


async def test_a_store_below_a_foreign_dataset_is_not_told_from_one_that_does_not_exist(client: Client) -> None:
    url = client.api.url.replace("/datasets/d/", "/datasets/typo/")
    async with client.session.get(f"{url}/studies", headers={"Authorization": f"Bearer {client.token}"}) as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["message"] == denied(READ, client.api.path.replace("/datasets/d/", "/datasets/typo/"))
    assert WRITE in client.api.permissions


async def test_search_retrieve_and_delete(client: Client) -> None:
    (uid, content), (other, another) = part10(), part10()
    await client.store(content, another)
    assert (await client.ask("GET", "studies?PatientID=NOBODY"))[0] == 204
    _, _, body = await client.ask("GET", f"instances?SOPInstanceUID={uid}&limit=5")
    assert uid in body.decode()
    assert other not in body.decode()
    for query in ("SOPClassUID=1.2", "limit=5001", "offset=1000001", "NoSuchKeyword=1"):
        assert (await client.ask("GET", f"studies?{query}"))[0] == 400, query
    path = client.api.instances.by_uid()[uid].path
    assert (await client.ask("GET", path, Accept="application/dicom; transfer-syntax=*"))[2] == content
    assert (await client.ask("GET", path, Accept="application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"))[0] == 406
    status, _, body = await client.ask("GET", path, Accept='multipart/related; type="application/dicom"; transfer-syntax=*')
    assert (status, content in body) == (200, True)
    assert (await client.ask("DELETE", path))[0] == 200
    assert (await client.ask("DELETE", path))[0] == 404
    assert [one.uid for one in client.api.instances] == [other]


async def test_a_scripted_fault_spoils_the_answer_or_comes_instead_of_it(client: Client) -> None:
    uid, content = part10()
    for reply in (Reply(instead="reset"), Reply(instead="garbage"), Reply(instead="reset", when="mid body")):
        client.api.script.append(reply)
        with pytest.raises(aiohttp.ClientError):
            await client.store(content + bytes(2048))
    assert len(client.api.instances) == 0
    for reply in (Reply(instead="reset", keeps=True), Reply(instead="truncate")):
        client.api.script.append(reply)
        with pytest.raises(aiohttp.ClientError):
            await client.store(content)
        assert client.api.instances.by_uid()[uid].content == content
    for reply in (Reply(instead="read slowly", delay=0.001), Reply(), Reply(instead="half-close")):
        client.api.script.append(reply)
        assert (await client.store(content))[0] == 200

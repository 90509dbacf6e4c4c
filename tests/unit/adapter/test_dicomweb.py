"""Search, retrieval, deletion, and a request's way: paging, bounds, redirects within the origin, proxies, other credentials after a 401."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_adapter.auth.tls import StoreTls
from dicom_adapter.check import check
from dicom_adapter.dicomweb import client as client_module
from dicom_adapter.dicomweb.client import DicomwebClient, InstancePath, Refusal
from dicom_adapter.dicomweb.errors import BrokenAnswer, StoreUnreachable
from dicom_adapter.dicomweb.multipart import NotMultipart, PartBegins, PartsReader
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies
from dicom_adapter.dicomweb.upload import Part, Upload
from dicom_adapter.document import load
from dicom_adapter.environment import Environment
from tests.support import faults, multipart
from tests.support.google import CLOUD_HEALTHCARE, GoogleIdentity
from tests.support.healthcare import HealthcareApi
from tests.support.store import FaultStore, Reply

PATH = InstancePath("1.2", "1.2.3", "1.2.3.4")
MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'


class Requests:
    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        self.ended.append((method, code))


class Credentials:
    """A token that changes once the store has refused it, as often as there are others."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.refusals = 0

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    async def refused(self, headers: Mapping[str, str]) -> bool:
        self.refusals += 1
        if len(self.tokens) > 1:
            self.tokens.pop(0)
            return True
        return False


def client(url: str, proxies: Proxies = NO_PROXIES, credentials: Credentials | None = None) -> DicomwebClient:
    known = credentials or Credentials("x")
    return DicomwebClient(
        url,
        headers=known.headers,
        refused=known.refused,
        tls=StoreTls(None).context,
        observer=Requests(),
        connections=4,
        user_agent="test",
        proxies=proxies,
    )


@asynccontextmanager
async def server(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    return app


def told(uid: str) -> dict[str, Any]:
    return {"00080018": {"vr": "UI", "Value": [uid]}}


async def found(adapter: DicomwebClient, page: int = 3) -> list[str]:
    return [match["00080018"]["Value"][0] async for match in adapter.find("/instances", [("StudyInstanceUID", "1.2")], page=page)]


# -- QIDO-RS ---------------------------------------------------------------------------------------


async def test_a_search_goes_on_page_by_page_until_one_is_empty() -> None:
    asked: list[tuple[str, str]] = []

    async def search(request: web.Request) -> web.Response:
        limit, offset = int(request.query["limit"]), int(request.query["offset"])
        asked.append((request.path, str(request.query["StudyInstanceUID"])))
        matches = [told(str(number)) for number in range(8)][offset : offset + min(limit, 2)]  # the store's own limit is lower
        return web.json_response(matches) if matches else web.Response(status=204)

    async with server(answering(search)) as url, client(f"{url}/base") as adapter:
        assert await found(adapter) == [str(number) for number in range(8)]
    assert asked == [("/base/instances", "1.2")] * 5


async def test_a_store_that_knows_no_offset_is_not_asked_for_ever() -> None:
    async def search(_: web.Request) -> web.Response:
        return web.json_response([told("1"), told("2")])

    async with server(answering(search)) as url, client(url) as adapter:
        assert await found(adapter) == ["1", "2"]


async def test_what_is_no_element_is_left_out() -> None:
    odd = {"00080005": 1, "00080050": {"vr": "SH", "Value": "A1"}, "00080052": None, "00080056": {"vr": "CS"}, "00080060": {"Value": None}}

    async def search(_: web.Request) -> web.Response:
        return web.json_response([told("1") | odd])

    async with server(answering(search)) as url, client(url) as adapter:
        assert await adapter.page("/studies", [], 1) == [told("1") | {"00080056": {"vr": "CS"}, "00080060": {"Value": None}}]


@pytest.mark.parametrize("body", [b"", b" \n", b"[]"])
async def test_nothing_found(body: bytes) -> None:
    async with FaultStore() as store, client(store.url) as adapter:
        store.search_reply = Reply(body=body)
        assert [match async for match in adapter.find("/studies", [])] == []


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(body=b"{"), "a search result that is no JSON"),
        (Reply(body=b"[" * 100_000), "a search result that is no JSON"),
        (Reply(body=b"{}"), "a search result that is no list of data sets"),
        (Reply(body=b"[1]"), "a search result that is no list of data sets"),
        (Reply(body=b"[" + b" " * 2000 + b"]"), "a search result that breaks off or is too long"),
        (Reply(body=b"[{}, {}]", instead="truncate"), "a search result that breaks off or is too long"),
    ],
)
async def test_a_search_result_that_is_none(reply: Reply, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAXIMUM_PAGE", 1000)
    async with FaultStore() as store, client(store.url) as adapter:
        store.search_reply = Reply(reply.status, reply.body if reply.body != b"[" * 100_000 else b"[" * 999, instead=reply.instead)
        with pytest.raises(BrokenAnswer, match=f"^{why}$"):
            _ = [match async for match in adapter.find("/studies", [])]


async def test_a_search_that_is_refused_keeps_the_answer() -> None:
    async with FaultStore() as store, client(store.url) as adapter:
        store.search_reply = Reply(403, b"no")
        with pytest.raises(Refusal) as caught:
            _ = [match async for match in adapter.find("/studies", [])]
        assert (caught.value.answer.status, caught.value.answer.body) == (403, b"no")


# -- WADO-RS, DELETE, several instances in one STOW-RS ----------------------------------------------


def part10(number: int, study: str = "1.2") -> bytes:
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"1.2.3.{number}"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.PatientID = study, "1.2.3", "T"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


@pytest.mark.parametrize("known", [True, False])
async def test_several_instances_are_stored_in_one_request_retrieved_and_deleted(known: bool) -> None:
    contents = [part10(number) for number in range(4, 7)]
    async with GoogleIdentity() as identity, HealthcareApi(identity) as api:
        token = Credentials(identity.issue("a@p.iam.gserviceaccount.com", [CLOUD_HEALTHCARE]))
        async with client(api.url, credentials=token) as adapter:
            upload = Upload(*(Part(pieces(one[:100], one[100:]), len(one) if known else None) for one in contents))
            assert (await adapter.store(upload)).status == 200
            assert api.posts[0].chunked is not known
            assert len(api.instances) == 3
            async with adapter.retrieve(PATH) as stream:
                assert b"".join([piece async for piece in stream]) == contents[0]
            assert (await adapter.delete(PATH)).status == 200
            assert len(api.instances) == 2
            with pytest.raises(Refusal):
                async with adapter.retrieve(PATH) as stream:
                    pass


BODY = b"--b\r\nContent-Type: application/dicom\r\n\r\nINSTANCE\r\n--b--\r\n"
BROKEN = {
    "no closing boundary": (BODY[:-6], MULTIPART, "it ends before its closing boundary"),
    "two instances": (BODY[:-4] + BODY[3:], MULTIPART, "more than the one instance"),
    "none": (b"--b--\r\n", MULTIPART, "no instance"),
    "empty": (b"", MULTIPART, "it ends before its closing boundary"),
    "another boundary": (BODY, MULTIPART.replace("boundary=b", "boundary=c"), "it ends before its closing boundary"),
    "no boundary": (BODY, "multipart/related", "no boundary"),
    "another kind": (BODY, "multipart/mixed; boundary=b", "not multipart/related"),
    "no line after the boundary": (b"--bb\r\n\r\nx\r\n--b--", MULTIPART, "a boundary is followed by something else than a line's end"),
    "headers without end": (b"--b\r\n" + b"x: y\r\n" * 2000, MULTIPART, "the headers of a part do not end"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_body_that_is_not_whole_is_no_instance(case: str, size: int) -> None:
    body, content_type, why = BROKEN[case]
    parts = 0
    with pytest.raises((NotMultipart, AssertionError)) as caught:
        reader = PartsReader(content_type)
        for start in range(0, len(body), size):
            parts += sum(isinstance(one, PartBegins) for one in reader.feed(body[start : start + size]))
        reader.finish()
        raise AssertionError({0: "no instance", 2: "more than the one instance"}[parts])
    assert str(caught.value) == why


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_parts_are_read_however_they_are_cut(size: int) -> None:
    contents = [b"", b"\r\n--", b"--b--", b"\r\n\r\n", b"x" * 5000, b"\r\n--c--\r\n"]
    body = (
        b"preamble\r\n"
        + b"".join(b"--b \t\r\nA: b\r\ncontent-TYPE: application/dicom\r\n\r\n" + one + b"\r\n" for one in contents)
        + b"--b--epilogue"
    )
    reader, got, kinds = PartsReader(MULTIPART), list[bytes](), list[str]()
    for start in range(0, len(body), size):
        for one in reader.feed(body[start : start + size]):
            if isinstance(one, PartBegins):
                kinds.append(one.content_type)
                got.append(b"")
            else:
                got[-1] += one
    reader.finish()
    assert got == contents
    assert set(kinds) == {"application/dicom"}


@pytest.mark.parametrize(
    ("body", "content_type", "instead", "why"),
    [
        (BODY[:-6], MULTIPART, "", "it ends before its closing boundary"),
        (BODY[:-4] + BODY[3:], MULTIPART, "", "more than the one instance"),
        (b"--b--\r\n", MULTIPART, "", "no instance"),
        (b"x", "multipart/mixed; boundary=b", "", "not multipart/related"),
        (BODY, MULTIPART, "truncate", "an instance that breaks off"),
        (b"INSTANCE", "application/dicom", "truncate", "an instance that breaks off"),
    ],
)
async def test_what_is_retrieved_is_one_whole_instance_or_nothing(body: bytes, content_type: str, instead: str, why: str) -> None:
    async def retrieve(request: web.Request) -> web.StreamResponse:
        return await faults.answer(request, Reply(200, body, content_type, instead=instead), None)  # type: ignore[arg-type]

    async with server(answering(retrieve)) as url, client(url) as adapter:
        with pytest.raises(BrokenAnswer, match=f"^{why}$"):
            async with adapter.retrieve(PATH) as stream:
                _ = [piece async for piece in stream]


async def test_an_instance_may_come_without_an_envelope() -> None:
    async def retrieve(_: web.Request) -> web.Response:
        return web.Response(body=b"INSTANCE", content_type="application/dicom")

    async with server(answering(retrieve)) as url, client(url) as adapter, adapter.retrieve(PATH) as stream:
        assert b"".join([piece async for piece in stream]) == b"INSTANCE"


def test_the_envelope_of_several_instances_is_what_a_strict_parser_takes() -> None:
    async def whole() -> bytes:
        upload = Upload(*(Part(pieces(b"one"), 3) for _ in range(3)))
        body = b"".join([piece async for piece in upload.body()])
        assert upload.length == len(body)
        assert upload.finished
        assert multipart.parts(upload.content_type, body) == [b"one"] * 3
        return body

    assert asyncio.run(whole())


# -- redirects, credentials, proxies ---------------------------------------------------------------


async def test_a_redirect_within_the_origin_is_followed_and_one_to_another_origin_is_not() -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers.get("Authorization")))
        where = {"/old/studies": "/new/studies?limit=1", "/far/studies": "http://localhost:1/x", "/loop/studies": "/loop/studies"}
        location = where.get(request.path)
        return web.Response(status=308, headers={"Location": location}) if location else web.json_response([])

    async with server(answering(handler)) as url:
        async with client(f"{url}/old") as adapter:
            assert (await adapter.search()).status == 200
        assert [path for _, path, _ in seen] == ["/old/studies?limit=1", "/new/studies?limit=1"]
        for base in ("far", "loop"):
            async with client(f"{url}/{base}") as adapter:
                assert (await adapter.search()).status == 308
        assert [path for _, path, _ in seen[2:]] == ["/far/studies?limit=1"] + ["/loop/studies?limit=1"] + ["/loop/studies"] * 5
    assert {token for *_, token in seen} == {"Bearer x"}


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/b?c=d", "/b?c=d"),
        ("b", "/a/b"),
        ("HERE/b", "/b"),
        ("HEREx/b", ""),
        ("http://user@127.0.0.1:PORT/b", ""),
        ("https://127.0.0.1:PORT/b", ""),
        ("//127.0.0.2/b", ""),
        ("http://[", ""),
        ("file:///etc/passwd", ""),
        ("mailto:x@y", ""),
        ("", ""),
    ],
)
async def test_what_counts_as_the_same_origin(location: str, followed: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        here = f"http://127.0.0.1:{request.url.port}"
        return web.Response(
            status=307,
            headers={"Location": location.replace("HEREx", here + "1").replace("HERE", here).replace("PORT", str(request.url.port))},
        )

    async with server(answering(handler)) as url, client(f"{url}/a") as adapter:
        answer = await adapter.store(Upload(Part(pieces(b"x"), 1)))
        assert (answer.status, answer.redirect) == (307, followed)


async def test_after_a_401_a_request_is_made_once_more_if_there_are_other_credentials() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response([]) if seen[-1] == "Bearer good" else web.Response(status=401)

    async with server(answering(handler)) as url:
        async with client(url, credentials=Credentials("old", "good")) as adapter:
            assert (await adapter.search()).status == 200
        assert seen == ["Bearer old", "Bearer good"]
        bad = Credentials("bad", "worse", "good")
        async with client(url, credentials=bad) as adapter:
            assert (await adapter.search()).status == 401
        assert seen[2:] == ["Bearer bad", "Bearer worse"]
        only = Credentials("only")
        async with client(url, credentials=only) as adapter:
            assert (await adapter.search()).status == 401
            answer = await adapter.store(Upload(Part(pieces(b"x"), 1)))
        assert (answer.again, only.refusals) == (False, 2)


async def test_the_configured_proxy_is_taken_and_hears_no_token_of_an_https_store() -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, str(request.url), request.headers.get("Authorization")))
        return web.json_response([])

    async with server(answering(handler)) as url, client("http://pacs.example/dicom-web", Proxies.always(url)) as adapter:
        assert (await adapter.search()).status == 200
    assert seen == [("GET", "http://pacs.example/dicom-web/studies?limit=1", "Bearer x")]
    lines: list[bytes] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    raw = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = raw.sockets[0].getsockname()[1]
    async with raw, client("https://pacs.example/dicom-web", Proxies.always(f"http://127.0.0.1:{port}")) as adapter:
        with pytest.raises(StoreUnreachable) as caught:
            await adapter.search()
        assert caught.value.comment == f"Unreachable, the proxy 127.0.0.1:{port} answers 407"
    assert lines[0].startswith(b"CONNECT pacs.example:443 HTTP/1.1\r\n")
    assert b"Bearer" not in lines[0]
    async with client("https://pacs.example/dicom-web", Proxies.always("http://127.0.0.1:1")) as adapter:
        with pytest.raises(StoreUnreachable) as caught:
            await adapter.search()
        assert caught.value.comment == "Unreachable, the proxy 127.0.0.1:1 cannot be reached"


async def test_check_walks_to_the_proxy_and_asks_through_it(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response([]) if request.method == "GET" else web.Response(status=400)

    out = StringIO()
    async with server(answering(handler)) as url:
        config = load(f"aeTitle: GATE\ndicomStore: http://pacs.example/dicom-web\ncredentials: {{proxy: '{url}'}}", {}, aliases={})
        assert await check(config, tmp_path, out, as_json=False)
    lines = out.getvalue().splitlines()
    assert [line.split()[:2] for line in lines[1:6]] == [["ok", step] for step in ("DNS", "TCP", "credentials", "list", "write")]
    assert lines[2].endswith(f"{url.removeprefix('http://')}, the proxy")


@pytest.mark.parametrize(
    ("direct", "host", "port", "taken"),
    [
        ("", "pacs.example", 443, True),
        ("*", "pacs.example", 443, False),
        ("example", "pacs.example", 443, False),
        (".example", "pacs.example", 443, False),
        ("*.example", "PACS.example", 443, False),
        ("pacs.example", "pacs.example", 443, False),
        ("acs.example", "pacs.example", 443, True),
        ("pacs.example:8443", "pacs.example", 443, True),
        ("pacs.example:443", "pacs.example", 443, False),
        ("a, pacs.example", "pacs.example", 443, False),
        ("10.0.0.0/8", "10.4.0.9", 443, False),
        ("10.4.0.9", "10.4.0.9", 443, False),
        ("10.4.0", "10.4.0.9", 443, True),
        ("fd00::/8", "fd00::1", 443, False),
        ("[fd00::1]", "fd00::1", 443, False),
    ],
)
def test_no_proxy(direct: str, host: str, port: int, taken: bool) -> None:
    proxies = Environment.read({"https_proxy": "proxy:3128", "NO_PROXY": direct}).proxies
    assert proxies.choose("https", host, port) == ("http://proxy:3128" if taken else None)
    assert proxies.choose("http", host, port) is None
    assert Proxies.always("http://p").choose("http", host, port) == "http://p"


def test_proxies_of_the_environment() -> None:
    assert Environment.read({}).proxies == NO_PROXIES
    assert Environment.read({"HTTP_PROXY": "a", "http_proxy": "b", "HTTPS_PROXY": "c"}).proxies == Proxies("b", "c")
    assert Environment.read({"ALL_PROXY": "a"}).proxies == Proxies("a", "a")


async def test_a_path_is_quoted() -> None:
    assert str(InstancePath("1/../2", "?", "#")) == "/studies/1%2F..%2F2/series/%3F/instances/%23"
    assert json.dumps(str(PATH)) == '"/studies/1.2/series/1.2.3/instances/1.2.3.4"'

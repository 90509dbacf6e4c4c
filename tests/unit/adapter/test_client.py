"""The DICOMweb client against servers on loopback: TLS, endings, odd answers; and what each failure is called."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicom_adapter.auth.mounted import Mounted, MountedFile
from dicom_adapter.auth.tls import StoreTls
from dicom_adapter.dicomweb.client import MAXIMUM_ANSWER, Answer, DicomwebClient
from dicom_adapter.dicomweb.errors import Endpoint, Obstacle, StoreUnreachable, translate
from dicom_adapter.dicomweb.upload import Part, Upload
from tests.support.store import FaultStore, Reply

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Requests:
    """A RequestObserver that keeps what it is told."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        self.ended.append((method, code))


def client(url: str, tls: StoreTls | None = None, requests: Requests | None = None) -> DicomwebClient:
    async def headers() -> dict[str, str]:
        return {"Authorization": "Bearer x"}

    context = (tls or StoreTls(None)).context
    return DicomwebClient(url, headers=headers, tls=context, observer=requests or Requests(), connections=4, user_agent="test")


@asynccontextmanager
async def raw_server(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answers every request with these bytes and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/dicom+json\r\n\r\n[]"


def issue(directory: Path, *, names: Sequence[x509.GeneralName], days: int = 1) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate of a CA of its own, and the file of that CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital-ca")])
    start = datetime.now(UTC) - timedelta(days=2)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + timedelta(days=2 + days))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (directory / "ca.crt").write_bytes(pem)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "both.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return context, directory / "ca.crt"


LOOPBACK = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def trusting(ca: Path) -> StoreTls:
    return StoreTls(MountedFile(Mounted("ConfigMap", "hospital-ca", ca.name, ca.parent)))


async def search(url: str, tls: StoreTls | None = None) -> Answer:
    async with client(url, tls) as store:
        return await store.search()


async def fails(url: str, tls: StoreTls | None = None) -> str:
    with pytest.raises(StoreUnreachable) as caught:
        await search(url, tls)
    return caught.value.comment


async def test_a_store_with_a_certificate_of_the_bundles_ca_is_trusted_and_without_the_bundle_not(tmp_path: Path) -> None:
    context, ca = issue(tmp_path, names=LOOPBACK)
    async with raw_server(OK, context) as port:
        assert (await search(f"https://127.0.0.1:{port}", trusting(ca))).status == 200
        assert await fails(f"https://127.0.0.1:{port}") == "Unreachable, TLS: certificate of an unknown CA"


async def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    context, ca = issue(tmp_path, names=LOOPBACK, days=-1)
    async with raw_server(OK, context) as port:
        assert await fails(f"https://127.0.0.1:{port}", trusting(ca)) == "Unreachable, TLS: certificate expired"


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    context, ca = issue(tmp_path, names=[x509.DNSName("pacs.example")])
    async with raw_server(OK, context) as port:
        assert await fails(f"https://127.0.0.1:{port}", trusting(ca)) == "Unreachable, TLS: certificate for another address"
        assert await fails(f"https://localhost:{port}", trusting(ca)) == "Unreachable, TLS: certificate for another name"


async def test_a_server_that_speaks_no_tls() -> None:
    async with FaultStore() as store:
        assert await fails(f"https://127.0.0.1:{store.port}") == "Unreachable, TLS: handshake failed"


async def test_credentials_go_with_each_request_and_only_to_the_store() -> None:
    async with FaultStore() as store, client(store.url) as adapter:
        store.search_reply = Reply(307, "", headers={"Location": "http://127.0.0.1:1/"})
        assert (await adapter.search()).status == 307
        assert store.requests[0][2]["Authorization"] == "Bearer x"


async def test_an_answer_is_read_up_to_a_bound() -> None:
    async with FaultStore() as store, client(store.url) as adapter:
        store.search_reply = Reply(body=b"x" * (MAXIMUM_ANSWER + 1))
        found = await adapter.search()
        assert (len(found.body), found.truncated) == (MAXIMUM_ANSWER, True)
        store.search_reply = Reply(body=b"x" * MAXIMUM_ANSWER)
        assert not (await adapter.search()).truncated


async def test_a_compressed_answer_is_expanded_up_to_the_same_bound() -> None:
    async with FaultStore() as store, client(store.url) as adapter:
        store.search_reply = Reply(body=gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"})
        assert (await adapter.search()).body == b"[]"
        assert store.requests[0][2]["Accept-Encoding"] == "gzip"
        store.search_reply = Reply(body=gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})
        tracemalloc.start()
        found = await adapter.search()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (len(found.body), found.truncated) == (MAXIMUM_ANSWER, True)
        assert peak < 4 * MAXIMUM_ANSWER
        for encoding, body in (("gzip", b"no gzip"), ("br", b"[]"), ("gzip, gzip", b"[]")):
            store.search_reply = Reply(body=body, headers={"Content-Encoding": encoding})
            found = await adapter.search()
            assert (found.status, found.body, found.truncated) == (200, b"", True)


async def test_an_answer_that_breaks_off_keeps_its_status() -> None:
    async with raw_server(b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\nhalf") as port:
        found = await search(f"http://127.0.0.1:{port}")
        assert (found.status, found.body, found.truncated) == (503, b"half", True)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_what_is_no_http(answer: bytes) -> None:
    async with raw_server(answer) as port:
        assert await fails(f"http://127.0.0.1:{port}") == f"Unreachable, 127.0.0.1:{port} closed the connection"


async def test_requests_are_counted_by_status_or_obstacle() -> None:
    requests = Requests()
    async with FaultStore() as store:
        async with client(store.url, requests=requests) as adapter:
            await adapter.search()
        url = store.url
    async with client(url, requests=requests) as adapter:
        with pytest.raises(StoreUnreachable):
            await adapter.search()
    assert requests.ended == [("GET", "200"), ("GET", "Refused")]


async def test_an_interruption_of_the_instance_is_raised_as_it_is() -> None:
    class Interrupted(Exception):
        pass

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise Interrupted

    requests = Requests()
    async with FaultStore() as store, client(store.url, requests=requests) as adapter:
        with pytest.raises(Interrupted):
            await adapter.store(Upload(Part(pieces(), None)), fresh=True)
        await store.until(lambda: bool(store.posts))
        assert not store.posts[0].complete
    assert requests.ended == [("POST", "Interrupted")]


@pytest.mark.parametrize(
    ("error", "obstacle", "detail"),
    [
        (aiohttp.ConnectionTimeoutError(), Obstacle.SILENT, ""),
        (TimeoutError(), Obstacle.SILENT, ""),
        (aiohttp.ServerDisconnectedError(), Obstacle.LOST, ""),
        (ConnectionResetError(), Obstacle.LOST, ""),
        (ssl.SSLError(), Obstacle.TLS, "handshake failed"),
    ],
)
def test_names_of_failures(error: Exception, obstacle: Obstacle, detail: str) -> None:
    found = translate(error, Endpoint("pacs.example", 443))
    assert (found.obstacle, found.detail) == (obstacle, detail)


@pytest.mark.parametrize(
    ("error", "obstacle", "detail"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Obstacle.REFUSED, ""),
        (OSError(None, "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] …"), Obstacle.REFUSED, ""),
        (OSError(113, "No route to host"), Obstacle.NETWORK, "no route to host"),
        (OSError(101, "Network is unreachable"), Obstacle.NETWORK, "network is unreachable"),
        (TimeoutError(110, "Connection timed out"), Obstacle.SILENT, ""),
    ],
)
def test_names_of_failures_to_connect(error: OSError, obstacle: Obstacle, detail: str) -> None:
    key: object = type("Key", (), {"host": "pacs.example", "port": 443, "ssl": True})()
    found = translate(aiohttp.ClientConnectorError(key, error), Endpoint("pacs.example", 443))  # type: ignore[arg-type]
    assert (found.obstacle, found.detail) == (obstacle, detail)


async def test_the_body_of_a_request_goes_out_before_anybody_else_has_a_turn() -> None:
    class Interrupted(Exception):
        pass

    async with FaultStore() as store, client(store.url) as adapter:
        await adapter.search()  # the connection is there
        turns: list[str] = []

        async def pieces() -> AsyncIterator[bytes]:
            turns.append("the body")
            yield b"x"
            raise Interrupted

        storing = asyncio.create_task(adapter.store(Upload(Part(pieces(), 100))))
        asyncio.get_running_loop().call_soon(turns.append, "another")
        with pytest.raises(Interrupted):
            await storing
        assert turns == ["the body", "another"]

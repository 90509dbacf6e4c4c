"""The DICOMweb client: STOW-RS (PS3.18 10.5) and the QIDO-RS request of the probe (10.6), to one origin.

One request is one attempt. Redirects are not followed, answers are read up to 1 MiB; credentials are asked for each request.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from dicom_adapter.dicomweb.errors import Endpoint, StoreUnreachable, translate
from dicom_adapter.dicomweb.multipart import Envelope

MAXIMUM_ANSWER = 1 << 20
_CONNECT_SECONDS = 10.0
Headers = Callable[[], Awaitable[Mapping[str, str]]]
Tls = Callable[[], ssl.SSLContext | None]


class RequestObserver(Protocol):
    """Counts requests. Called on the event loop; must not raise."""

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """`code` is the HTTP status, or the obstacle when there was no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answered: at most MAXIMUM_ANSWER bytes of it."""

    status: int
    content_type: str
    body: bytes
    truncated: bool = False
    early: bool = False


class Upload:
    """One instance on its way into one request: it notes when the sender has given all of it, and that the request was finished."""

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None) -> None:
        self._pieces = pieces
        self._envelope = envelope = Envelope()
        self.content_type = envelope.content_type
        self.length = None if length is None else len(envelope.head) + length + len(envelope.tail)
        self.finished = False
        self.interruption: BaseException | None = None

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body. An interruption of the instance breaks the request off: neither tail nor last chunk are ever sent."""
        yield self._envelope.head
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:
            self.interruption = error
            raise
        self.finished = True
        yield self._envelope.tail


class Question(Upload):
    """A small body that stores nothing, as it is."""

    def __init__(self, content_type: str, content: bytes) -> None:
        self._content = content
        self.content_type = content_type
        self.length = len(content)
        self.finished = False
        self.interruption = None

    async def body(self) -> AsyncIterator[bytes]:
        """The content."""
        yield self._content
        self.finished = True


class _Resolver(AbstractResolver):
    """getaddrinfo in a thread; remembers addresses, so that a failure can name the one that was tried."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()
        self.addresses: dict[str, str] = {}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if found:
            self.addresses[host] = found[0]["host"]
        return found

    async def close(self) -> None:
        await self._resolver.close()


class DicomwebClient:
    """Requests to one DICOMweb service. Made and closed on the event loop that uses it."""

    def __init__(self, base_url: str, *, headers: Headers, tls: Tls, observer: RequestObserver, connections: int, user_agent: str) -> None:
        self._base = URL(base_url.rstrip("/"), encoded=True)
        self._root = self._base.raw_path.rstrip("/")
        self._headers = headers
        self._tls = tls
        self._observer = observer
        self._resolver = _Resolver()
        self._kept = self._session(connections, user_agent, keep=True)
        self._fresh = self._session(connections, user_agent, keep=False)

    def _session(self, connections: int, user_agent: str, *, keep: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, resolver=self._resolver, ttl_dns_cache=10, force_close=not keep),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            requote_redirect_url=False,
            trace_configs=[trace],
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection; a request under way ends unfinished."""
        await self._kept.close()
        await self._fresh.close()
        await self._resolver.close()

    @property
    def endpoint(self) -> Endpoint:
        """Host and port of the store, and its address as last resolved."""
        host = self._base.host or ""
        return Endpoint(host, self._base.port or 0, self._resolver.addresses.get(host, ""))

    async def store(self, upload: Upload, *, fresh: bool = False) -> Answer:
        """POST {base}/studies with one instance. Raises StoreUnreachable, or whatever interrupted the instance.

        With `fresh` it goes over a connection of its own: an upload that cannot be sent again must not meet one that the server is closing.
        """
        headers = {"Content-Type": upload.content_type, "Accept": "application/dicom+json"}
        if upload.length is not None:
            headers["Content-Length"] = str(upload.length)
        try:
            return await self._request("POST", f"{self._root}/studies", headers, upload, self._fresh if fresh else self._kept)
        except StoreUnreachable:
            if upload.interruption is not None:
                raise upload.interruption from None
            raise

    async def search(self) -> Answer:
        """GET {base}/studies?limit=1: the cheapest question that shows that the store is there and lets us in."""
        return await self._request("GET", f"{self._root}/studies?limit=1", {"Accept": "application/dicom+json"}, None, self._kept)

    async def ask(self, path: str, question: Question) -> Answer:
        """POST to any path of the store's origin: to learn what the store would allow."""
        headers = {"Content-Type": question.content_type, "Content-Length": str(question.length), "Accept": "application/json"}
        return await self._request("POST", path, headers, question, self._kept)

    async def _request(
        self, method: str, path: str, headers: Mapping[str, str], upload: Upload | None, session: aiohttp.ClientSession
    ) -> Answer:
        started, code = time.monotonic(), "Cancelled"
        try:
            answer = await self._exchange(method, path, {**headers, **await self._headers()}, upload, session)
            code = str(answer.status)
            return answer
        except StoreUnreachable as error:
            code = str(error.obstacle) if upload is None or upload.interruption is None else "Interrupted"
            raise
        except Exception:
            code = "NotSent"  # no credentials
            raise
        finally:
            self._observer.request_ended(method, code, time.monotonic() - started)

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], upload: Upload | None, session: aiohttp.ClientSession
    ) -> Answer:
        url = URL(str(self._base.origin()) + path, encoded=True)
        tls = self._tls()
        connection = _Connection()
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=upload.body() if upload else None,
                allow_redirects=False,
                ssl=True if tls is None else tls,
                trace_request_ctx=connection,
            ) as response:
                # An answer that comes before the whole instance went out may judge it, but cannot have stored it.
                early = upload is not None and not upload.finished
                try:
                    body, truncated = await _bounded(response)
                except BaseException:
                    response.close()  # a mere release would let the upload go on
                    raise
                if early or truncated:
                    response.close()
                return Answer(response.status, response.headers.get("Content-Type", ""), body, truncated, early)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise translate(error, self.endpoint, kept=connection.kept) from error


@dataclass(slots=True)
class _Connection:
    """Whether a request went over a connection that had served another one."""

    kept: bool = False


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams) -> None:
    context.trace_request_ctx.kept = True


async def _bounded(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body up to the cap, and whether there was more. What was read of a body that breaks off is enough: its status has come."""
    read = bytearray()
    try:
        async for piece in response.content.iter_chunked(1 << 16):
            read += piece
            if len(read) > MAXIMUM_ANSWER:
                return bytes(read[:MAXIMUM_ANSWER]), True
    except (aiohttp.ClientError, TimeoutError, OSError):
        return bytes(read), True
    return bytes(read), False

"""HTTP towards one origin over aiohttp: connections that are kept or used once, proxies, compressed answers, and names for failures.

A request goes to the base URL's origin or nowhere: credentials are added here, so they cannot leave for another one.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.resolver import ThreadedResolver
from aiohttp.tracing import Trace
from yarl import URL

from dicom_adapter.dicomweb.eager import begun
from dicom_adapter.dicomweb.errors import Endpoint, StoreUnreachable, translate
from dicom_adapter.dicomweb.proxies import Proxies
from dicom_adapter.dicomweb.upload import Upload

# Who stores keeps a deadline of his own: the answer is waited for from the last fragment on, however long that takes to come.
_UPLOAD = aiohttp.ClientTimeout(total=None, sock_connect=10.0)
_DOWNLOAD = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
_PIECE = 1 << 16
Headers = Callable[[], Awaitable[Mapping[str, str]]]
Refused = Callable[[Mapping[str, str]], Awaitable[bool]]
Tls = Callable[[], ssl.SSLContext | None]


class RequestObserver(Protocol):
    """Counts requests. Called on the event loop; must not raise."""

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """`code` is the HTTP status, or the obstacle when there was no answer."""


class Response:
    """An answer whose body is still to be read. `again`: it is a 401, and there are other credentials by now."""

    def __init__(self, response: aiohttp.ClientResponse, origin: URL, *, early: bool, again: bool) -> None:
        self._response = response
        self._origin = origin
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self.retry_after = response.headers.get("Retry-After", "")
        self.early = early
        self.again = again

    @property
    def redirect(self) -> str:
        """Path and query that a redirect names on the same origin; empty when there is none, or it leads elsewhere."""
        location = self._response.headers.get("Location", "")
        if not 300 <= self.status < 400 or not location:
            return ""
        try:
            target = self._response.url.join(URL(location, encoded=True))
            return target.raw_path_qs if target.origin() == self._origin and not target.user else ""
        except ValueError:  # no URL, or one without an origin
            return ""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, decompressed, in pieces of at most 64 KiB. Raises what aiohttp raises, and BadEncoding."""
        encoding = self._response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding in ("identity", ""):
            async for piece in self._response.content.iter_chunked(_PIECE):
                yield piece
            return
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BadEncoding
        inflating = zlib.decompressobj(zlib.MAX_WBITS | 32)
        async for piece in self._response.content.iter_chunked(_PIECE):
            rest = piece
            while rest:
                try:
                    found = inflating.decompress(rest, _PIECE)
                except zlib.error as error:
                    raise BadEncoding from error
                rest = inflating.unconsumed_tail
                if found:
                    yield found

    async def bounded(self, maximum: int) -> tuple[bytes, bool]:
        """The body up to `maximum` bytes, and whether there was more. Of a body that breaks off what came is enough: we have its status."""
        read = bytearray()
        try:
            async with contextlib.aclosing(self.chunks()) as chunks:
                async for piece in chunks:
                    read += piece
                    if len(read) > maximum:
                        return bytes(read[:maximum]), True
        except (aiohttp.ClientError, TimeoutError, OSError, BadEncoding):
            return bytes(read), True
        return bytes(read), False

    def close(self) -> None:
        """Gives the connection up: a mere release would let an upload go on."""
        self._response.close()


class BadEncoding(Exception):
    """A Content-Encoding that was not asked for, or a body that is not in it."""


@dataclass(slots=True)
class _Connection:
    """Whether a request went over a connection that had served another one."""

    kept: bool = False


_connection: ContextVar[_Connection] = ContextVar("connection of the request under way")


class _Connector(aiohttp.TCPConnector):
    """Notes which requests get a connection that is not new. aiohttp's tracing would tell as well, at a tenth of the cost of a request."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- as it is in the base class
    ) -> Connection:
        found = await super().connect(req, traces, timeout)
        if (protocol := found.protocol) is not None:
            _connection.get().kept = protocol in self._known
            self._known.add(protocol)
        return found


class _Request(aiohttp.ClientRequest):
    """Its body goes out at once, and not when everybody else has had a turn: where there are eager tasks aiohttp sees to that itself.

    Of many images that come in one moment the first would otherwise be sent when the last one has been made ready.
    """

    if sys.version_info < (3, 12):

        def write_bytes(
            self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
        ) -> Coroutine[Any, Any, None]:
            return begun(super().write_bytes(writer, conn, content_length))


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


async def _no_others(_: Mapping[str, str]) -> bool:
    return False


class Transport:
    """Requests below one base URL. Made and closed on the event loop that uses it.

    `headers` gives the credentials for each request; `refused` hears that the store has not accepted them, and tells whether there are
    others.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Headers,
        refused: Refused | None,
        tls: Tls,
        observer: RequestObserver,
        connections: int,
        user_agent: str,
        proxies: Proxies,
    ) -> None:
        self.base = URL(base_url.rstrip("/"), encoded=True)
        self._headers = headers
        self._refused = refused or _no_others
        self._tls = tls
        self._observer = observer
        self.proxy = proxies.choose(self.base.scheme, self.base.host or "", self.base.port or 0) or ""
        self._resolver = _Resolver()
        self._kept = self._session(connections, user_agent, keep=True)
        self._fresh = self._session(connections, user_agent, keep=False)

    def _session(self, connections: int, user_agent: str, *, keep: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            request_class=_Request,
            connector=_Connector(limit=connections, resolver=self._resolver, ttl_dns_cache=10, force_close=not keep),
            headers={"User-Agent": user_agent},
            skip_auto_headers=("Accept-Encoding",),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            requote_redirect_url=False,
        )

    async def close(self) -> None:
        """Closes every connection; a request under way ends unfinished."""
        await self._kept.close()
        await self._fresh.close()
        await self._resolver.close()

    @property
    def endpoint(self) -> Endpoint:
        """Host and port of the store, and its address as last resolved."""
        host = self.base.host or ""
        return Endpoint(host, self.base.port or 0, self._resolver.addresses.get(host, ""))

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, path: str, headers: Mapping[str, str], upload: Upload | None = None, *, fresh: bool = False
    ) -> AsyncIterator[Response]:
        """One request, counted when the block is left; `path` is below the origin. Raises StoreUnreachable."""
        started, code = time.monotonic(), "Cancelled"
        try:
            credentials = await self._headers()
            wanted = {"Accept-Encoding": "identity" if upload else "gzip", **headers, **credentials}
            async with self._exchange(method, path, wanted, credentials, upload, fresh=fresh) as response:
                code = str(response.status)
                yield response
        except StoreUnreachable as error:
            code = str(error.obstacle) if upload is None or upload.interruption is None else "Interrupted"
            raise
        except Exception:
            code = "NotSent" if code == "Cancelled" else code  # no credentials
            raise
        finally:
            self._observer.request_ended(method, code, time.monotonic() - started)

    @contextlib.asynccontextmanager
    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], credentials: Mapping[str, str], upload: Upload | None, *, fresh: bool
    ) -> AsyncIterator[Response]:
        tls = self._tls()
        connection = _Connection()
        _connection.set(connection)
        answered = False
        try:
            async with (self._fresh if fresh else self._kept).request(
                method,
                URL(str(self.base.origin()) + path, encoded=True),
                headers=headers,
                data=upload.body() if upload else None,
                allow_redirects=False,
                ssl=True if tls is None else tls,
                proxy=self.proxy or None,
                timeout=_UPLOAD if upload else _DOWNLOAD,
            ) as response:
                answered = True
                # An answer that comes before the whole instance went out may judge it, but cannot have stored it.
                early = upload is not None and not upload.finished
                try:
                    again = response.status == 401 and await self._refused(credentials)
                    found = Response(response, self.base.origin(), early=early, again=again)
                    yield found
                except BaseException:
                    response.close()
                    raise
                if early:
                    response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if answered and not isinstance(error, aiohttp.ClientError | TimeoutError):
                raise
            raise translate(error, self.endpoint, kept=connection.kept and not answered, proxy=self.proxy) from error

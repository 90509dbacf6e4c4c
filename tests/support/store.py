"""A DICOMweb store for tests: strict about what it is sent, obedient about what it answers."""

from __future__ import annotations

import asyncio
import email.message
import hashlib
import json
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from tests.support import faults
from tests.support.dicom import split
from tests.support.faults import TOLD, Reply

__all__ = ["TOLD", "FaultStore", "Post", "Reply", "StrictPart", "failed_json", "google_error", "stored_json"]


def stored_json(uid: str, *, warning: int | None = None) -> str:
    """A Store Instances Response (PS3.18 I.2) with one stored instance."""
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return json.dumps({"00081199": {"vr": "SQ", "Value": [item]}})


def failed_json(uid: str, reason: int | None, detail: str = "") -> str:
    """A Store Instances Response with one failure, and what a store may say of it in a private element."""
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if reason is not None:
        item["00081197"] = {"vr": "US", "Value": [reason]}
    if detail:
        item |= {"00090010": {"vr": "LO", "Value": ["A STORE"]}, "00091097": {"vr": "LO", "Value": [detail]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}})


def google_error(code: int, status: str, message: str) -> str:
    """An error answer of a Google API."""
    return json.dumps({"error": {"code": code, "message": message, "status": status}})


@dataclass(slots=True)
class Post:
    """One POST to /studies: how it was framed, what came, and whether it was complete and well-formed."""

    headers: dict[str, str]
    chunked: bool
    size: int = 0
    digest: str = ""
    uid: str = ""
    start: bytes = b""
    part: bytes = b""
    complete: bool = False
    answered: int | None = None


class StrictPart:
    """Takes apart a multipart/related body (RFC 2387) with exactly one application/dicom part, piece by piece."""

    def __init__(self, content_type: str, *, keep: bool) -> None:
        header = email.message.Message()
        header["Content-Type"] = content_type
        if header.get_content_type() != "multipart/related" or header.get_param("type") != "application/dicom":
            raise ValueError(f"not a STOW body: {content_type}")
        boundary = str(header.get_param("boundary"))
        self._head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._pending = b""
        self._begun = False
        self._keep = keep
        self._kept: list[bytes] = []
        self._digest = hashlib.sha256()
        self.start = b""
        self.size = 0

    def feed(self, data: bytes) -> None:
        """More of the body."""
        self._pending += data
        if not self._begun:
            if len(self._pending) < len(self._head):
                return
            if not self._pending.startswith(self._head):
                raise ValueError(f"bad head: {self._pending[:200]!r}")
            self._begun, self._pending = True, self._pending[len(self._head) :]
        if len(self._pending) > len(self._tail):
            self._take(self._pending[: -len(self._tail)])
            self._pending = self._pending[-len(self._tail) :]

    def _take(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)
        if len(self.start) < 4096:
            self.start += data[: 4096 - len(self.start)]
        if self._keep:
            self._kept.append(data)

    def finish(self) -> tuple[bytes, str]:
        """The part and its SHA-256; ValueError when the closing boundary is missing."""
        if not self._begun or self._pending != self._tail:
            raise ValueError(f"no closing boundary, but {self._pending[-80:]!r}")
        return b"".join(self._kept), self._digest.hexdigest()


class FaultStore:
    """An HTTP server on loopback with a script of replies; without one it stores. Async context manager on the test's own loop."""

    def __init__(
        self, *, keep: bool = True, host: str = "127.0.0.1", port: int = 0, reply: Callable[[Post], Reply | None] | None = None
    ) -> None:
        self.script: deque[Reply] = deque()
        self.search_reply = Reply(body="[]")
        self.write_reply = Reply(400, "no instance", "text/plain")
        self.posts: list[Post] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.errors: list[str] = []
        self.host = host
        self.port = port
        self.keep_alive_seconds = 75.0
        self._reply = reply
        self._keep = keep
        self._tls: ssl.SSLContext | None = None
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 40)
        self._routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=self.keep_alive_seconds)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    def _routes(self, app: web.Application) -> None:
        app.router.add_post("/dicom-web/studies", self._store)
        app.router.add_get("/dicom-web/studies", self._search)

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()
        assert not self.errors, self.errors

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.host}:{self.port}/dicom-web"

    @property
    def stored(self) -> dict[str, Post]:
        """Complete requests that were answered with 200, by instance UID."""
        return {post.uid: post for post in self.posts if post.complete and post.answered == 200}

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Waits for a condition on what was received."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _search(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        return await faults.answer(request, self.search_reply, None)

    def _note(self, request: web.Request) -> None:
        """Keeps what was asked."""
        self.requests.append((request.method, request.path_qs, dict(request.headers)))
        self._changed.set()

    async def _store(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if "boundary=nothing" in request.headers["Content-Type"]:  # a question whether we may write, no upload
            await request.read()
            return await faults.answer(request, self.write_reply, None)
        post = Post(dict(request.headers), chunked="Content-Length" not in request.headers)
        self.posts.append(post)
        reply = self.script.popleft() if self.script else None
        try:
            if reply is None or not await faults.before_body(request, reply):
                await self._read(request, post, reply)
                reply = reply or (self._reply(post) if self._reply else None) or Reply()
            if not reply.instead or reply.instead in ("half-close", "read slowly"):
                post.answered = reply.status
            named = stored_json(post.uid).encode() if reply.status == 200 and post.complete else None
            return await faults.answer(request, reply, named)
        except ValueError as error:
            self.errors.append(str(error))
            return web.Response(status=400)
        finally:
            self._changed.set()

    async def _read(self, request: web.Request, post: Post, reply: Reply | None) -> None:
        part = StrictPart(request.headers["Content-Type"], keep=self._keep)
        async for data in request.content.iter_any():
            part.feed(data)
            post.size = part.size
            self._changed.set()
            await faults.pause(reply, len(data))
        post.part, post.digest = part.finish()
        post.start = part.start
        post.uid = str(split(part.start)[0].MediaStorageSOPInstanceUID)
        post.complete = True

"""A DICOMweb store that takes several instances in a request, judges each by rules, and keeps the history of what it got."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from tests.support import multipart
from tests.support.dicom import split


@dataclass(frozen=True, slots=True)
class Got:
    """One request: when it came (`time.monotonic`), the instances in it, and what it was answered."""

    time: float
    uids: tuple[str, ...]
    status: int


@dataclass(slots=True)
class Archive:
    """Async context manager on loopback. What it answers can be changed at any time.

    `outage`: an HTTP status for every request, with `headers`. `refuses`: by UID the Failure Reason. `fails`: by UID an HTTP status for
    the whole request that holds it. `delay`: seconds before each answer. `silent`: 200 with an empty body. `several`: whether more than
    one instance in a request is taken, else 400.
    """

    outage: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, int] = field(default_factory=dict)
    fails: dict[str, int] = field(default_factory=dict)
    delay: float = 0.0
    silent: bool = False
    several: bool = True
    port: int = 0
    got: list[Got] = field(default_factory=list)
    digests: dict[str, Counter[str]] = field(default_factory=dict)
    under_way: int = 0
    most_under_way: int = 0
    _runner: web.AppRunner | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 40)
        app.router.add_post("/dicom-web/studies", self._store)
        app.router.add_get("/dicom-web/studies", self._search)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    @property
    def stored(self) -> set[str]:
        """The UIDs that it has."""
        return set(self.digests)

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Waits for a condition on what came."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _search(self, _: web.Request) -> web.Response:
        return web.Response(status=self.outage or 200, text="[]", content_type="application/dicom+json")

    async def _store(self, request: web.Request) -> web.Response:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(request)
        finally:
            self.under_way -= 1
            self._changed.set()

    async def _answer(self, request: web.Request) -> web.Response:
        came, body = time.monotonic(), await request.read()
        if "boundary=nothing" in request.headers["Content-Type"]:  # the probe's question whether we may write
            return web.Response(status=self.outage or 400, text="no instance")
        contents = multipart.parts(request.headers["Content-Type"], body)
        uids = tuple(str(split(content[:4096])[0].MediaStorageSOPInstanceUID) for content in contents)
        if self.delay:
            await asyncio.sleep(self.delay)
        status = self.outage or next((self.fails[uid] for uid in uids if uid in self.fails), 0)
        if not status and len(uids) > 1 and not self.several:
            status = 400
        if status:
            self.got.append(Got(came, uids, status))
            return web.Response(status=status, headers=self.headers)
        for uid, content in zip(uids, contents, strict=True):
            if uid not in self.refuses:
                self.digests.setdefault(uid, Counter())[hashlib.sha256(content).hexdigest()] += 1
        refused = [uid for uid in uids if uid in self.refuses]
        code = 200 if not refused else 409 if len(refused) == len(uids) else 202
        self.got.append(Got(came, uids, code))
        return web.Response(status=code, body=None if self.silent else self._told(uids), content_type="application/dicom+json")

    def _told(self, uids: tuple[str, ...]) -> bytes:
        """The Store Instances Response (PS3.18 I.2)."""

        def item(uid: str, reason: int | None = None) -> dict[str, object]:
            named: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
            return named if reason is None else {**named, "00081197": {"vr": "US", "Value": [reason]}}

        stored = [item(uid) for uid in uids if uid not in self.refuses]
        failed = [item(uid, self.refuses[uid]) for uid in uids if uid in self.refuses]
        told = {"00081199": stored, "00081198": failed}
        return json.dumps({tag: {"vr": "SQ", "Value": items} for tag, items in told.items() if items}).encode()

"""A DICOMweb archive for tests of retrievals: instances that are generated as they are sent, latency, and faults by instance."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from aiohttp import web

from dicom_adapter.part10 import FileMeta
from tests.support.dicom import Instance, generated

Fault = Literal["404", "503", "403", "break off", "never answer", "other instance", "garbage"]
BLOCK = random.Random(1).randbytes(1 << 16)


@dataclass(slots=True)
class Kept:
    """One instance. `repeat`: its data set is followed by so many times BLOCK."""

    study: str
    series: str
    instance: Instance
    repeat: int = 0

    @property
    def meta(self) -> bytes:
        """The file meta information."""
        one = self.instance
        return FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", "TEST").encode()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its Part 10 stream."""
        yield self.meta + self.instance.data_set
        for _ in range(self.repeat):
            yield BLOCK


@dataclass
class Archive:
    """Serves what is in `kept`. `faults`: what happens to the next requests for an instance; those for a series under its UID."""

    delay: float = 0.0
    per_page: int = 50_000
    kept: list[Kept] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    search_fault: int = 0
    requests: list[str] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)
    most: int = 0
    ignores_parameters: bool = False
    takes_lists: bool = True
    refuses_lists: int = 0

    def add(self, study: str, series: str, instances: Iterable[Instance], *, repeat: int = 0) -> list[Instance]:
        """Keeps instances; returns them."""
        found = list(instances)
        self.kept += [Kept(study, series, one, repeat) for one in found]
        return found

    def fail(self, uid: str, *faults: Fault) -> None:
        """The next requests for an instance or series meet these faults."""
        self.faults.setdefault(uid, deque()).extend(faults)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/dicom-web{rest:/.*}", self._get)
        app.router.add_post("/dicom-web/studies", self._refuse)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/dicom-web"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _refuse(self, _: web.Request) -> web.Response:
        return web.Response(status=400, text="no instance")

    def retrievals(self) -> list[str]:
        """The requests that were for instances."""
        return [path for path in self.requests if "?" not in path]

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs.removeprefix("/dicom-web"))
        parts = request.match_info["rest"].strip("/").split("/")
        if parts == ["studies"]:  # the probe
            return web.Response(status=204)
        kind = "search" if parts[-1] == "instances" else "retrieve"
        self.under_way[kind] += 1
        self.most = max(self.most, self.under_way["retrieve"])
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            path = dict(zip(parts[::2], parts[1::2], strict=False))
            found = [
                one
                for one in self.kept
                if path.get("studies", one.study) == one.study
                and path.get("series", one.series) == one.series
                and path.get("instances", one.instance.sop_instance_uid) == one.instance.sop_instance_uid
            ]
            if kind == "search":
                return self._search(request, found)
            return await self._retrieve(request, found, parts[-1])
        finally:
            self.under_way[kind] -= 1

    def _search(self, request: web.Request, found: list[Kept]) -> web.StreamResponse:
        lists = "," in request.query.get("SOPInstanceUID", "")
        if fault := self.search_fault or (self.refuses_lists if lists else 0):
            return web.Response(status=fault)
        if not self.ignores_parameters:
            for key, tag in (("SOPInstanceUID", "00080018"), ("SeriesInstanceUID", "0020000E")):
                if wanted := request.query.get(key):
                    values = wanted.split(",") if self.takes_lists else [wanted]
                    found = [one for one in found if _values(one)[tag] in values]
            if request.query.get("PatientID", "P1") != "P1":
                found = []
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 100))
        page = found[offset : offset + min(limit, self.per_page)]
        if not page:
            return web.Response(status=204)
        return web.Response(text=json.dumps([_json(one) for one in page]), content_type="application/dicom+json")

    async def _retrieve(self, request: web.Request, found: list[Kept], uid: str) -> web.StreamResponse:
        faults = self.faults.get(uid)
        fault = faults.popleft() if faults else None
        if fault == "never answer":
            await asyncio.Event().wait()
        if fault in ("404", "503", "403"):
            return web.Response(status=int(fault))
        if not found:
            return web.Response(status=404)
        if fault == "other instance":
            found = [Kept("", "", generated())]
        response = web.StreamResponse(headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=xyz'})
        await response.prepare(request)
        for number, one in enumerate(found):
            await response.write((b"\r\n" if number else b"") + b"--xyz\r\nContent-Type: application/dicom\r\n\r\n")
            if fault == "garbage":
                await response.write(b"no DICOM" * 100)
                continue
            async for piece in one.pieces():
                if fault == "break off" and number == len(found) // 2:
                    await response.write(piece[: len(piece) // 2])
                    assert request.transport
                    request.transport.close()
                    return response
                await response.write(piece)
        await response.write(b"\r\n--xyz--\r\n")
        await response.write_eof()
        return response


def _json(one: Kept) -> dict[str, object]:
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in _values(one).items()}


def _values(one: Kept) -> dict[str, str]:
    instance = one.instance
    return {"0020000D": one.study, "0020000E": one.series, "00080018": instance.sop_instance_uid, "00080016": instance.sop_class_uid}

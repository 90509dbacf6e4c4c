"""Exporters as users run them, a store to export from and nodes to export to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from dicom_adapter.dimse import DimseServer, Handlers, Limits, Status, StoreRequest
from dicom_adapter.part10 import FileMeta
from tests.support.adapter import Adapter
from tests.support.dicom import Instance
from tests.support.orthanc import free_port
from tests.support.pubsub import SUBSCRIPTION, PubSub
from tests.support.store import FaultStore

STORE_PATH = "projects/p/locations/l/datasets/d/dicomStores/s"


def part10(instance: Instance) -> bytes:
    """The instance as a file."""
    meta = FileMeta(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid, "1.2.3", "TEST")
    return meta.encode() + instance.data_set


@dataclass(slots=True)
class Image:
    """An instance in the store; `fault` is a status to answer with instead, or what to do."""

    content: bytes
    fault: int | str = 0
    asked: int = 0


class WadoStore:
    """A DICOMweb store from which instances can be fetched: any path ends in its UID. Async context manager."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.studies: dict[str, list[str]] = {}
        self.delay = 0.0
        self.status = 200  # of searches and of everything
        self.authorizations: set[str] = set()
        self.most = self.now = 0
        self.paths: list[str] = []
        self.missed: set[str] = set()  # images that were asked for and are not there
        self.listed = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/dicom-web/studies", self._search)
        app.router.add_get("/dicom-web/studies/{study}/instances", self._list)
        app.router.add_get("/dicom-web/studies/{study}/series/{series}/instances", self._list)
        app.router.add_get("/dicom-web/studies/{study}/series/{series}/instances/{uid}", self._get)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/dicom-web"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def add(self, instance: Instance, study: str = "1.2.3", series: str = "1.2.3.4") -> str:
        """Stores it; gives the text of its notification."""
        self.images[instance.sop_instance_uid] = Image(part10(instance))
        return f"studies/{study}/series/{series}/instances/{instance.sop_instance_uid}"

    async def _search(self, request: web.Request) -> web.Response:
        self.authorizations.add(request.headers.get("Authorization", ""))
        if self.status != 200 or not self.studies or int(request.query.get("offset", 0)):
            return web.Response(status=204 if self.status == 200 else self.status)
        found = [
            {"0020000D": {"vr": "UI", "Value": [uid]}, "00201208": {"vr": "IS", "Value": [len(uids)]}} for uid, uids in self.studies.items()
        ]
        return web.json_response(found, content_type="application/dicom+json")

    async def _list(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status)
        self.listed += 1
        uids = self.studies[request.match_info["study"]][int(request.query.get("offset", 0)) :]
        series = {"vr": "UI", "Value": [request.match_info.get("series", "1.2.3.4")]}
        found = [{"00080018": {"vr": "UI", "Value": [uid]}, "0020000E": series} for uid in uids]
        return web.json_response(found, content_type="application/dicom+json")

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.add(request.headers.get("Authorization", ""))
        self.paths.append(request.path)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay)
            image = self.images.get(request.match_info["uid"])
            if self.status != 200 or image is None:
                self.missed.add(request.match_info["uid"])
                return web.Response(status=self.status if self.status != 200 else 404)
            image.asked += 1
            if isinstance(image.fault, int) and image.fault:
                return web.Response(status=image.fault)
            assert "transfer-syntax=*" in request.headers["Accept"]
            head = b"--b\r\nContent-Type: application/dicom; transfer-syntax=*\r\n\r\n"
            body = head + image.content + b"\r\n--b--\r\n"
            response = web.StreamResponse(headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'})
            response.content_length = len(body)
            await response.prepare(request)
            if image.fault == "break off":
                await response.write(body[: len(body) // 2])
                assert request.transport
                request.transport.abort()
                return response
            await response.write(body)
            return response
        finally:
            self.now -= 1


@dataclass(slots=True)
class NodeLog:
    """What a node has seen: digests of data sets by UID, and how often each came."""

    received: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    syntaxes: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    associations: dict[int, list[str]] = field(default_factory=dict)


class _Quiet:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


Answer = Callable[[StoreRequest], Any]


class StoreNode:
    """A DICOM node that keeps what it gets; `answer` may decide on another status, or wait. Can be stopped and started again."""

    def __init__(
        self,
        answer: Callable[[StoreRequest], int] | None = None,
        *,
        access: Any = None,
        limits: Limits | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.log = NodeLog()
        self.answer = answer
        self.delay = 0.0
        self.taken = 0
        self.host = host
        self.port = 0
        self._limits = limits or Limits()
        self._access = access
        self._server: DimseServer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens, on the same port as before."""
        server = DimseServer(
            ae_titles=["PACS"],
            handlers=Handlers(store=self._store),
            limits=self._limits,
            observer=_Quiet(),
            access=self._access,
        )
        self.port = self.port or free_port()  # none that a connection may have taken when it listens again
        await server.start(self.host, self.port)
        self._server = server

    async def stop(self) -> None:
        """Is gone: every connection too."""
        if self._server is not None:
            self._server.abort()
            await self._server.wait_closed()
            self._server = None

    def abort(self) -> None:
        """Aborts every association."""
        assert self._server
        for association in tuple(self._server._registry.connections):
            association.shut_down()

    async def _store(self, request: StoreRequest) -> Status:
        digest = hashlib.sha256()
        async for piece in request.body:
            digest.update(piece)
        self.taken += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        uid = request.sop_instance_uid
        self.log.counts[uid] = self.log.counts.get(uid, 0) + 1
        code = self.answer(request) if self.answer else 0
        if code == 0 or code >> 12 == 0xB:
            self.log.received[uid] = digest.digest()
            self.log.syntaxes[uid] = request.transfer_syntax_uid
            self.log.order.append(uid)
            self.log.associations.setdefault(request.association_id, []).append(uid)
        return Status(code)


class Exporter(Adapter):
    """`dicom-adapter export` as a process of its own."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
        command: Any = None,
        ledger: Path | None = None,
    ) -> None:
        extra = {} if command is None else {"command": command}
        super().__init__("", environment=environment, wait=wait, **extra)
        self._spec = dict(spec)
        self._ledger = ledger

    def _command_line(self, directory: Path) -> list[str]:
        document = {
            "apiVersion": "dicomadapter.io/v1alpha1",
            "kind": "DicomExport",
            "metadata": {"name": "to-pacs", "namespace": "rad"},
            "spec": self._spec,
        }
        file = directory / "dicomexport.yaml"
        file.write_text(json.dumps(document))
        ledger = [f"--ledger={self._ledger}"] if self._ledger else []
        return ["export", f"--config={file}", f"--mounts_directory={self.mounts}", f"--http_port={self.http_port}", *ledger]


def spec(store: WadoStore | FaultStore, pubsub: PubSub, port: int, **more: Any) -> dict[str, Any]:
    """A DicomExport's, from a store to a node on this machine."""
    return {
        "source": {
            "dicomStore": store.url,
            "pubsub": {"subscription": SUBSCRIPTION, "endpoint": pubsub.url, "allowInsecure": True},
        },
        "destination": {"peer": {"aeTitle": "PACS", "host": "127.0.0.1", "port": port}},
        "terminationGracePeriodSeconds": 20,
        **more,
    }


@contextlib.asynccontextmanager
async def scene(answer: Callable[[StoreRequest], int] | None = None, **pubsub: Any) -> AsyncIterator[tuple[WadoStore, PubSub, StoreNode]]:
    """A store, a Pub/Sub and a node."""
    async with WadoStore() as store, PubSub(**pubsub) as service, StoreNode(answer) as node:
        yield store, service, node

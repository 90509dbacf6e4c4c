"""A reverse proxy in front of the API server, for faults that the real one does not give: one place sees every request.

Everything is forwarded, watches line by line, unless a hook says otherwise. The hooks are plain attributes that a test replaces
while it runs; what was asked is kept in `requests`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.api.support import OWNED, Api
from tests.support.kubernetes import wait_until

WATCHED = (*OWNED, "dicomadapters", "dicomexports", "pods")


@dataclass(slots=True)
class Request:
    """A request that came, and what it was answered."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    at: float = field(default_factory=time.monotonic)
    status: int = 0
    """0: no answer was delivered, or not yet."""

    @property
    def write(self) -> bool:
        """Whether it can change something."""
        return self.method in ("POST", "PUT", "PATCH", "DELETE")

    @property
    def watch(self) -> bool:
        """Whether it is a watch."""
        return self.query.get("watch") == "true"

    @property
    def namespace(self) -> str:
        """The namespace of the object, if it has one."""
        return self.path.partition("/namespaces/")[2].partition("/")[0]

    @property
    def target(self) -> tuple[str, ...]:
        """Plural, and name and subresource where there are any."""
        return tuple(self.path.partition("/namespaces/")[2].split("/")[1:])


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of our own."""

    status: int
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


class Lost(Exception):
    """The connection breaks without an answer."""


async def _forward(_: Request) -> Answer | None:
    return None


class Proxy:
    """The proxy, on a thread of its own."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._old: dict[tuple[str, str], bytes] = {}
        self._frozen: dict[tuple[str, str], bytes] = {}
        self.refuse: Callable[[str, str], int] = lambda method, path: 0
        """By method and path: the status to answer instead of forwarding."""
        self.before: Callable[[Request], Awaitable[Answer | None]] = _forward
        """Before a request is forwarded: an answer instead; or raises Lost; or takes its time."""
        self.after: Callable[[Request], Awaitable[Answer | None]] = _forward
        """After the API server has answered, before that is delivered: the same."""
        self.drop: Callable[[str, dict[str, Any]], bool] = lambda path, event: False
        """Watch events that are lost."""
        self.delay: Callable[[str, dict[str, Any]], float] = lambda path, event: 0.0
        """How long a watch event, and what follows it in its watch, is held back."""
        self._pours: set[asyncio.Task[None]] = set()
        self.watch_seconds = 3600.0
        """How long a watch lives."""
        self.dropped: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def environment(self, directory: Path) -> dict[str, str]:
        """The environment of a process that goes through the proxy."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {}}],
        }
        path = directory / f"proxy-{self.port}.kubeconfig"
        path.write_text(json.dumps(config))
        return {**self._api.server.environment, "KUBECONFIG": str(path)}

    def writes(self, namespace: str, since: int = 0) -> list[Request]:
        """What was written in a namespace, events about it left out: they are told, not desired."""
        return [one for one in self.requests[since:] if one.write and one.namespace == namespace and one.target[0] != "events"]

    def settle(self, namespace: str) -> None:
        """Waits until the last write in a namespace is half a second old: status and events come after the children."""

        def quiet() -> bool:
            found = [one.at for one in self.requests if one.write and one.namespace == namespace]
            return not found or time.monotonic() - found[-1] > 0.5

        wait_until("quiet", quiet, every=0.05)

    def cut(self) -> None:
        """Ends all watches."""
        for pour in list(self._pours):
            self._loop.call_soon_threadsafe(pour.cancel)

    def remember(self) -> None:
        """Keeps the listings of now, for `freeze`."""
        seen = {(one.path, one.query.get("labelSelector", "")) for one in self.requests if one.method == "GET" and not one.watch}
        self._old = self._run(self._record([key for key in seen if key[0].rpartition("/")[2] in WATCHED]))

    def freeze(self, plurals: Container[str] = WATCHED) -> None:
        """Listings of these kinds are those that are remembered, and all watches are silent, until `thaw`: an API server that is behind."""
        self._frozen = {key: body for key, body in self._old.items() if key[0].rpartition("/")[2] in plurals}
        self._loop.call_soon_threadsafe(self._flow.clear)

    def thaw(self) -> None:
        """The truth comes."""
        self._frozen = {}
        self._loop.call_soon_threadsafe(self._flow.set)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        self._flow = asyncio.Event()
        self._flow.set()
        connector = aiohttp.TCPConnector(ssl=self._api.ssl_context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _record(self, keys: list[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        found = {}
        for path, selector in keys:
            query = {"labelSelector": selector} if selector else {}
            async with self._session.get(self._api.server.server + path, params=query) as answer:
                found[path, selector] = await answer.read()
        return found

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        request = Request(http.method, http.path, dict(http.query), await http.read())
        self.requests.append(request)
        try:
            return await self._answer(http, request)
        except (Lost, OSError, aiohttp.ClientError):  # the latter two: the API server is away, or who asked is
            if http.transport is not None:
                http.transport.abort()
            return web.Response()

    async def _answer(self, http: web.Request, request: Request) -> web.StreamResponse:
        if status := self.refuse(request.method, request.path):
            return _own(request, Answer(status, f"refused with {status}"))
        if own := await self.before(request):
            return _own(request, own)
        old = self._frozen.get((request.path, request.query.get("labelSelector", "")))
        if old is not None and request.method == "GET" and not request.watch:
            request.status = 200
            return web.Response(body=old, content_type="application/json")
        headers = {name: http.headers[name] for name in ("Content-Type", "Accept", "User-Agent") if name in http.headers}
        headers["Accept-Encoding"] = "identity"
        if request.watch:
            await self._flow.wait()
        url = self._api.server.server + http.path_qs
        async with self._session.request(request.method, url, headers=headers, data=request.body or None) as answer:
            if not request.watch:
                body = await answer.read()
                request.status = answer.status
                if own := await self.after(request):
                    return _own(request, own)
                return web.Response(body=body, status=answer.status, content_type="application/json")
            request.status = answer.status
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            await response.prepare(http)
            pour = asyncio.create_task(self._pour(answer, request.path, response))
            self._pours.add(pour)
            try:
                await asyncio.wait([pour], timeout=self.watch_seconds)
            finally:
                self._pours.discard(pour)
                pour.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pour
            return response

    async def _pour(self, answer: aiohttp.ClientResponse, path: str, response: web.StreamResponse) -> None:
        async for line in answer.content:
            event = json.loads(line)
            if seconds := self.delay(path, event):
                await asyncio.sleep(seconds)
            await self._flow.wait()
            if self.drop(path, event):
                self.dropped.append(event)
            else:
                await response.write(line)


def _own(request: Request, answer: Answer) -> web.Response:
    request.status = answer.status
    if answer.text:
        return web.Response(text=answer.text, status=answer.status, headers=answer.headers, content_type="application/json")
    return web.json_response({"message": answer.message}, status=answer.status, headers=answer.headers)

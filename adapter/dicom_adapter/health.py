"""The HTTP port: /healthz, /readyz, /metrics, /status. GET and HEAD only: whoever wants something done goes through the API server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

STALLED_SECONDS = 10.0
_BEAT_SECONDS = 1.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Status(Protocol):
    """What the pages tell: of a node, or of an exporter."""

    @property
    def ready(self) -> bool:
        """Whether /readyz says so."""

    @property
    def reason(self) -> str:
        """Why, or why not, in one word."""

    @property
    def message(self) -> str:
        """And in a sentence."""

    def document(self) -> dict[str, Any]:
        """/status."""


class Heartbeat:
    """Shows that the event loop runs: a beat a second, and its age. A loop that stands still answers no probe; one that crawls says so."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = now()

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            self._last = self._now()
            await asyncio.sleep(_BEAT_SECONDS)

    @property
    def stalled(self) -> bool:
        """Whether the last beat is too long ago."""
        return self._now() - self._last > STALLED_SECONDS


@web.middleware
async def _read_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, headers={"Allow": "GET, HEAD"}, text="this port answers GET and HEAD only\n")
    response = await handler(request)
    response.headers["Cache-Control"] = "no-store"
    return response


def application(state: Status, heartbeat: Heartbeat, registry: CollectorRegistry) -> web.Application:
    """The four pages."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(status=503, text="the event loop is stalled\n") if heartbeat.stalled else web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if state.ready else 503, text=f"{state.reason}: {state.message}\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=json.dumps(state.document(), indent=2).encode() + b"\n", content_type="application/json")

    app = web.Application(middlewares=[_read_only], client_max_size=1024)
    for path, handler in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics), ("/status", status)):
        app.router.add_get(path, handler)
    return app


@contextlib.asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Opens the port for the time of the block; gives the port. Raises OSError when it is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host or None, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()

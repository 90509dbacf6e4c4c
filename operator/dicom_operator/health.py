"""The operator's own HTTP port: /healthz, /readyz, /metrics."""

from __future__ import annotations

import os
from collections.abc import Callable

from aiohttp import web

from dicom_operator import messages
from dicom_operator.errors import StartupError
from dicom_operator.metrics import CONTENT_TYPE, Metrics

STALLED_SECONDS = 150.0
"""A queue that has work and neither starts nor ends any for so long hangs: a reconcile takes milliseconds, and gives up after a
request or two of 30 s each when the API server is away."""


class Health:
    """Whether the process still does its work. That it answers at all shows that the loop runs."""

    def __init__(self, stalled_for: Callable[[], float], deaf: Callable[[], list[str]]) -> None:
        self._stalled_for = stalled_for
        self._deaf = deaf
        self.ready = False
        """Set when the first listings are in and the workers run."""

    def faults(self) -> list[str]:
        """Why Kubernetes should restart the operator; empty when all is well."""
        found = []
        if self._stalled_for() > STALLED_SECONDS:
            found.append("the work queue hangs")
        if deaf := self._deaf():
            found.append(f"the watch is deaf: {', '.join(deaf)}")
        return found


async def serve(host: str, port: int, health: Health, metrics: Metrics) -> web.AppRunner:
    """Listens; raises StartupError when the port is taken."""

    async def healthz(_: web.Request) -> web.Response:
        faults = health.faults()
        return web.Response(text="\n".join(faults) or "ok", status=503 if faults else 200)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok" if health.ready else "the first listings are not in yet", status=200 if health.ready else 503)

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as error:
        await runner.cleanup()
        raise StartupError(messages.http_port_taken(port, os.strerror(error.errno).lower() if error.errno else str(error))) from error
    return runner

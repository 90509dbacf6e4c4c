"""A reverse proxy in front of the API server, for faults that the real one does not give: one place sees every request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.api.support import Api


class Proxy:
    """Forwards everything, but loses the watch events that `drop` names, and answers with the status that `refuse` names."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.drop: Callable[[str, dict[str, Any]], bool] = lambda path, event: False
        self.refuse: Callable[[str, str], int] = lambda method, path: 0
        self.dropped: list[dict[str, Any]] = []
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
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

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._api.ssl_context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._forward)
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

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if status := self.refuse(request.method, request.path):
            return web.json_response({"message": f"refused with {status}"}, status=status)
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        headers["Accept-Encoding"] = "identity"
        url = self._api.server.server + request.path_qs
        async with self._session.request(request.method, url, headers=headers, data=await request.read() or None) as answer:
            if "watch=true" not in request.query_string:
                return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            async for line in answer.content:
                event = json.loads(line)
                if self.drop(request.path, event):
                    self.dropped.append(event)
                else:
                    await response.write(line)
            return response

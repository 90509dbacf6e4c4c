"""The event loop's heartbeat, and the HTTP port when it stands still."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from dicom_adapter.health import STALLED_SECONDS, Heartbeat, application, serve
from dicom_adapter.state import NodeState


async def test_a_loop_that_crawls_is_told_to_the_liveness_probe() -> None:
    clock = [0.0]
    heartbeat = Heartbeat(lambda: clock[0])
    state = NodeState(ae_title="GATE", store_url="https://x", maximum=1, active=int)
    app = application(state, heartbeat, CollectorRegistry())
    async with serve(app, "127.0.0.1", 0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        clock[0] = STALLED_SECONDS
        async with session.get("/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        clock[0] = STALLED_SECONDS + 0.1
        async with session.get("/healthz") as response:
            assert (response.status, await response.text()) == (503, "the event loop is stalled\n")
        beating = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(0)
        async with session.get("/healthz") as response:
            assert response.status == 200
        beating.cancel()
        async with session.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "Starting: the adapter is starting\n")
        async with session.get("/status") as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert (await response.json())["store"]["reason"] == "NotProbed"


async def test_a_port_that_is_taken() -> None:
    state = NodeState(ae_title="GATE", store_url="https://x", maximum=1, active=int)
    async with serve(application(state, Heartbeat(float), CollectorRegistry()), "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="address already in use"):
            async with serve(application(state, Heartbeat(float), CollectorRegistry()), "127.0.0.1", port):
                pass

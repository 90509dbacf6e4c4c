"""An operator's orders: a pod with a spool stops to receive, and goes on delivering."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dicom_adapter import dimse
from tests.adapter.test_spool import send
from tests.support.adapter import Adapter
from tests.support.archive import Archive
from tests.support.dicom import generated


def order(path: Path, **orders: Any) -> None:
    """As the kubelet does it: at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"generation": 1, "replicas": 2, "suspend": False, **orders}))
    new.replace(path)


def heeding(archive: Archive, path: Path, *, pod: str = "ct-east-1", wait: bool = True) -> Adapter:
    return Adapter(
        archive.url,
        spec={"delivery": {"acknowledge": "AfterSpool"}},
        environment={"POD_NAME": pod},
        arguments=[f"--spool_directory={path.parent / 'spool'}", f"--orders={path}"],
        wait=wait,
    )


async def heeded(adapter: Adapter, generation: int, *, closed: bool) -> dict[str, Any]:
    async def asked() -> bool:
        return bool((await adapter.status()).get("orders") == {"generation": generation, "closed": closed})

    await adapter.poll(asked)
    return await adapter.status()


async def answers(adapter: Adapter) -> bool:
    try:
        where = dimse.PeerAddress("GATE", "127.0.0.1", adapter.port)
        contexts = [dimse.PresentationContext("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))]
        association = await dimse.connect(where, calling_ae_title="CT1", contexts=contexts)
    except dimse.DimseError:
        return False
    await association.release()
    return True


async def test_a_pod_that_is_not_wanted_any_more_delivers_and_says_when_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    order(path)
    async with Archive(outage=503) as archive, heeding(archive, path) as adapter:
        assert await send(adapter, [generated() for _ in range(3)]) == [(0, "")] * 3
        order(path, generation=2, replicas=1)
        found = await heeded(adapter, 2, closed=True)
        text = "this pod is not wanted any more (spec.replicas): it receives nothing, and leaves when what waits in its spool is delivered"
        assert (found["ready"], found["reason"], found["message"], found["spool"]["instances"]) == (False, "Leaving", text, 3)
        assert found["verdict"] == {"level": "warn", "message": text}
        assert (await adapter.get("/readyz"))[0] == 503
        assert not await answers(adapter)
        archive.outage = 0
        await archive.until(lambda: len(archive.stored) == 3)
        order(path, generation=3, replicas=2)  # wanted again, before it has left
        assert (await heeded(adapter, 3, closed=False))["reason"] == "Ready"
        assert await answers(adapter)


async def test_suspended_nothing_is_received_and_what_waits_is_delivered(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    order(path, suspend=True)
    async with Archive() as archive, heeding(archive, path) as adapter:  # it is ready: nothing is wrong with it
        found = await heeded(adapter, 1, closed=True)
        assert (found["reason"], found["message"]) == (
            "Suspended",
            "spec.suspend is true: nothing is received; what waits in the spool is delivered",
        )
        assert not await answers(adapter)
        order(path, generation=2)
        await heeded(adapter, 2, closed=False)
        assert await send(adapter, [generated()]) == [(0, "")]
        order(path, generation=3, suspend=True)
        await heeded(adapter, 3, closed=True)
        await archive.until(lambda: len(archive.stored) == 1)
        assert adapter.process
        adapter.process.terminate()
        assert await adapter.process.wait() == 0

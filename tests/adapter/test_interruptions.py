"""Nothing half sent is ever completed as a STOW request, however the sender goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.adapter import Adapter
from tests.support.dicom import Instance, generated
from tests.support.rawscu import ABORT, DATA, RawScu, associate_rq, context, pdata, pdv, send_instances, store_rq
from tests.support.store import FaultStore


def _begin(port: int, one: Instance, size: int) -> RawScu:
    """Sends the first `size` bytes of an instance and keeps the association open."""
    scu = RawScu("127.0.0.1", port)
    scu.associate(associate_rq("GATE", "CT1", [context(1, one.sop_class_uid, one.transfer_syntax_uid)]))
    scu.send(pdata(pdv(1, 3, store_rq(one.sop_class_uid, one.sop_instance_uid))))
    for start in range(0, size, 16000):
        scu.send(pdata(pdv(1, DATA, one.data_set[start : min(start + 16000, size)])))
    return scu


def _abort(scu: RawScu) -> None:
    scu.send(ABORT)


LEAVING: dict[str, Callable[[RawScu], None]] = {"A-ABORT": _abort, "close": RawScu.close, "reset": RawScu.send_reset}


@pytest.mark.parametrize("how", LEAVING)
async def test_a_sender_that_leaves_in_the_middle_of_a_small_object_reaches_no_store(how: str) -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        one = generated(1 << 20)
        scu = await asyncio.to_thread(_begin, adapter.port, one, 1 << 19)
        await asyncio.to_thread(LEAVING[how], scu)
        scu.close()
        await _association_ended(adapter)
        assert not store.posts
        assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", [_wire(generated())]) == [(0, "")]
        assert len(store.posts) == 1


@pytest.mark.parametrize("how", LEAVING)
async def test_a_sender_that_leaves_in_the_middle_of_a_streamed_object_breaks_the_request_off(how: str) -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        one = generated(16 << 20)
        scu = await asyncio.to_thread(_begin, adapter.port, one, 12 << 20)
        await store.until(lambda: bool(store.posts) and store.posts[0].size > 4 << 20)
        assert store.posts[0].chunked
        await asyncio.to_thread(LEAVING[how], scu)
        scu.close()
        await _association_ended(adapter)
        assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", [_wire(generated())]) == [(0, "")]
        assert not store.posts[0].complete
        assert store.posts[0].answered is None
        assert list(store.stored) == [store.posts[1].uid]
        _, metrics = await adapter.get("/metrics")
        assert 'dicomweb_requests_total{code="Interrupted",method="POST"} 1.0' in metrics


async def test_a_sender_that_stalls_inside_an_object_is_aborted_and_nothing_of_it_is_stored() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"limits": {"dimseTimeoutSeconds": 3}}) as adapter:
        scu = await asyncio.to_thread(_begin, adapter.port, generated(16 << 20), 8 << 20)
        assert (await asyncio.to_thread(scu.receive)).type == 7
        scu.close()
        line = await adapter.line(
            "aborted 'CT1': no data for 3 s inside C-STORE; nothing of it was stored (spec.limits.dimseTimeoutSeconds)"
        )
        assert line["severity"] == "WARNING"
        assert not store.stored


def _wire(one: Instance) -> tuple[str, str, str, bytes]:
    return one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set


async def _association_ended(adapter: Adapter) -> None:
    async def ended() -> bool:
        return any(line.get("event") == "AssociationEnded" for line in adapter.lines)

    await adapter.poll(ended)

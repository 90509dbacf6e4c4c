"""Large retrievals: an instance that is never in memory as a whole, and a study of thousands, through the adapter's process."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest

from dicom_adapter.dimse import PeerAddress, PresentationContext, Response, Status, StoreRequest, SubOperations, connect
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_MOVE
from tests.support import wado
from tests.support.dicom import generated
from tests.support.rawscu import EXPLICIT
from tests.support.retrieving import destination, identifier, last
from tests.support.vitals import MEGABYTE, WatchedAdapter
from tests.support.wado import Archive

STUDY, SERIES = "1.2", "1.2.3"


async def move(adapter: WatchedAdapter) -> Response:
    contexts = [PresentationContext(STUDY_ROOT_MOVE, (EXPLICIT,))]
    async with await connect(PeerAddress("GATE", "127.0.0.1", adapter.port), calling_ae_title="WS1", contexts=contexts) as association:
        return await last(association.move(STUDY_ROOT_MOVE, identifier(StudyInstanceUID=STUDY), "WS1"))


def peers(address: PeerAddress) -> dict[str, object]:
    return {"peers": [{"aeTitle": address.ae_title, "host": address.host, "port": address.port}]}


@pytest.mark.parametrize("slow", [False, True])
async def test_a_very_large_instance_passes_without_ever_being_in_memory(long: bool, slow: bool) -> None:
    blocks = (2048 if long else 200) * 16  # of 64 KiB
    got = hashlib.sha256()
    received = 0

    async def store(request: StoreRequest) -> Status:
        nonlocal received
        async for piece in request.body:
            got.update(piece)
            received += len(piece)
            if slow and received % (8 * MEGABYTE) < len(piece):
                await asyncio.sleep(0.01)
        return Status(0)

    async with Archive() as archive, destination(store) as ws, WatchedAdapter(archive.url, spec=peers(ws.address)) as adapter:
        (one,) = archive.add(STUDY, SERIES, [generated(0)], repeat=blocks)
        before = await adapter.vitals()
        began = time.monotonic()
        assert await move(adapter) == Response(Status(0), None, SubOperations(None, 1, 0, 0))
        seconds, after = time.monotonic() - began, await adapter.vitals()
        size, grown = blocks << 16, after.peak - before.resident
        print(f"{size / MEGABYTE:.0f} MB at {size / seconds / MEGABYTE:.0f} MB/s: {grown / MEGABYTE:+.1f} MB; {after}")
        expected = hashlib.sha256(one.data_set)
        for _ in range(blocks):
            expected.update(wado.BLOCK)
        assert got.digest() == expected.digest()
        assert grown < 64 * MEGABYTE


async def test_a_study_of_thousands_arrives_whole_twice_at_once(long: bool) -> None:
    count = 2000 if long else 200
    async with Archive(per_page=300) as archive, destination() as ws, WatchedAdapter(archive.url, spec=peers(ws.address)) as adapter:
        images = [one for series in range(4) for one in archive.add(STUDY, f"1.2.{series}", [generated(50_000) for _ in range(count // 4)])]
        before = await adapter.vitals()
        began = time.monotonic()
        assert list(await asyncio.gather(move(adapter), move(adapter))) == [Response(Status(0), None, SubOperations(None, count, 0, 0))] * 2
        seconds, after = time.monotonic() - began, await adapter.vitals_when_quiet()
        print(f"twice {count} in {seconds:.1f} s: {(after.peak - before.resident) / MEGABYTE:+.1f} MB; {after}")
        assert ws.received == {one.sop_instance_uid: one.data_set for one in images}
        assert len(ws.requests) == 2 * count
        assert len(archive.retrievals()) == 8
        assert after.peak - before.resident < 100 * MEGABYTE
        assert not adapter.complaints()

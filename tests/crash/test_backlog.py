"""A long backlog, an outage under load, and the end of an adapter under load: how long they take, and that nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from dicom_adapter.spool.entry import READY, Entry, directory
from dicom_adapter.spool.queue import Queue
from dicom_adapter.spool.spool import Bounds, Spool
from tests.crash.test_kill import adapter, finish
from tests.support.archive import Archive
from tests.support.crashfs import MemoryStorage
from tests.support.history import History, Images, digest


def fill(spool: Path, images: Images, count: int) -> History:
    """A spool with so many images, as an adapter has left it."""
    from dicom_adapter.dimse import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    from dicom_adapter.part10 import FileMeta
    from dicom_adapter.spool.storage import Disk

    class Unsafe(Disk):
        def sync_file(self, file: int, *, names: bool = False) -> None: ...

        def sync_directory(self, path: str) -> None: ...

    history = History(images)
    left = Spool(Unsafe(str(spool)), ["dicomStore"], Bounds())
    left.open()
    for _ in range(count):
        one = images.next()
        uids = one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid
        head = FileMeta(*uids, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME).encode()
        left.commit(left.begin([head, one.data_set]), ["dicomStore"])
        history.sent[one.sop_instance_uid] = digest(one)
        history.acknowledged.add(one.sop_instance_uid)
    return history


async def test_a_start_with_a_long_backlog(tmp_path: Path, long: bool) -> None:
    """R6."""
    count = 10_000 if long else 1000
    history = await asyncio.to_thread(fill, tmp_path, Images(500), count)
    async with Archive() as archive:
        began = time.monotonic()
        async with adapter(archive, tmp_path) as again:
            listening = time.monotonic() - began
            await archive.until(lambda: len(archive.stored) == count, 300)
            delivered = time.monotonic() - began
            print(
                f"{count} spooled: listening after {listening:.1f} s, all delivered after {delivered:.1f} s in {len(archive.got)} requests"
            )
            assert again.process
        print(await finish(archive, tmp_path, history))


def test_a_million_files_are_found_and_chosen_from_in_constant_memory(long: bool) -> None:
    """The start, and every reading after it."""
    count = 1_000_000 if long else 50_000

    class Full(MemoryStorage):
        def scan(self, path: str) -> Iterator[str]:
            if path != directory("dicomStore", READY):
                return
            for number in range(count):
                yield Entry((number * 7919) % count + 1, 524_288, number).name

    spool = Spool(Full(), ["dicomStore"], Bounds())
    queue = Queue(now=lambda: 0.0)
    tracemalloc.start()
    began = time.monotonic()
    spool.open()
    opened = time.monotonic() - began
    reading = queue.begin_reading()
    queue.end_reading(*reading.choose(spool.storage.scan(directory("dicomStore", READY))))
    chosen = time.monotonic() - began - opened
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"{count} files: counted in {opened:.1f} s, the oldest {queue.in_memory} chosen in {chosen:.1f} s, {peak / 1e6:.1f} MB at the peak"
    )
    assert spool.counts["dicomStore"].ready.instances == count
    assert [waiting.entry.id for waiting in queue.take(3, 1 << 40)] == [1, 2, 3]
    assert peak < 16_000_000


def rate(archive: Archive, since: float, until: float) -> float:
    """Images stored a second."""
    return sum(len(got.uids) for got in archive.got if got.status == 200 and since <= got.time < until) / (until - since)


async def test_an_outage_under_load(tmp_path: Path, long: bool) -> None:
    """R16."""
    history = History()
    seconds = 60.0 if long else 4.0
    async with Archive() as archive:
        async with adapter(archive, tmp_path) as up:
            sending = asyncio.create_task(history.send(up.port, 4, most=3000 if long else 100))
            await archive.until(lambda: len(archive.stored) > 20)
            began = time.monotonic()
            await asyncio.sleep(5 if long else 0.1)
            usual = rate(archive, began, time.monotonic())
            archive.outage = 503
            await asyncio.sleep(1)
            before, asked = up.resident_bytes(), len(archive.got)
            await asyncio.sleep(seconds)
            attempts = (len(archive.got) - asked) / seconds
            growth = up.resident_bytes() - before
            archive.outage = 0
            began, held = time.monotonic(), set(archive.stored)
            await archive.until(lambda: archive.stored > held)
            waited, began = time.monotonic() - began, time.monotonic()
            await sending
            await archive.until(lambda: archive.stored >= history.acknowledged, 120)
            drained = rate(archive, began, time.monotonic())
            print(f"{attempts:.2f} requests a second while it was down, {growth / 1e6:+.1f} MB resident")
            print(
                f"{usual:.0f} delivered a second under load; the first again {waited:.1f} s after the outage, then {drained:.0f} a second, "
                f"{drained / usual if usual else 0:.2f} of the usual, of {len(history.acknowledged - held)} that waited"
            )
            assert attempts <= 64, "two for each of 32 uploads"
            assert set(history.statuses) == {"0000"}, history.statuses
        print(await finish(archive, tmp_path, history))


async def test_the_end_under_load(tmp_path: Path, long: bool) -> None:
    """R17: associations end by themselves before the deadline, the exit is clean, and what is left is delivered by the next start."""
    history = History()
    rounds = 50 if long else 1
    async with Archive(delay=0.05) as archive:
        for _ in range(rounds):
            async with adapter(archive, tmp_path) as up:
                sending = asyncio.create_task(history.send(up.port, 4, most=150 if long else 60))
                wanted = len(history.acknowledged) + 20
                async with asyncio.timeout(60):
                    while len(history.acknowledged) < wanted:  # noqa: ASYNC110 -- other threads
                        await asyncio.sleep(0.005)
                up.signal(signal.SIGTERM)
                assert up.process
                assert await asyncio.wait_for(up.process.wait(), 120) == 0
                await sending
                assert not [line for line in up.lines if line["message"].startswith("aborted")]
        assert set(history.statuses) <= {"0000", "A700 Shutting down, send again"}, history.statuses
        print(f"{rounds} ends: {await finish(archive, tmp_path, history)}; {dict(history.statuses)}")

"""What a node tells of its spool: /status, readiness, log lines, each change once."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dicom_adapter import logs, messages
from dicom_adapter.config import BacklogThresholds, LogLevel
from dicom_adapter.delivery.pipeline import Instance
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.uploader import Place, Uploader
from dicom_adapter.delivery.verdict import Outcome
from dicom_adapter.metrics import Metrics
from dicom_adapter.part10 import FileMeta
from dicom_adapter.spool.spool import Bounds
from dicom_adapter.spooler import Spooler, SpoolObserver
from dicom_adapter.state import NodeState, Reason
from tests.support.lanes import STORED, UNAVAILABLE, FakeTarget
from tests.unit.spool.test_spool import Failing


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("dicom_adapter")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


class Node:
    """A spool in memory, and all that is told of it."""

    def __init__(self, spooler: Spooler, state: NodeState, storage: Failing, target: FakeTarget, stream: io.StringIO) -> None:
        self.spooler, self.state, self.storage, self.target, self._stream = spooler, state, storage, target, stream

    @property
    def lines(self) -> list[tuple[str, str]]:
        entries = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [(entry["severity"], entry["message"]) for entry in entries]

    async def send(self, uid: str = "1.2.3", size: int = 1000) -> tuple[int, str]:
        async def body() -> AsyncIterator[bytes]:
            yield bytes(size)

        meta = FileMeta("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1", "1.2.3", "TEST")
        verdict = (await self.spooler.uploader.spooling.deliver(Instance(meta, body(), "CT1"))).verdict
        return verdict.status, verdict.comment

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 -- threads
                await asyncio.sleep(0.01)

    def said(self, text: str) -> bool:
        return any(message == text for _, message in self.lines)


@asynccontextmanager
async def node(tmp_path: Path, *, pod: str = "ct-east-0", **bounds: int) -> AsyncIterator[Node]:
    stream, storage, target = io.StringIO(), Failing(), FakeTarget(latency=0.0)
    log = logs.configure(stream, "json", LogLevel.DEBUG)
    state = NodeState(ae_title="GATE", store_url="http://pacs", maximum=1, active=lambda: 0)
    state.become(Reason.READY, "ready")
    metrics = Metrics(CollectorRegistry(), active=lambda: 0)
    place = Place(str(tmp_path), Bounds(bounds.get("most"), bounds.get("reserve", 0)), BacklogThresholds(300, bounds.get("instances")), pod)
    doubts: list[Any] = []
    observer = SpoolObserver(metrics, log, lambda name, refused: doubts.append((name, refused)))
    uploader = Uploader(place, [target], policy=RetryPolicy(initial_delay=0.01), observer=observer, storage=storage)
    spooler = Spooler(uploader, metrics=metrics, log=log, state=state)
    await spooler.start()
    watching = asyncio.create_task(spooler.watch())
    try:
        yield Node(spooler, state, storage, target, stream)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await uploader.stop()


async def test_a_failed_sync_makes_the_pod_unready_and_says_which_claim_to_look_at(tmp_path: Path) -> None:
    async with node(tmp_path) as found:
        assert await found.send() == (0, "")
        found.storage.at = "sync_file"
        assert await found.send() == (0xA700, "Spool write failed: input/output error")
        found.storage.at = ""
        said = "pod ct-east-0 could not fsync its spool (EIO) and acknowledges nothing until it restarts: check claim 'spool-ct-east-0'"
        await found.until(lambda: not found.state.ready)
        assert (found.state.reason, found.state.message) == (Reason.SPOOL_FAULTY, said)
        assert found.lines == [("CRITICAL", said)]
        document = found.state.document()
        assert (document["reason"], document["spool"]["reason"], document["spool"]["message"]) == ("SpoolFaulty", "SpoolFaulty", said)
        assert await found.send() == (0xA700, "Spool write failed: input/output error")
        await found.until(lambda: found.spooler.uploader.lanes["dicomStore"].idle)
        assert len(found.target.got) == 1, "what was acknowledged before is delivered"


async def test_a_volume_that_becomes_read_only_is_told_and_recovers(tmp_path: Path) -> None:
    async with node(tmp_path) as found:
        found.storage.at, found.storage.error = "create", errno.EROFS
        assert await found.send() == (0xA700, "Spool write failed: read-only file system")
        said = "pod ct-east-0 cannot write to its spool (EROFS): senders get A700 and keep their images; check claim 'spool-ct-east-0'"
        await found.until(lambda: found.said(said))
        assert found.state.ready
        assert found.state.verdict() == ("bad", said)
        found.storage.at = ""
        await found.until(lambda: found.said(messages.SPOOL_RECOVERED))
        assert [severity for severity, _ in found.lines] == ["CRITICAL", "INFO"]


async def test_a_full_spool_is_told_once_and_recovers(tmp_path: Path) -> None:
    async with node(tmp_path, reserve=1 << 30) as found:
        found.storage.space = 429_496_729
        for _ in range(3):
            assert await found.send() == (0xA700, "Spool full: 0.4 GiB free, 1 GiB is kept in reserve")
        await found.until(lambda: found.said(messages.SPOOL_FULL))
        found.storage.space = 1 << 40
        await found.until(lambda: found.said(messages.SPOOL_RECOVERED))
        assert found.lines == [("ERROR", messages.SPOOL_FULL), ("INFO", messages.SPOOL_RECOVERED)]


async def test_more_than_the_threshold_are_a_backlog(tmp_path: Path) -> None:
    async with node(tmp_path, instances=2) as found:
        found.target.judge = lambda _: UNAVAILABLE
        for number in range(3):
            await found.send(f"1.2.{number}")
        said = (
            "images for 'dicomStore' wait for longer than 5 min, or more than 2 of them (spec.delivery.backlogThresholds): they are kept "
            "in the spool, senders are not affected"
        )
        await found.until(lambda: ("WARNING", said) in found.lines)
        spool = found.state.document()["spool"]
        assert (spool["reason"], spool["message"], spool["instances"]) == ("Backlogged", said, 3)
        await found.until(lambda: found.spooler.uploader.lanes["dicomStore"].failing)
        assert found.state.document()["spool"]["destinations"][0]["state"] == "Waiting"
        found.target.judge = lambda _: STORED
        await found.until(lambda: found.said(messages.SPOOL_RECOVERED))


async def test_a_large_instance_is_written_in_pieces_and_one_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as found:
        spooling = found.spooler.uploader.spooling
        meta = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", "1.2.3", "TEST")
        seen: list[int] = []

        async def body(pieces: int, *, breaks: bool) -> AsyncIterator[bytes]:
            for _ in range(pieces):
                yield bytes(1 << 18)
                seen.append(found.spooler.uploader.spool.used)
            if breaks:
                raise ConnectionError

        delivered = await spooling.deliver(Instance(meta, body(20, breaks=False), "CT1"))
        assert delivered.verdict.outcome is Outcome.STORED
        assert max(seen) > 1 << 21, "not all of it was in memory"
        await found.until(lambda: found.spooler.uploader.lanes["dicomStore"].idle)
        for pieces in (1, 9):
            try:
                await spooling.deliver(Instance(meta, body(pieces, breaks=True), "CT1"))
            except ConnectionError:
                await found.until(lambda: found.spooler.uploader.spool.used == 0)
        assert not list(found.storage.scan("incoming"))
        assert not found.storage.files


async def test_a_sender_that_is_cancelled_while_a_piece_is_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node(tmp_path) as found:
        writing, free, write = threading.Event(), threading.Event(), found.storage.write

        def slow(file: int, pieces: Sequence[bytes]) -> None:
            writing.set()
            free.wait()
            write(file, pieces)

        async def body() -> AsyncIterator[bytes]:
            yield bytes(2 << 20)
            raise AssertionError("it went on without the disk")

        monkeypatch.setattr(found.storage, "write", slow)
        meta = FileMeta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", "1.2.3", "TEST")
        sending = asyncio.create_task(found.spooler.uploader.spooling.deliver(Instance(meta, body(), "CT1")))
        while not writing.is_set():  # noqa: ASYNC110 -- a thread
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        free.set()
        await found.until(lambda: not [*found.storage.scan("incoming")])
        await found.until(lambda: found.spooler.uploader.spool.used == 0)


async def test_a_cancelled_commit_is_made_to_its_end(tmp_path: Path) -> None:
    """The sender is gone; what is named in `ready` is known to the lane all the same."""
    async with node(tmp_path) as found:
        before = found.storage.steps
        sending = asyncio.create_task(found.send())
        while found.storage.steps == before:  # noqa: ASYNC110 -- a thread
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await found.until(lambda: not [*found.storage.scan("incoming"), *found.storage.scan("dicomStore/ready")])
        await found.until(lambda: found.spooler.uploader.lanes["dicomStore"].idle)

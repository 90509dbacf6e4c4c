"""Lanes out of a spool in memory, on a clock that jumps, to targets that do what a test says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from dicom_adapter.delivery.failure import Refused
from dicom_adapter.delivery.gate import Gate
from dicom_adapter.delivery.governor import Bounds as Pace
from dicom_adapter.delivery.governor import Ending, Governor
from dicom_adapter.delivery.lane import Lane, Memory
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.target import Most, Sent, Whole
from dicom_adapter.delivery.verdict import Outcome, Verdict
from dicom_adapter.part10 import FileMeta
from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.spool import Bounds, Spool
from tests.support.crashfs import MemoryStorage

STORED = Verdict(Outcome.STORED, 0x0000, http_status=200)
REFUSED = Verdict(Outcome.INSTANCE_REFUSED, 0xC000, "Http_400, INVALID_ARGUMENT", "400 INVALID_ARGUMENT: no", 400)
FAILED = Verdict(Outcome.TRANSIENT, 0xA700, "Http_500", "Http_500", 500)
UNAVAILABLE = Verdict(Outcome.TRANSIENT, 0xA700, "Http_503", "Http_503", 503)
FORBIDDEN = Verdict(Outcome.DESTINATION_UNAVAILABLE, 0x0124, "Http_403", "Http_403", 403)


class Inline(Executor):
    """No threads: the clock would jump while they work."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@dataclass
class FakeTarget:
    """Answers after `latency` seconds what `judge` says of each instance, by its UID; keeps what was asked and when."""

    name: str = "dicomStore"
    latency: float = 0.1
    most: Most = field(default_factory=Most)
    uploads: int = 4
    judge: Callable[[str], Verdict] = lambda _: STORED
    retry_after: float | None = None
    asked: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    got: list[tuple[float, str]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def __post_init__(self) -> None:
        self.gate = Gate(Governor(Pace(self.uploads, None, 20.0), now=asyncio.get_running_loop().time))

    async def send(self, batch: Sequence[Whole]) -> Sent:
        loop = asyncio.get_running_loop()
        self.asked.append((loop.time(), tuple(one.uid for one in batch)))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.under_way -= 1
        verdicts = tuple(self.judge(one.uid) for one in batch)
        self.got += [(loop.time(), one.uid) for one, verdict in zip(batch, verdicts, strict=True) if verdict.outcome is Outcome.STORED]
        last = [verdict for verdict in verdicts if verdict.outcome in (Outcome.STORED, Outcome.INSTANCE_REFUSED)]
        ending = (
            Ending.ANSWERED if last else {429: Ending.THROTTLED, 503: Ending.OVERLOADED}.get(verdicts[0].http_status or 0, Ending.FAILED)
        )
        split = len(batch) > 1 and len(last) < len(batch)
        return Sent(verdicts, ending, self.latency, None if last else self.retry_after, split)

    async def settle(self, instance: Whole, verdict: Verdict) -> Verdict:
        return verdict


@dataclass
class Observed:
    """What lanes tell."""

    delivered_uids: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)
    put_offs: list[Verdict] = field(default_factory=list)
    errors: list[OSError] = field(default_factory=list)

    def delivered(self, destination: str, whole: Whole, verdict: Verdict, seconds: float) -> None:
        self.delivered_uids.append(whole.uid)
        self.seconds.append(seconds)

    def refused(self, refused: Refused) -> None:
        self.refusals.append(refused)

    def put_off(self, destination: str, verdict: Verdict) -> None:
        self.put_offs.append(verdict)

    def disk_failed(self, error: OSError) -> None:
        self.errors.append(error)


class Yard:
    """A spool and its lanes. Async context manager; the lanes run inside."""

    def __init__(self, *targets: FakeTarget, storage: MemoryStorage | None = None, **bounds: int) -> None:
        loop = asyncio.get_running_loop()
        random.seed(1)
        self.storage = storage or MemoryStorage()
        self.spool = Spool(self.storage, [target.name for target in targets], Bounds(**bounds), now=lambda: int(loop.time() * 1e9))
        self.spool.open()
        self.observed = Observed()
        memory = Memory()
        self.lanes = {
            target.name: Lane(
                target, self.spool, policy=RetryPolicy(), observer=self.observed, threads=Inline(), memory=memory, clock=loop.time
            )
            for target in targets
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Yard:
        self._tasks = [asyncio.create_task(lane.run()) for lane in self.lanes.values()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.observed.errors or self.storage.steps < 0, self.observed.errors

    def put(self, uid: str, *, sender: str = "CT1", size: int = 1000, destinations: Sequence[str] | None = None) -> Entry:
        """Spools an instance, as an acknowledged C-STORE does."""
        names = tuple(destinations or self.lanes)
        data = FileMeta("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1", "1.2.3", "TEST").encode() + bytes(size)
        entry = self.spool.commit(self.spool.begin([data]), names)
        for name in names:
            self.lanes[name].add(entry, sender)
        return entry

    async def until_delivered(self, name: str = "dicomStore") -> None:
        """Waits until nothing is left for a destination."""
        await self.until(lambda: self.lanes[name].idle)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition; the clock jumps."""
        while not condition():  # noqa: ASYNC110 -- on a clock that jumps
            await asyncio.sleep(0.05)

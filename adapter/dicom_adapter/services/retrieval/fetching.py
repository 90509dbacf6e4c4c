"""The instances of a retrieval, fetched from the store ahead of those who send them on (PS3.18 10.4).

Series that are wanted whole are asked for in one request each: an instance costs no round trip then. What such an answer leaves out, or
breaks off before, is fetched one by one, several at the same time. What fails for a passing reason is tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_adapter.delivery.retry import RetryPolicy, seconds_until
from dicom_adapter.dicomweb.client import DicomwebClient, InstancePath
from dicom_adapter.dicomweb.errors import BrokenAnswer
from dicom_adapter.dicomweb.multipart import PartBegins
from dicom_adapter.part10 import HEAD_BYTES, data_set_offset, file_meta
from dicom_adapter.services.asking import ASKING_FAILED, Trouble, trouble
from dicom_adapter.services.retrieval.arrival import Abandoned, Arrival, Ready, Share
from dicom_adapter.services.retrieval.selection import Reference

REQUESTS = 16
"""So many requests of one retrieval are under way together."""

WHOLE_SERIES = 4
"""Of a series with fewer instances than this each is fetched by itself."""

_MOST_META = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """Where instances come from, and how often they are asked for; `now` is time.time."""

    client: DicomwebClient
    policy: RetryPolicy
    now: Callable[[], float]


@dataclass(eq=False, slots=True)
class _Job:
    """Instances of one series that are asked for together, or one of them."""

    references: tuple[Reference, ...]
    tries: int = 0

    @property
    def resource(self) -> str:
        one = self.references[0]
        return f"/studies/{one.study}/series/{one.series}"


class Fetching:
    """Fetches the instances of one retrieval into `ready`. `failed` hears of each that cannot be had, and why."""

    def __init__(
        self,
        source: Source,
        share: Share,
        ready: Ready,
        references: Sequence[Reference],
        *,
        whole_series: bool,
        failed: Callable[[Reference, Trouble], None],
    ) -> None:
        self._source = source
        self._share = share
        self._ready = ready
        self._failed = failed
        self._jobs = deque(_jobs(references, whole_series=whole_series))
        self._current: dict[asyncio.Task[None], Arrival | None] = {}
        self._more = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Fetches for ever: what was lost at a receiver may have to be fetched again. Ends when it is cancelled, or stopped and idle."""
        try:
            while True:
                while self._jobs and len(self._current) < REQUESTS and not self._stopping:
                    await self._share.room()
                    if not self._jobs or self._stopping:
                        break
                    task = asyncio.create_task(self._work(self._jobs.popleft()))
                    self._current[task] = None
                    task.add_done_callback(self._over)
                if self._stopping and not self._current:
                    return
                self._more.clear()
                await self._more.wait()
        finally:
            tasks = tuple(self._current)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def again(self, reference: Reference) -> None:
        """It was lost on the way to its receiver, and not kept."""
        self._jobs.append(_Job((reference,)))
        self._more.set()

    def stop(self) -> None:
        """Nothing more is begun; only what is being sent already goes on to its end."""
        self._stopping = True
        for task, arrival in self._current.items():
            if arrival is None or not arrival.taken:
                task.cancel()
        self._more.set()

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._current[task]
        self._more.set()

    async def _work(self, job: _Job) -> None:
        if len(job.references) > 1:
            await self._series(job)
        else:
            await self._instance(job)

    # -- one by one --------------------------------------------------------------------------------

    async def _instance(self, job: _Job) -> None:
        """One instance, tried as often as the policy says."""
        (reference,) = job.references
        while True:
            try:
                await self._retrieve(reference)
            except ASKING_FAILED as error:
                found = trouble(error)
            else:
                return
            job.tries += 1
            if self._stopping or not found.passing or job.tries >= self._source.policy.attempts:
                self._failed(reference, found)
                return
            retry_after = seconds_until(found.retry_after, self._source.now()) if found.retry_after else None
            await asyncio.sleep(self._source.policy.delay(job.tries, retry_after))

    async def _retrieve(self, reference: Reference) -> None:
        path = InstancePath(reference.study, reference.series, reference.instance)
        filling = _Filling(self, {reference.instance: reference})
        try:
            async with self._source.client.retrieve(path) as pieces:
                await filling.begin()
                async for piece in pieces:
                    await filling.add(piece)
                    if filling.dropped:
                        return
                await filling.end()
        finally:
            filling.close()
        if filling.wanted:
            raise BrokenAnswer("another instance than it was asked for")

    # -- a whole series ----------------------------------------------------------------------------

    async def _series(self, job: _Job) -> None:
        """The series as far as it comes; the rest one by one."""
        filling = _Filling(self, {one.instance: one for one in job.references})
        try:
            async with self._source.client.retrieve_all(job.resource) as pieces:
                async for piece in pieces:
                    if isinstance(piece, PartBegins):
                        await filling.end()
                        await self._share.room()
                        if self._stopping:
                            return
                        await filling.begin()
                    else:
                        await filling.add(piece)
                await filling.end()
        except ASKING_FAILED:
            pass  # each instance has its own tries
        finally:
            filling.close()
            if not self._stopping:
                self._jobs.extendleft(_Job((one,)) for one in reversed(filling.wanted.values()))
                self._more.set()

    # -- what _Filling calls -----------------------------------------------------------------------

    def arriving(self, reference: Reference, head: bytes) -> Arrival | None:
        """An instance whose head is there; None when it is none."""
        meta = file_meta(head)
        if meta is None:
            return None
        arrival = Arrival(reference, meta, self._share)
        self._current[_task()] = arrival
        return arrival

    def hand_over(self, arrival: Arrival) -> None:
        """It can be sent."""
        self._ready.put(arrival)

    def end(self, arrival: Arrival) -> None:
        """It is whole, or nothing more comes of it."""
        self._current[_task()] = None

    def withdraw(self, arrival: Arrival) -> None:
        """It waits for a sender, and will not be whole."""
        self._ready.withdraw(arrival)


class _Filling:
    """The Part 10 streams of one answer become Arrivals. `wanted`: those that have not come."""

    def __init__(self, fetching: Fetching, wanted: dict[str, Reference]) -> None:
        self._fetching = fetching
        self.wanted = wanted
        self.dropped = False
        self._head: bytearray | None = None
        self._arrival: Arrival | None = None

    async def begin(self) -> None:
        """An instance begins."""
        self._head = bytearray()

    async def add(self, piece: bytes) -> None:
        """Bytes of it."""
        if self._head is not None:
            self._head += piece
            offset = data_set_offset(bytes(self._head[:HEAD_BYTES])) if len(self._head) >= HEAD_BYTES else None
            if offset is None or len(self._head) < offset:
                if len(self._head) > _MOST_META:
                    self._head = None
                return
            piece = self._begin(bytes(self._head), offset)
            self._head = None
        if self._arrival is not None and piece:
            await self._feed(self._arrival, piece)

    def _begin(self, head: bytes, offset: int) -> bytes:
        meta = file_meta(head[:offset])
        reference = self.wanted.get(meta.sop_instance_uid) if meta else None
        if reference is not None:
            self._arrival = self._fetching.arriving(reference, head[:offset])
        return head[offset:]

    async def _feed(self, arrival: Arrival, piece: bytes) -> None:
        try:
            await arrival.feed(piece)
        except Abandoned:
            self._drop(arrival)
            return
        if not arrival.handed_over and arrival.goes_on:
            self._fetching.hand_over(arrival)

    async def end(self) -> None:
        """It has come whole."""
        arrival, self._arrival, self._head = self._arrival, None, None
        if arrival is None:
            return
        self._fetching.end(arrival)
        self.wanted.pop(arrival.reference.instance, None)
        try:
            arrival.finish()
        except Abandoned:
            return
        if not arrival.handed_over:
            self._fetching.hand_over(arrival)

    def close(self) -> None:
        """The answer is over; an instance in its middle is lost."""
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            self._fetching.end(arrival)
            if arrival.handed_over and not arrival.taken:
                self._fetching.withdraw(arrival)
            arrival.fail()

    def _drop(self, arrival: Arrival) -> None:
        """Nobody wants it: whoever had it has asked for it again, or has given up."""
        self._arrival = None
        self.wanted.pop(arrival.reference.instance, None)
        self.dropped = True
        self._fetching.end(arrival)


def _task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- there is always one in a coroutine
    return task


def _jobs(references: Sequence[Reference], *, whole_series: bool) -> list[_Job]:
    if not whole_series:
        return [_Job((one,)) for one in references]
    series: dict[tuple[str, str], list[Reference]] = {}
    for one in references:
        series.setdefault((one.study, one.series), []).append(one)
    found: list[_Job] = []
    for those in series.values():
        found += [_Job(tuple(those))] if len(those) >= WHOLE_SERIES else [_Job((one,)) for one in those]
    return found

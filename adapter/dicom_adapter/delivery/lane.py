"""From the spool to one destination, concurrently, as its Governor lets: oldest first, until it has each instance or refuses it for good.

Nothing else ever moves an instance out of the way: a destination that does not answer, does not let us in or is not there makes the lane
wait, however long. It then tries one instance at a time, with a pause that grows to a few seconds, and goes on at full speed with the first
answer. An instance that alone keeps failing is tried again after a pause of its own, which grows to minutes, and the others pass it by.

While instances come in a rush, whoever sends them comes first: there is one request at a time, until the oldest has waited for five seconds
or a quarter of the room is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dicom_adapter.delivery import failure
from dicom_adapter.delivery.failure import Refused
from dicom_adapter.delivery.gate import Passage
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.spooled import KEPT, Damaged, load
from dicom_adapter.delivery.target import Sent, Target, Whole
from dicom_adapter.delivery.verdict import Outcome, Verdict, damaged
from dicom_adapter.spool.entry import READY, Entry, directory
from dicom_adapter.spool.queue import Queue, Waiting
from dicom_adapter.spool.spool import Spool

_T = TypeVar("_T")
_FAILURES = 3  # in a row, until the lane takes it to be the destination
_FEW, _MOMENT = 4, 0.02
_RUSH, _RUSH_SECONDS = 8, 0.16  # so many images within that time
_PATIENCE = 5.0  # seconds that an image waits in a rush
_LONGEST_PAUSE = 300.0  # of one instance
_MEMORY = 64 << 20  # of instances that are being sent by all lanes


class LaneObserver(Protocol):
    """Hears what becomes of spooled instances. Called on the event loop; must not raise."""

    def delivered(self, destination: str, whole: Whole, verdict: Verdict, seconds: float) -> None:
        """The destination has it; `seconds` since it was acknowledged."""

    def refused(self, refused: Refused) -> None:
        """Never to be delivered as it is."""

    def put_off(self, destination: str, verdict: Verdict) -> None:
        """An attempt came to nothing; the instance waits."""

    def disk_failed(self, error: OSError) -> None:
        """The spool could not be read, or something in it not be moved or removed."""


class Memory:
    """What all lanes together hold of the instances that they are sending."""

    def __init__(self, most: int = _MEMORY) -> None:
        self._left = most

    def take(self, size: int) -> int:
        """As much, or nothing."""
        granted = size if size <= min(KEPT, self._left) else 0
        self._left -= granted
        return granted

    def give_back(self, size: int) -> None:
        """It is not needed any more."""
        self._left += size


@dataclass(frozen=True, slots=True)
class _Load:
    waiting: Waiting
    whole: Whole


@dataclass(frozen=True, slots=True)
class _Unsendable:
    waiting: Waiting
    error: Damaged | OSError


class Lane:
    """One destination's. `run` until cancelled."""

    def __init__(
        self,
        target: Target,
        spool: Spool,
        *,
        policy: RetryPolicy,
        observer: LaneObserver,
        threads: Executor,
        memory: Memory,
        clock: Callable[[], float],
        queue: Queue | None = None,
    ) -> None:
        self.target = target
        self.name = target.name
        self._loop = asyncio.get_running_loop()
        self.queue = queue or Queue(now=self._loop.time)
        self._spool = spool
        self._policy = policy
        self._observer = observer
        self._threads = threads
        self._memory = memory
        self._clock = clock
        self._changed = asyncio.Event()  # for `run`, until it has looked
        self._pulse = asyncio.Event()  # for everybody else
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries = 0
        self._arrivals: deque[float] = deque(maxlen=_RUSH)
        self._failures = 0
        self._last_failure = 0.0
        self._not_before = 0.0

    # -- what can be seen --------------------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """Whether the destination does not take anything now."""
        return self._failures >= _FAILURES

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._deliveries and not self._spool.counts[self.name].ready.instances

    def add(self, entry: Entry, sender: str) -> None:
        """A new entry in the spool."""
        self._arrivals.append(self._loop.time())
        self.queue.add(entry, sender)
        self.wake()

    async def drained(self) -> None:
        """Waits until nothing is left to do, or nothing can be done."""
        while not self.idle and not self.failing:
            await self._pulse.wait()

    def wake(self) -> None:
        """Something has changed."""
        self._changed.set()
        self._pulse.set()
        self._pulse.clear()

    # -- at work -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Delivers until cancelled; what is under way is broken off then, and stays in the spool."""
        try:
            while True:
                await self._something_due()
                await self._pause()
                await self._gather()
                passage = await self.target.gate.wait()
                most = self.target.most
                batch = self.queue.take(most.instances, most.bytes, trial=passage.permit.trial or self.failing)
                if batch:
                    self._deliveries += 1
                    self._start(self._deliver(passage, batch))
                else:
                    self.target.gate.leave(passage)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": f"a delivery to {self.name} failed", "exception": error})

    async def _something_due(self) -> None:
        while True:
            self._changed.clear()
            if self.queue.needs_reading:
                self._start(self._read_directory())
                await asyncio.sleep(0)
                continue
            seconds = self.queue.wait()
            if seconds <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, 3600.0)):
                    await self._changed.wait()

    async def _pause(self) -> None:
        """While the destination takes nothing: one at a time, and not at once."""
        while self.failing and (self._deliveries or self._loop.time() < self._not_before):
            if self._deliveries:
                await self._pulse.wait()
            else:
                await asyncio.sleep(self._not_before - self._loop.time())

    @property
    def _rush(self) -> bool:
        """Whether images come so fast that whoever sends them comes first; none waits too long for that, nor for want of room."""
        if len(self._arrivals) < _RUSH or self._loop.time() - self._arrivals[0] > _RUSH_SECONDS or not self._spool.roomy:
            return False
        oldest = self.queue.oldest_due
        return oldest is not None and self._clock() - oldest < _PATIENCE

    async def _gather(self) -> None:
        """In a rush there is one request at a time: its images' senders wait for us, and nobody for the destination.

        While several requests are under way, what comes within a moment shares the next one: a request costs more than an image.
        """
        while self._deliveries and self._rush:  # noqa: ASYNC110 -- it ends with time, not with an event
            await asyncio.sleep(_MOMENT)
        if self._deliveries >= _FEW and not self.failing and self.queue.due < self.target.most.instances:
            await asyncio.sleep(_MOMENT)

    async def _read_directory(self) -> None:
        reading = self.queue.begin_reading()
        try:
            names = self._spool.storage.scan(directory(self.name, READY))
            found = await self._in_thread(lambda: reading.choose(names))
        except OSError as error:
            self.queue.give_up_reading()
            self._observer.disk_failed(error)
        else:
            self.queue.end_reading(*found)

    # -- one attempt -------------------------------------------------------------------------------

    async def _deliver(self, passage: Passage, batch: list[Waiting]) -> None:
        held = [self._memory.take(waiting.entry.length) for waiting in batch]
        try:
            sent: Sent | None = None
            try:
                loads = await self._in_thread(lambda: [self._load(waiting, keep) for waiting, keep in zip(batch, held, strict=True)])
                ready = [load for load in loads if isinstance(load, _Load)]
                await self._set_aside([load for load in loads if isinstance(load, _Unsendable)])
                if ready:
                    sent = await self.target.send([load.whole for load in ready])
                    passage.ending, passage.seconds, passage.retry_after = sent.ending, sent.seconds, sent.retry_after
            finally:
                self.target.gate.leave(passage)
            if sent is not None:
                self._learn(sent, passage)
                await self._finish(ready, sent)
        except Exception as error:  # the file could not be read on, or a mistake of ours: it must not be tried again at once
            for waiting in batch:
                self._put_off(waiting)
            if not isinstance(error, OSError):
                raise
            self._observer.disk_failed(error)
        finally:
            for size in held:
                self._memory.give_back(size)
            for waiting in batch:  # broken off: it waits as before
                self.queue.put_back(waiting, due=waiting.due)
            self._deliveries -= 1
            self.wake()

    def _load(self, waiting: Waiting, keep: int) -> _Load | _Unsendable:
        path = f"{directory(self.name, READY)}/{waiting.entry.name}"
        try:
            return _Load(waiting, load(self._spool.storage, path, waiting.entry, keep=keep > 0))
        except (Damaged, OSError) as error:
            return _Unsendable(waiting, error)

    async def _set_aside(self, unsendable: list[_Unsendable]) -> None:
        for waiting, error in ((one.waiting, one.error) for one in unsendable):
            if isinstance(error, FileNotFoundError):
                self.queue.forget(waiting.entry)
            elif isinstance(error, Damaged):
                await self._refuse(waiting, None, damaged(str(error)))
            else:  # the disk, not the instance
                self._observer.disk_failed(error)
                self._put_off(waiting)

    def _learn(self, sent: Sent, passage: Passage) -> None:
        """What an attempt tells about the destination."""
        now = self._loop.time()
        if sent.ending is Ending.ANSWERED:
            if self.failing:
                self.queue.hurry()
            self._failures = 0
        elif passage.permit.started >= self._last_failure:  # several that were under way together count once
            self._failures += 1 if sent.ending is not Ending.THROTTLED else 0
            self._last_failure = now
            backoff = self._policy.initial_delay * 2.0 ** max(0, self._failures - _FAILURES)
            pause = min(self._policy.maximum_delay, backoff) * (0.5 + 0.5 * random.random())  # noqa: S311 -- a jitter
            self._not_before = now + max(pause, sent.retry_after or 0.0)

    async def _finish(self, loads: list[_Load], sent: Sent) -> None:
        settled = [
            (load.waiting, load.whole, await self.target.settle(load.whole, verdict))
            for load, verdict in zip(loads, sent.verdicts, strict=True)
        ]
        stored = [one for one in settled if one[2].outcome is Outcome.STORED]
        for waiting, whole, verdict in stored:
            seconds = max(0.0, self._clock() - waiting.entry.seconds)
            self._observer.delivered(self.name, whole, verdict, seconds)
        await self._remove([waiting for waiting, _, _ in stored])
        for waiting, whole, verdict in settled:
            if verdict.outcome is Outcome.INSTANCE_REFUSED:
                await self._refuse(waiting, whole, verdict)
            elif verdict.outcome is not Outcome.STORED:
                self._observer.put_off(self.name, verdict)
                if sent.split and not waiting.alone:
                    waiting.alone = True
                    self.queue.put_back(waiting, due=self._loop.time())
                else:
                    self._put_off(waiting)

    async def _remove(self, delivered: list[Waiting]) -> None:
        def remove() -> list[tuple[Waiting, OSError | None]]:
            return [(waiting, self._removed(waiting.entry)) for waiting in delivered]

        for waiting, error in await self._in_thread(remove):
            if error is None:
                self.queue.forget(waiting.entry)
            else:  # it is sent again, which does no harm, until it can be removed
                self._observer.disk_failed(error)
                self.queue.put_back(waiting, due=self._loop.time() + _LONGEST_PAUSE)

    def _removed(self, entry: Entry) -> OSError | None:
        try:
            self._spool.remove(self.name, entry)
        except OSError as error:
            return error
        return None

    async def _refuse(self, waiting: Waiting, whole: Whole | None, verdict: Verdict) -> None:
        refused = Refused(self.name, waiting.entry, whole, verdict, waiting.attempts + 1)
        story = failure.encode(refused, self._clock())
        try:
            await self._in_thread(lambda: self._spool.fail(self.name, waiting.entry, story))
        except FileNotFoundError:
            self.queue.forget(waiting.entry)
        except OSError as error:
            self._observer.disk_failed(error)
            self._put_off(waiting)
        else:
            self.queue.forget(waiting.entry)
            self._observer.refused(refused)

    def _put_off(self, waiting: Waiting) -> None:
        waiting.attempts += 1
        longest = min(_LONGEST_PAUSE, self._policy.initial_delay * 2.0 ** min(waiting.attempts, 32))
        self.queue.put_back(waiting, due=self._loop.time() + longest * (0.5 + 0.5 * random.random()))  # noqa: S311 -- a jitter

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await self._loop.run_in_executor(self._threads, work)

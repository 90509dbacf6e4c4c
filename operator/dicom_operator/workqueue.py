"""A keyed work queue: what client-go's workqueue and controller-runtime's loop promise, on asyncio.

- `add` coalesces: a key waits at most once, and is never processed twice at the same time. Added while it is processed, it runs
  once more afterwards. It overrides any pending delay.
- `add_after` keeps the earliest deadline.
- `retry` waits exponentially longer with full jitter (per key) until `forget`.
- First come, first served: a key that comes back goes behind those that wait, so that a hot key starves nobody.
- What has happened (`add`) goes before what is only looked at again (`look`, and whatever was delayed): a thousand looks do not hold up
  the repair of a child that somebody has deleted. Looks leave one worker free, and get their turn however much happens.
- `close` forgets what waits, takes nothing new and lets what runs end; `open` takes keys again, for a replica that leads again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

OVERTAKE = 8
"""How many keys may overtake the first of those that are only looked at again."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do until something happens."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Look again after some time; not a failure."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed: again with backoff, not before `at_least` seconds."""

    at_least: float = 0.0


Outcome = Done | RequeueAfter | Retry


class WorkQueue(Generic[K]):
    """The queue and its workers."""

    def __init__(self, *, random: Callable[[], float], base: float = 1.0, ceiling: float = 300.0) -> None:
        self._random = random
        self._base = base
        self._ceiling = ceiling
        self._waiting: deque[K] = deque()
        self._looks: OrderedDict[K, None] = OrderedDict()
        self._looking: set[K] = set()
        self._most_looks = 1
        self._overtaken = 0
        self._since: dict[K, float] = {}
        self._running: set[K] = set()
        self._dirty: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wake: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._progress = 0.0
        self.retries = 0

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting) + len(self._looks)

    @property
    def in_flight(self) -> int:
        """Keys that are being processed."""
        return len(self._running)

    @property
    def oldest_age(self) -> float:
        """How long the longest waiting or running key has been at it, in seconds."""
        now = asyncio.get_running_loop().time()
        return max((now - since for since in self._since.values()), default=0.0)

    @property
    def stalled_for(self) -> float:
        """How long there has been work and none of it started or ended, in seconds: while the API server is away, all is slow but moves."""
        if not self._since:
            return 0.0
        return asyncio.get_running_loop().time() - max(self._progress, min(self._since.values()))

    def add(self, key: K) -> None:
        """Process the key as soon as possible."""
        if self._closed:
            return
        self._cancel_timer(key)
        if key in self._running:
            self._dirty.add(key)
        elif key in self._looks:
            del self._looks[key]
            self._wait(key)
        elif key not in self._since:
            self._enqueue(key)

    def look(self, key: K) -> None:
        """Process the key when nothing that has happened waits."""
        if self._closed or key in self._since:
            return
        self._cancel_timer(key)
        self._since[key] = asyncio.get_running_loop().time()
        self._looks[key] = None
        self._notify()

    def add_after(self, key: K, seconds: float) -> None:
        """Process the key after some time, unless it comes earlier for another reason."""
        if self._closed or (key in self._since and key not in self._running) or key in self._dirty:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(0.0, seconds)
        timer = self._timers.get(key)
        if timer and timer.when() <= deadline:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(deadline, self.look, key)

    def retry(self, key: K, at_least: float = 0.0) -> None:
        """Process the key again after its backoff."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.retries += 1
        longest = min(self._ceiling, self._base * 2.0 ** min(failures - 1, 32))
        self.add_after(key, max(at_least, longest * self._random()))

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts from the shortest backoff."""
        self._failures.pop(key, None)

    async def run(self, workers: int, process: Callable[[K], Awaitable[Outcome]]) -> None:
        """Works until closed. An exception of `process` ends every worker and is raised: a silent hole is worse than a restart."""
        self._most_looks = max(1, workers - 1)
        tasks = [asyncio.create_task(self._work(process), name=f"worker {number}") for number in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def open(self) -> None:
        """Take keys again; what failed before counts no more."""
        self._closed = False
        self._failures.clear()

    def close(self) -> None:
        """Take nothing new; `run` returns when what runs has ended."""
        self._closed = True
        for key in (*self._waiting, *self._looks):
            del self._since[key]
        for key in list(self._timers):
            self._cancel_timer(key)
        self._waiting.clear()
        self._looks.clear()
        self._dirty.clear()
        while self._wake:
            self._notify()

    async def _work(self, process: Callable[[K], Awaitable[Outcome]]) -> None:
        while True:
            key = await self._get()
            if key is None:
                return
            try:
                outcome = await process(key)
            finally:
                self._finished(key)
            self._settle(key, outcome)

    def _settle(self, key: K, outcome: Outcome) -> None:
        match outcome:
            case Done():
                self.forget(key)
            case RequeueAfter(seconds):
                self.forget(key)
                self.add_after(key, seconds)
            case Retry(at_least):
                self.retry(key, at_least)

    async def _get(self) -> K | None:
        while (key := self._next()) is None:
            if self._closed:
                return None
            future = asyncio.get_running_loop().create_future()
            self._wake.append(future)
            await future
        self._running.add(key)
        self._progress = asyncio.get_running_loop().time()
        return key

    def _next(self) -> K | None:
        look = bool(self._looks) and len(self._looking) < self._most_looks
        if self._waiting and not (look and self._overtaken >= OVERTAKE):
            self._overtaken += look
            return self._waiting.popleft()
        if not look:
            return None
        self._overtaken = 0
        key, _ = self._looks.popitem(last=False)
        self._looking.add(key)
        return key

    def _finished(self, key: K) -> None:
        self._progress = asyncio.get_running_loop().time()
        self._running.discard(key)
        self._looking.discard(key)
        self._since.pop(key, None)
        if key in self._dirty:
            self._dirty.discard(key)
            self._enqueue(key)

    def _enqueue(self, key: K) -> None:
        if self._closed:
            return
        self._since[key] = asyncio.get_running_loop().time()
        self._wait(key)

    def _wait(self, key: K) -> None:
        self._waiting.append(key)
        self._notify()

    def _notify(self) -> None:
        while self._wake:
            future = self._wake.popleft()
            if not future.done():
                future.set_result(None)
                return

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()

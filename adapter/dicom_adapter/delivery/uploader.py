"""The spool of a running adapter: who writes into it, the lanes out of it, and what can be seen of it.

A spool is there when the senders are answered after it (`delivery.acknowledge: AfterSpool`), and when a directory is named where one may be
left over from that: what is in it is delivered in either case.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dicom_adapter import messages
from dicom_adapter.config import BacklogThresholds
from dicom_adapter.delivery import leftovers
from dicom_adapter.delivery.lane import Lane, LaneObserver, Memory
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.spooling import Spooling
from dicom_adapter.delivery.target import DEFAULT_TARGET, Target
from dicom_adapter.environment import CannotRun
from dicom_adapter.spool import errors, requests
from dicom_adapter.spool.entry import INCOMING, Entry
from dicom_adapter.spool.errors import SpoolFull, SpoolInUse
from dicom_adapter.spool.lock import Lock
from dicom_adapter.spool.spool import Bounds, Spool
from dicom_adapter.spool.storage import Disk, Storage
from dicom_adapter.state import DestinationBacklog, SpoolReason, SpoolState

_T = TypeVar("_T")
_WRITERS = 32
_READERS = 8
_POLL_SECONDS = 1.0
_LOCK_SECONDS = 1.0
_ROOM_SECONDS = 10.0


class Observer(LaneObserver, Protocol):
    """Whoever counts and logs."""

    def adopted(self, destination: str, instances: int, *, orphaned: bool) -> None:
        """Found at the start; `orphaned`: for a destination that is not configured."""

    def leftovers_adopted(self, instances: int) -> None:
        """So many files of Google's adapter have been taken into the spool."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the spool is, and what it may take. `pod`: the name of the pod, when it is one."""

    directory: str
    bounds: Bounds
    thresholds: BacklogThresholds
    pod: str = ""


class Uploader:
    """One adapter's. `start`, then `drain` and `stop`."""

    def __init__(
        self,
        place: Place,
        targets: Sequence[Target],
        *,
        policy: RetryPolicy,
        observer: Observer,
        storage: Storage | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._place = place
        self._observer = observer
        self._clock = clock
        self._lock = Lock(place.directory)
        self.spool = Spool(storage or Disk(place.directory), [target.name for target in targets], place.bounds)
        self.troubled = asyncio.Event()
        self._writers = ThreadPoolExecutor(_WRITERS, "spool-write")
        self._readers = ThreadPoolExecutor(_READERS, "spool-read")
        memory = Memory()
        self.lanes = {
            target.name: Lane(target, self.spool, policy=policy, observer=observer, threads=self._readers, memory=memory, clock=clock)
            for target in targets
        }
        self.spooling = Spooling(self.spool, self._writers, taken=self._taken, troubled=self.troubled.set)
        self._tasks: set[asyncio.Task[None]] = set()

    def _taken(self, entry: Entry, destinations: Sequence[str], sender: str) -> None:
        for name in destinations:
            self.lanes[name].add(entry, sender)

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Takes the lock, finds what is there, and begins to deliver. Raises CannotRun."""
        directory = self._place.directory
        try:
            await self._in_thread(self._open)
        except SpoolInUse:
            raise CannotRun(messages.spool_in_use(directory)) from None
        except OSError as error:
            raise CannotRun(messages.spool_unusable(directory, errors.why(error))) from error
        for name, counts in self.spool.counts.items():
            if counts.ready.instances:
                self._observer.adopted(name, counts.ready.instances, orphaned=name not in self.lanes)
        for lane in self.lanes.values():
            self._start(lane.run())
        self._start(self._serve_requests())
        self._start(self._adopt_leftovers())

    def _open(self) -> None:
        self.spool.storage.make_directory("")
        self._lock.acquire(patience=_LOCK_SECONDS)
        try:
            self.spool.open()
            requests.clear(self.spool)
            if len(self.lanes) > 1:
                self._try_link()
        except BaseException:
            self._lock.release()
            raise

    def _try_link(self) -> None:
        storage = self.spool.storage
        one, other = f"{INCOMING}/link", f"{INCOMING}/linked"
        storage.close(storage.create(one))
        try:
            storage.link(one, other)
        except OSError as error:
            raise CannotRun(messages.spool_without_links(self._place.directory, errors.why(error))) from error
        storage.unlink(one)
        storage.unlink(other)

    async def drain(self, deadline: float) -> None:
        """Delivers on until nothing is left, nothing can be delivered, or the time (of the loop's clock) is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await asyncio.gather(*(lane.drained() for lane in self.lanes.values()))

    async def stop(self) -> int:
        """Breaks off what is under way; gives how many instances stay."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in (self._writers, self._readers):
            await asyncio.to_thread(pool.shutdown)
        self.spool.storage.release()
        self._lock.release()
        return sum(counts.ready.instances for counts in self.spool.counts.values())

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.create_task(coroutine))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    # -- beside it ---------------------------------------------------------------------------------

    async def _serve_requests(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            serving = requests.serve(self.spool)
            try:
                while (done := await self._in_thread(functools.partial(next, serving, None))) is not None:
                    for one in done:
                        self._acted(one)
            except OSError as error:
                self._observer.disk_failed(error)

    def _acted(self, done: requests.Done) -> None:
        lane = self.lanes.get(done.destination)
        if lane is None:
            return
        if done.action == "retry":
            lane.add(done.entry, "")
        else:
            lane.queue.forget(done.entry)
            lane.wake()

    async def _adopt_leftovers(self) -> None:
        """What Google's adapter has left in this directory goes to the default destination, one file after the other."""
        count, unreadable = 0, set[str]()
        while names := await self._in_thread(lambda: leftovers.find(self.spool.storage, unreadable)):
            for name in names:
                try:
                    entry = await self._in_thread(functools.partial(leftovers.adopt, self.spool, name, DEFAULT_TARGET))
                except OSError as error:
                    self._observer.disk_failed(error)
                    unreadable.add(name)
                except errors.SpoolError:  # no room now
                    await asyncio.sleep(_ROOM_SECONDS)
                else:
                    self.lanes[DEFAULT_TARGET].add(entry, "")
                    count += 1
        if count:
            self._observer.leftovers_adopted(count)

    # -- what can be seen --------------------------------------------------------------------------

    def oldest(self, name: str) -> float | None:
        """When the oldest instance for a destination came: time.time(); None when there is none."""
        lane = self.lanes.get(name)
        return lane.queue.oldest if lane is not None and self.spool.counts[name].ready.instances else None

    def state(self) -> SpoolState:
        """For /status."""
        reason, message = self._verdict()
        destinations = tuple(
            DestinationBacklog(
                name,
                counts.ready.instances,
                counts.ready.bytes,
                counts.failed.instances,
                self.oldest(name),
                "NotConfigured" if name not in self.lanes else "Waiting" if self.lanes[name].failing else "Delivering",
            )
            for name, counts in sorted(self.spool.counts.items())
        )
        return SpoolState(reason, message, destinations)

    def _verdict(self) -> tuple[SpoolReason, str]:
        place, trouble = self._place, self.spool.trouble
        if trouble.final is not None:
            return SpoolReason.FAULTY, messages.spool_faulty(place.pod, place.directory, trouble.final.code)
        if isinstance(trouble.error, SpoolFull):
            return SpoolReason.FULL, messages.SPOOL_FULL
        if isinstance(trouble.error, errors.SpoolFaulty):
            return SpoolReason.FAULTY, messages.spool_not_writable(place.pod, place.directory, trouble.error.code)
        if names := self._backlogged():
            return SpoolReason.BACKLOGGED, messages.spool_backlogged(names, place.thresholds.seconds, place.thresholds.instances)
        return SpoolReason.DELIVERING, messages.SPOOL_DELIVERING

    def _backlogged(self) -> list[str]:
        """The destinations whose images wait for too long; where all together are too many, the one of most of them as well."""
        thresholds, now, counts = self._place.thresholds, self._clock(), self.spool.counts
        names = [name for name in self.lanes if (when := self.oldest(name)) is not None and now - when > thresholds.seconds]
        waiting = sum(one.ready.instances for one in counts.values())
        if thresholds.instances is not None and waiting > thresholds.instances:
            most = max(counts, key=lambda name: counts[name].ready.instances)
            names += [most] if most not in names else []
        return names

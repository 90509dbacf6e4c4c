"""The flow from a source to a destination: what is pulled, fetched, sent and settled, and what waits for what.

Back-pressure goes the whole way: an image holds its place among the fetches until the destination has taken it, and what is pulled is no
more than what is free. `events.TABLE` says what is done about whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.export import messages, notification
from dicom_adapter.export.attempts import Attempts, Recent, Spacing, pause
from dicom_adapter.export.circuit import Circuit
from dicom_adapter.export.config import Delivery
from dicom_adapter.export.destination import Destination, Lane
from dicom_adapter.export.events import Action, Event, Result, Side
from dicom_adapter.export.fetch import Failed, Fetcher, Image
from dicom_adapter.export.pubsub import Received
from dicom_adapter.export.sources import Source
from dicom_adapter.export.studies import Studies

PULLS = 2
"""Under way at a time: one may answer early with little, and latency counts."""
MOST_PARKED = 20_000
GONE_PAUSES = (5.0, 30.0, 60.0)
HELD_SECONDS = 600.0
_MOST_AGAIN = 4
_AT_A_TIME = 64  # instances of one series or study
_OF_DESTINATION = (Event.STORED, Event.STORED_WITH_WARNING, Event.REFUSED, Event.SYNTAX_REFUSED)  # events of a destination that works


class Observer(Protocol):
    """Counts and logs. Called on the event loop; must not raise."""

    def settled(self, result: str, published: float | None) -> None:
        """A message has come to an end, or is retried; `published` is when it was, if it ended well."""

    def fetched(self, seconds: float) -> None:
        """An image has come, or its beginning."""

    def stored(self, size: int, seconds: float) -> None:
        """The destination has an image."""

    def warned(self, resource: str, text: str) -> None:
        """It has it, with a warning."""

    def failed(self, event: str, text: str) -> None:
        """One image, or message, did not get through; a sentence for the log."""

    def retained(self, count: int) -> None:
        """So many are tried again without end."""


class Matches(Protocol):
    """`spec.filter`."""

    def __call__(self, image: Image) -> bool:
        """Whether the image is one that is asked for."""


class _Held(Exception):
    """It has been held for too long: somebody else may have it."""


@dataclass(slots=True)
class _Work:
    """One message in hand. `moving`: so many of its images are on their way just now; `since`: it is held for a circuit since then."""

    received: Received
    resource: str = "a message"
    moving: int = 0
    since: float | None = None


class Exporter:
    """Brings messages to an end."""

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        destination: Destination,
        *,
        read: Callable[[Received], notification.Notification],
        spec: Delivery,
        studies: Callable[[Callable[[int], None]], Studies] | None,
        matches: Matches | None,
        circuits: dict[Side, Circuit],
        observer: Observer,
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._destination = destination
        self._read = read
        self._spec = spec
        self._studies = studies(self._park) if studies else None
        self._matches = matches
        self._circuits = circuits
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._fetches = asyncio.Semaphore(spec.max_concurrent_fetches)
        self._spacing = Spacing(spec.max_requests_per_minute, self._loop.time)
        self._stored = 0
        self._attempts = Attempts(lambda: self._stored)
        self._recent = Recent(self._loop.time)
        self._under_way: dict[tuple[str, str], asyncio.Future[bool]] = {}
        self._work: dict[asyncio.Task[None], _Work] = {}
        self._draining = False
        self._asked = 0
        self._parked = 0
        self._freed = asyncio.Event()

    # -- what is in hand ---------------------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Messages in hand."""
        return len(self._work)

    @property
    def oldest(self) -> float | None:
        """When the oldest of them was published (time.time())."""
        return min((work.received.published for work in self._work.values() if work.received.published), default=None)

    async def run(self) -> None:
        """Pulls until cancelled; what is in hand by then goes on."""
        async with asyncio.TaskGroup() as group:
            for _ in range(PULLS):
                group.create_task(self._pull())

    async def drain(self, deadline: float) -> None:
        """Lets what is being sent come to its end until `deadline` (loop time), and ends the rest: the source gives it to others."""
        self._draining = True
        moving = {task for task, work in self._work.items() if work.moving}
        for task in set(self._work) - moving:
            task.cancel()
        if moving:
            _, late = await asyncio.wait(moving, timeout=max(0.0, deadline - self._loop.time()))
            for task in late:
                task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if self._studies:
            await self._studies.end()

    def _park(self, change: int) -> None:
        self._parked += change
        self._freed.set()

    @property
    def _free(self) -> int:
        busy = len(self._work) + self._asked
        return min(self._spec.max_outstanding - (busy - self._parked), MOST_PARKED - busy)

    async def _pull(self) -> None:
        while True:
            for circuit in self._circuits.values():
                await circuit.closed()
            if any(circuit.open for circuit in self._circuits.values()):
                continue
            most = max(1, self._free // PULLS) if self._free > 0 else 0
            if not most:
                self._freed.clear()
                await self._freed.wait()
                continue
            self._asked += most
            try:
                found = await self._source.take(most)
            finally:
                self._asked -= most
            for received in found:
                work = _Work(received)
                task = asyncio.create_task(self._handle(work))
                self._work[task] = work
                task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[None]) -> None:
        received = self._work.pop(task).received
        self._freed.set()
        if task.cancelled():
            return
        if error := task.exception():
            self._source.later(received, pause(1))
            self._observer.failed("Mistake", messages.mistake(type(error).__name__))

    # -- one message -------------------------------------------------------------------------------

    async def _handle(self, work: _Work) -> None:
        received = work.received
        try:
            result = await self._result(work)
        except _Held:
            self._source.later(received, 0)
            self._observer.settled("retried", None)
            return
        row = result.row
        if row.action in (Action.ACKNOWLEDGE, Action.WAIT):
            self._source.done(received)
            self._forget(received)
            self._observer.settled(row.result, received.published or None)
            if row.action is Action.WAIT:
                self._observer.failed("Gone", messages.gone(work.resource))
        else:
            await self._set_aside(work, result)

    async def _result(self, work: _Work) -> Result:
        try:
            found = self._read(work.received)
        except notification.Unreadable as error:
            return Result(Event.UNREADABLE, str(error))
        work.resource = found.resource
        if not found.arrival:
            return Result(Event.NOT_AN_ARRIVAL)
        if found.path is not None:
            return await self._instance(work, found.path, found.version)
        listed = await self._listed(work, found)
        return listed if isinstance(listed, Result) else await self._several(work, listed, found.version)

    async def _listed(self, work: _Work, found: notification.Notification) -> list[InstancePath] | Result:
        paths: list[InstancePath] = []

        async def attempt() -> Result:
            paths[:] = await self._fetcher.instances(found)
            return Result(Event.STORED)

        result = await self._persist(work, attempt, (Side.SOURCE,))
        return paths if result.event is Event.STORED else result

    async def _several(self, work: _Work, paths: list[InstancePath], version: str) -> Result:
        """The instances of a series or study: done when all of them are."""
        worst = Result(Event.KNOWN)
        for start in range(0, len(paths), _AT_A_TIME):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._instance(work, path, version)) for path in paths[start : start + _AT_A_TIME]]
            for task in tasks:
                result = task.result()
                if result.row.action is Action.SET_ASIDE or worst.event is Event.KNOWN:
                    worst = result
            if worst.row.action is Action.SET_ASIDE:
                break  # it comes again; what was exported is known by then
        return worst

    async def _instance(self, work: _Work, path: InstancePath, version: str) -> Result:
        key = (str(path), version)
        while (other := self._under_way.get(key)) is not None:
            if await asyncio.shield(other):
                return Result(Event.KNOWN)
        if key in self._recent:
            return Result(Event.KNOWN)
        ended = self._under_way[key] = self._loop.create_future()
        done = False
        try:
            result = await self._exported(work, path)
            done = result.row.action is Action.ACKNOWLEDGE
            if done:
                self._recent.add(key)
            return result
        finally:
            del self._under_way[key]
            ended.set_result(done)

    async def _exported(self, work: _Work, path: InstancePath) -> Result:
        async with contextlib.AsyncExitStack() as stack:
            lane: Lane = self._destination
            if self._studies:
                lane = await stack.enter_async_context(self._studies.member(path.study))
            return await self._persist(work, lambda: self._attempt(path, lane), tuple(Side))

    # -- one image ---------------------------------------------------------------------------------

    async def _persist(self, work: _Work, attempt: Callable[[], Awaitable[Result]], sides: tuple[Side, ...]) -> Result:
        """Attempts, until one comes to an end; what is not the image's fault is waited for."""
        pauses, again = iter(GONE_PAUSES), 0
        while True:
            result = await self._turn(work, attempt, sides)
            if result.event is Event.STALE and (again := again + 1) > _MOST_AGAIN:
                result = Result(Event.DESTINATION_UNAVAILABLE, result.text, result.reason)
            self._learn(result, sides)
            match result.row.action:
                case Action.ACKNOWLEDGE | Action.SET_ASIDE:
                    return result
                case Action.WAIT:
                    self._observer.settled("retried", None)
                    if (seconds := next(pauses, None)) is not None:
                        await asyncio.sleep(seconds)
                    elif (trouble := await self._fetcher.probe()) is None:
                        return result
                    else:  # it answers 404 to everything: it is the store that is not there
                        self._circuits[Side.SOURCE].fail(trouble)
                        pauses = iter(GONE_PAUSES)
                case Action.HOLD:
                    self._observer.settled("retried", None)
                    suspicious = result.row.suspects and self._attempts.suspect(work.received.id) >= self._spec.max_delivery_attempts
                    if suspicious:
                        return result
            if self._draining:
                raise _Held

    async def _turn(self, work: _Work, attempt: Callable[[], Awaitable[Result]], sides: tuple[Side, ...]) -> Result:
        """One attempt, in a place among the fetches, not too soon after the one before, and when both circuits let it go."""
        async with self._fetches:
            if seconds := self._spacing.turn():
                await asyncio.sleep(seconds)
            await self._passage(work, sides)
            work.moving += 1
            try:
                return await attempt()
            except Failed as failed:
                return failed.result
            except BaseException:
                for side in sides:
                    self._circuits[side].undecided()
                raise
            finally:
                work.moving -= 1

    async def _passage(self, work: _Work, sides: tuple[Side, ...]) -> None:
        """Waits for both circuits, ten minutes in all."""
        for side in sides:
            if self._circuits[side].open and work.since is None:
                work.since = self._loop.time()
        try:
            async with asyncio.timeout_at(None if work.since is None else work.since + HELD_SECONDS):
                for side in sides:
                    await self._circuits[side].passage()
        except TimeoutError:
            raise _Held from None

    def _learn(self, result: Result, sides: tuple[Side, ...]) -> None:
        """What the attempt has shown of the two sides."""
        source, destination = self._circuits[Side.SOURCE], self._circuits[Side.DESTINATION]
        if result.row.side is Side.SOURCE:
            source.fail(result.trouble)
        else:
            source.succeed()
        if Side.DESTINATION not in sides:
            return
        if result.row.side is Side.DESTINATION:
            destination.fail(result.trouble)
        elif result.event in _OF_DESTINATION:
            destination.succeed()
        else:
            destination.undecided()

    async def _attempt(self, path: InstancePath, lane: Lane) -> Result:
        """Fetches and sends once. Raises Failed."""
        began = self._loop.time()
        async with self._fetcher.fetch(path) as image:
            fetched = self._loop.time()
            self._observer.fetched(fetched - began)
            if self._matches and not self._matches(image):
                return Result(Event.FILTERED)
            result = await lane.send(image)
            if result.row.action is Action.ACKNOWLEDGE:
                self._stored += 1
                self._observer.stored(image.size, self._loop.time() - fetched)
                if result.text:
                    self._observer.warned(str(path), result.text)
            return result

    # -- what does not get through -----------------------------------------------------------------

    async def _set_aside(self, work: _Work, result: Result) -> None:
        """Later, more and more rarely, and in the end a dead letter. It is never dropped without a word."""
        received, most, topic = work.received, self._spec.max_delivery_attempts, self._spec.dead_letter_topic
        attempt = self._attempts.count(received.id) if result.row.action is Action.SET_ASIDE else most
        outcome = "retried"
        if self._source.counts:
            attempt = max(attempt, received.attempt)
            self._source.later(received, pause(attempt))
            text = messages.left_to_the_policy(work.resource, result.text, attempt)
        elif attempt < most:
            self._source.later(received, pause(attempt))
            text = messages.set_aside(work.resource, result.text, attempt, most, pause(attempt))
        elif topic and await self._source.publish(topic, received, result.text):
            self._source.done(received)
            self._forget(received)
            text, outcome = messages.dead_letter(work.resource, result.text, topic), "dead_lettered"
        else:
            self._source.later(received, pause(most + 16))
            if not topic:
                self._attempts.retained.add(received.id)
                self._observer.retained(len(self._attempts.retained))
            text = messages.retained(work.resource, result.text) if not topic else messages.not_published(work.resource, topic)
        self._observer.settled(outcome, None)
        self._observer.failed(str(result.event), text)

    def _forget(self, received: Received) -> None:
        self._attempts.forget(received.id)
        self._observer.retained(len(self._attempts.retained))

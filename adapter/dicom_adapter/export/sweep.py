"""A store without Pub/Sub: it is searched now and then for studies of the last days, and what a ledger does not know is exported.

A study whose number of instances has not changed is not looked at again. What has a Study Date outside the window, or none, is not seen;
the longest window is all there is. The same sweep finds what a notification was lost of (`Reconciling`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import date, timedelta

from dicom_adapter.dimse.sopclasses import is_uid
from dicom_adapter.export.config import EVERY_DAY, Sweep
from dicom_adapter.export.events import Trouble
from dicom_adapter.export.fetch import Failed, Fetcher
from dicom_adapter.export.ledger import Ledger
from dicom_adapter.export.notification import Notification
from dicom_adapter.export.pubsub import Received
from dicom_adapter.export.sources import Source

_WAIT_SECONDS = 60.0
_FLUSH_SECONDS = 1.0
MOST_WAITING = 50_000


class SweepSource:
    """A source that searches. `told` hears what is wrong with the store when it cannot be searched."""

    counts = False

    def __init__(
        self,
        fetcher: Fetcher,
        spec: Sweep,
        ledger: Ledger,
        *,
        told: Callable[[Trouble | None], None],
        today: Callable[[], date] = date.today,
        adopts: bool = False,
    ) -> None:
        self._fetcher = fetcher
        self._spec = spec
        self._ledger = ledger
        self._told = told
        self._today = today
        self._adopts = adopts
        self._waiting: deque[Received] = deque()
        self._known: set[str] = set()  # waiting or in work
        self._arrived = asyncio.Event()

    # -- a Source ----------------------------------------------------------------------------------

    async def take(self, most: int) -> Sequence[Received]:
        """What the last sweep has found."""
        if not self._waiting:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), _WAIT_SECONDS)
        return self.at_once(most)

    def at_once(self, most: int) -> Sequence[Received]:
        """What is there."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def done(self, received: Received) -> None:
        """It is written down."""
        self._known.discard(received.id)
        self._ledger.add(received.id)

    def later(self, received: Received, seconds: int) -> None:
        """It waits, and then it is first in the row again."""
        asyncio.get_running_loop().call_later(seconds, self._put, received)

    async def publish(self, topic: str, received: Received, why: str) -> bool:
        """There is nowhere to publish to."""
        return False

    async def run(self) -> None:
        """Searches until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush())
            group.create_task(self._sweep())

    async def give_back(self) -> int:
        """What is not done is found again by the next one."""
        await self._ledger.close()
        return len(self._known)

    # -- the sweep ---------------------------------------------------------------------------------

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self._ledger.flush()

    async def _sweep(self) -> None:
        while True:
            try:
                await self.once()
            except Failed as failed:
                self._told(failed.result.trouble)
            else:
                self._told(None)
            await asyncio.sleep(self._spec.interval_seconds)

    async def once(self) -> None:
        """One search of the window. Raises Failed."""
        noting = self._adopts and not await self._ledger.adopted()
        since = self._today() - timedelta(days=self._spec.lookback_days)
        dates = f"{since:%Y%m%d}-" if self._spec.lookback_days < EVERY_DAY else ""
        async for study, count in self._fetcher.studies(dates):
            if is_uid(study) and (count is None or await self._ledger.count(study) != count):
                await self._study(study, count, noting=noting)
        if noting:
            await self._ledger.adopt()

    async def _study(self, study: str, count: int | None, *, noting: bool) -> None:
        paths = {path.instance: path for path in await self._fetcher.instances(Notification(study))}
        missing = await self._ledger.missing(list(paths))
        if noting:
            for uid in missing:
                self._ledger.add(uid)
            missing = []
        if not missing and count is not None:
            await self._ledger.complete(study, count)
        for uid in missing:
            if uid not in self._known and len(self._known) < MOST_WAITING:
                self._known.add(uid)
                self._put(Received(uid, uid, str(paths[uid]).encode()))

    def _put(self, received: Received) -> None:
        self._waiting.append(received)
        self._arrived.set()


class Reconciling:
    """A subscription, and a sweep for what it did not tell of. What was in the store before the first sweep counts as exported."""

    def __init__(self, told: Source, sweep: SweepSource, ledger: Ledger, instance: Callable[[Received], str]) -> None:
        self._source = told
        self._sweep = sweep
        self._ledger = ledger
        self._instance = instance

    @property
    def counts(self) -> bool:
        """As the subscription's."""
        return self._source.counts

    async def take(self, most: int) -> Sequence[Received]:
        """What a sweep has found, or else the next messages."""
        return self._sweep.at_once(most) or await self._source.take(most)

    def done(self, received: Received) -> None:
        """Acknowledged, and written down."""
        if self._swept(received):
            self._sweep.done(received)
            return
        self._source.done(received)
        if uid := self._instance(received):
            self._ledger.add(uid)

    def later(self, received: Received, seconds: int) -> None:
        """By whoever has told of it."""
        (self._sweep if self._swept(received) else self._source).later(received, seconds)

    async def publish(self, topic: str, received: Received, why: str) -> bool:
        """To Pub/Sub."""
        return await self._source.publish(topic, received, why)

    async def run(self) -> None:
        """Both."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._source.run())
            group.create_task(self._sweep.run())

    async def give_back(self) -> int:
        """Both."""
        await self._sweep.give_back()
        return await self._source.give_back()

    def _swept(self, received: Received) -> bool:
        return received.handle == received.id and is_uid(received.id)

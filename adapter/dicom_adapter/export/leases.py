"""The messages that we have: kept ours while they are in work, and acknowledged, postponed or given back many at a time.

Pub/Sub gives a message to somebody else when its deadline is over. So what is in hand gets a new one when a third of it is over, and
acknowledgements go out every 50 ms, again and again until they have been taken: one that is lost costs a second delivery and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dicom_adapter.export.pubsub import LONGEST_DEADLINE, SHORTEST_DEADLINE, Invalid, PubSubClient, PubSubError

BATCH = 500
_FLUSH_SECONDS = 0.05
_LONGEST_PAUSE = 5.0
_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class _Lease:
    expires: float


class Leases:
    """The handles of messages in hand. `expired` is called for each that we may have lost to another subscriber."""

    def __init__(self, client: PubSubClient, *, expired: Callable[[int], None]) -> None:
        self._client = client
        self._expired = expired
        self._held: dict[str, _Lease] = {}
        self._done: list[str] = []
        self._postponed: dict[int, list[str]] = defaultdict(list)
        self._wanted = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self.deadline = float(SHORTEST_DEADLINE)

    @property
    def undone(self) -> int:
        """How many are in work."""
        return len(self._held) - len(self._done)

    def take(self, handles: Iterable[str]) -> None:
        """They have come just now."""
        now = self._loop.time()
        for handle in handles:
            self._held[handle] = _Lease(now + self.deadline)

    def done(self, handle: str) -> None:
        """It is acknowledged with the next batch; until then it stays ours."""
        self._done.append(handle)
        self._wanted.set()

    def postpone(self, handle: str, seconds: int) -> None:
        """It comes again after so long."""
        self._held.pop(handle, None)
        self._postponed[max(0, min(seconds, LONGEST_DEADLINE))].append(handle)
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle())
            group.create_task(self._keep())

    async def _settle(self) -> None:
        pause = _FLUSH_SECONDS
        while True:
            await self._wanted.wait()
            if len(self._done) < BATCH:
                await asyncio.sleep(pause)
            self._wanted.clear()
            try:
                await self.flush()
            except PubSubError as error:
                self._wanted.set()
                pause = max(error.retry_after or 0.0, min(2 * pause, _LONGEST_PAUSE))
                await asyncio.sleep(pause)
            else:
                pause = _FLUSH_SECONDS

    async def flush(self) -> None:
        """Tells Pub/Sub of everything that is settled. Raises PubSubError; what was not taken is told again the next time."""
        async with self._flushing:
            while self._done:
                batch = self._done[:BATCH]
                with contextlib.suppress(Invalid):  # they come again, if they are still there
                    await self._client.acknowledge(batch)
                del self._done[: len(batch)]
                for handle in batch:
                    self._held.pop(handle, None)
            while self._postponed:
                seconds, handles = next(iter(self._postponed.items()))
                batch = handles[:BATCH]
                with contextlib.suppress(Invalid):
                    await self._client.modify(batch, seconds)
                del handles[: len(batch)]
                if not handles:
                    del self._postponed[seconds]

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(self.deadline / 3, _LOOK_SECONDS))
            now = self._loop.time()
            late = sum(1 for lease in self._held.values() if lease.expires <= now)
            if late:
                self._expired(late)
            due = [handle for handle, lease in self._held.items() if lease.expires - now <= 2 * self.deadline / 3]
            for start in range(0, len(due), BATCH):
                batch = [handle for handle in due[start : start + BATCH] if handle in self._held]
                if not batch:
                    continue
                with contextlib.suppress(PubSubError):  # the next round comes before they expire
                    asked = self._loop.time()
                    await self._client.modify(batch, round(self.deadline))
                    for handle in batch:
                        if handle in self._held:
                            self._held[handle].expires = asked + self.deadline

    async def give_back(self, seconds: float) -> None:
        """The end: what is done is acknowledged, everything else is somebody else's at once. Never raises."""
        with contextlib.suppress(PubSubError, TimeoutError):
            async with asyncio.timeout(seconds):
                rest = set(self._held) - set(self._done)
                for handle in rest:
                    self.postpone(handle, 0)
                await self.flush()

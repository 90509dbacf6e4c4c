"""Where the exporter's work comes from: a subscription of Pub/Sub, or whatever can say the same things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from dicom_adapter.export.events import Reason, Trouble
from dicom_adapter.export.leases import Leases
from dicom_adapter.export.pubsub import (
    LONGEST_DEADLINE,
    PubSubClient,
    PubSubError,
    Received,
    Subscription,
    SubscriptionNotFound,
    Unauthorized,
)

_GIVE_BACK_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_ASK_AGAIN_SECONDS = 600.0


class Source(Protocol):
    """Messages, and what becomes of each."""

    @property
    def counts(self) -> bool:
        """Whether it sets aside by itself what is delivered too often."""

    async def take(self, most: int) -> Sequence[Received]:
        """The next messages; none after a while without. Does not raise for an outage, and takes its time instead."""

    def done(self, received: Received) -> None:
        """It need not come again."""

    def later(self, received: Received, seconds: int) -> None:
        """It is to come again after so long."""

    async def publish(self, topic: str, received: Received, why: str) -> bool:
        """To a topic for dead letters; whether it is there."""

    async def run(self) -> None:
        """What has to go on meanwhile, until cancelled."""

    async def give_back(self) -> int:
        """The end; gives how many were not done."""


class PubSubSource:
    """A subscription. `told` hears what is wrong with it, or that it works again.

    Nothing is pulled before its settings have been asked for: they tell how long a message is ours, and who sets one aside.
    """

    def __init__(
        self,
        client: PubSubClient,
        *,
        told: Callable[[Trouble | None], None],
        described: Callable[[Subscription | None], None],
        expired: Callable[[int], None],
    ) -> None:
        self._client = client
        self._told = told
        self._described = described
        self._leases = Leases(client, expired=expired)
        self._pause = _FIRST_PAUSE
        self._asked = asyncio.Event()
        self.counts = False

    async def run(self) -> None:
        """Keeps leases, and looks at the subscription's settings now and then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leases.run())
            group.create_task(self._describe())

    async def _describe(self) -> None:
        while True:
            try:
                found = await self._client.describe()
            except PubSubError:
                self._described(None)
            else:
                self.counts = found.dead_letter_after > 0
                self._leases.deadline = float(min(max(found.deadline, 1), LONGEST_DEADLINE))
                self._described(found)
            self._asked.set()
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def take(self, most: int) -> Sequence[Received]:
        """One pull."""
        await self._asked.wait()
        try:
            found = await self._client.pull(most)
        except PubSubError as error:
            if self._pause > _FIRST_PAUSE or isinstance(error, Unauthorized | SubscriptionNotFound):
                self._told(Trouble(Reason(error.reason), error.text))  # one that is lost is no news
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
            await asyncio.sleep(max(pause, min(error.retry_after or 0.0, _ASK_AGAIN_SECONDS)))
            return []
        self._pause = _FIRST_PAUSE
        self._told(None)
        self._leases.take(one.handle for one in found)
        return found

    def done(self, received: Received) -> None:
        """Acknowledged with the next batch."""
        self._leases.done(received.handle)

    def later(self, received: Received, seconds: int) -> None:
        """Its deadline becomes that."""
        self._leases.postpone(received.handle, seconds)

    async def publish(self, topic: str, received: Received, why: str) -> bool:
        """With its attributes, and ours: why, and which message it was."""
        attributes = {**received.attributes, "exportReason": why[:1024], "exportMessageId": received.id}
        try:
            await self._client.publish(topic, received.data, attributes)
        except PubSubError as error:
            self._told(Trouble(Reason(error.reason), error.text))
            return False
        return True

    async def give_back(self) -> int:
        """Acknowledges what is done and lets go of the rest."""
        rest = self._leases.undone
        await self._leases.give_back(_GIVE_BACK_SECONDS)
        return rest

"""Asks the store every 30 s whether it is there and lets us in (every 5 s while it does not), and tells of each change once."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicom_adapter import messages
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.state import StoreReason, StoreState


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between probes, and for which 429 is not yet a state of the store."""

    good: float = 30.0
    bad: float = 5.0
    throttled: float = 60.0


class Asked(Protocol):
    """What is probed: a way to a store, or to another node."""

    async def ask(self, *, write: bool) -> StoreState:
        """How it is; with `write` also whether it would let us write."""


class Known(Protocol):
    """Where what the probe sees is kept."""

    store: StoreState


class Probe:
    """The store as the probe sees it, or one of `spec.destinations`, which has a `name`."""

    def __init__(
        self,
        way: Asked,
        *,
        asks_for_permission: bool,
        state: Known,
        log: EventLog,
        pace: Pace = Pace(),
        now: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        self._name = name
        self._way = way
        self._asks_for_permission = asks_for_permission
        self._state = state
        self._log = log
        self._pace = pace
        self._now = now
        self._failing_since: float | None = None
        self._throttled_since: float | None = None
        self._doubted = asyncio.Event()
        self._tries_writing = False

    async def run(self) -> None:
        """Probes until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(self._pace.bad)
            if self._state.store.reason is StoreReason.REACHABLE and self._throttled_since is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.good - self._pace.bad):
                        await self._doubted.wait()

    async def once(self) -> None:
        """One probe. Any store but Google's is asked whether it lets us write only after it has refused an image, until it does."""
        self._doubted.clear()
        tried = self._tries_writing
        found = await self._way.ask(write=self._asks_for_permission or tried)
        if tried and found.reason is StoreReason.REACHABLE and not self._doubted.is_set():
            self._tries_writing = False
        self.learn(found)

    def doubt(self, *, refused: bool) -> None:
        """A delivery has met an obstacle: the next probe comes soon. `refused`: it was told that we may not, or not there."""
        self._tries_writing = self._tries_writing or refused
        self._doubted.set()

    def learn(self, found: StoreState) -> None:
        """Takes the result of a probe: a state that lasts, and a line for each change."""
        if found.reason is StoreReason.THROTTLED:
            self._throttled_since = self._now() if self._throttled_since is None else self._throttled_since
            if self._now() - self._throttled_since < self._pace.throttled:
                return  # a burst over the quota is no news
        else:
            self._throttled_since = None
        before = self._state.store
        if found.reason is before.reason and _steady(found.message) == _steady(before.message):
            found = before
        self._state.store = found
        if found.reason is StoreReason.REACHABLE:
            if self._failing_since is not None:
                self._say(Severity.INFO, "Recovered", messages.answers_again(self._now() - self._failing_since))
            self._failing_since = None
            return
        self._failing_since = self._now() if self._failing_since is None else self._failing_since
        if found != before:
            self._say(Severity.ERROR, "Unavailable", found.message, reason=str(found.reason))

    def _say(self, severity: Severity, event: str, message: str, **fields: str) -> None:
        if self._name:
            text = messages.at_destination(self._name, message)
            self._log.write(severity, f"Destination{event}", text, destination=self._name, **fields)
        else:
            self._log.write(severity, f"Store{event}", message, **fields)


def _steady(message: str) -> str:
    """A message without what moves by itself: some stores number their answers, and each change would rewrite the resource's status."""
    return re.sub(r"[0-9a-f][0-9a-f-]{5,}", "#", message)

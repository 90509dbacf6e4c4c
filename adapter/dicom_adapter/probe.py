"""Asks the store every 30 s whether it is there and lets us in (every 5 s while it does not), and tells of each change once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from dicom_adapter import credentials, diagnosis, messages
from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.config import Config
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.errors import Obstacle, StoreUnreachable
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.state import NodeState, StoreReason, StoreState


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between probes, of one probe, and for which 429 is not yet a state of the store."""

    good: float = 30.0
    bad: float = 5.0
    timeout: float = 10.0
    throttled: float = 60.0


class Probe:
    """The store as the probe sees it."""

    def __init__(
        self,
        client: DicomwebClient,
        config: Config,
        *,
        identity: Callable[[], str],
        state: NodeState,
        log: EventLog,
        pace: Pace = Pace(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._config = config
        self._identity = identity
        self._state = state
        self._log = log
        self._pace = pace
        self._now = now
        self._failing_since: float | None = None
        self._throttled_since: float | None = None

    async def run(self) -> None:
        """Probes until cancelled."""
        while True:
            self.learn(await self.ask())
            good = self._state.store.reason is StoreReason.REACHABLE and self._throttled_since is None
            await asyncio.sleep(self._pace.good if good else self._pace.bad)

    async def ask(self) -> StoreState:
        """One probe."""
        try:
            async with asyncio.timeout(self._pace.timeout):
                answer = await self._client.search()
        except TimeoutError:
            return diagnosis.of_failure(StoreUnreachable(Obstacle.SILENT, self._client.endpoint))
        except StoreUnreachable as error:
            return diagnosis.of_failure(error)
        except (Missing, Unusable, CredentialsUnavailable) as error:
            return StoreState(StoreReason.UNAUTHORIZED, credentials.explain(error, self._config.namespace)[1])
        return diagnosis.of_answer(answer, self._config, self._identity())

    def learn(self, found: StoreState) -> None:
        """Takes the result of a probe: a state that lasts, and a line for each change."""
        if found.reason is StoreReason.THROTTLED:
            self._throttled_since = self._now() if self._throttled_since is None else self._throttled_since
            if self._now() - self._throttled_since < self._pace.throttled:
                return  # a burst over the quota is no news
        else:
            self._throttled_since = None
        before, self._state.store = self._state.store, found
        if found.reason is StoreReason.REACHABLE:
            if self._failing_since is not None:
                self._log.write(Severity.INFO, "StoreRecovered", messages.answers_again(self._now() - self._failing_since))
            self._failing_since = None
            return
        self._failing_since = self._now() if self._failing_since is None else self._failing_since
        if found != before:
            self._log.write(Severity.ERROR, "StoreUnavailable", found.message, reason=str(found.reason))

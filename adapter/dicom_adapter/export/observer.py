"""Whoever hears of what the exporter does: metrics, /status and the log."""

from __future__ import annotations

import time
from collections.abc import Callable

from dicom_adapter.export import messages
from dicom_adapter.export.events import Side, Trouble
from dicom_adapter.export.metrics import ExportMetrics
from dicom_adapter.export.pubsub import Subscription
from dicom_adapter.export.state import ExportState
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.state import LastError


class ExportObserver:
    """Counts, and writes a line where people have to know."""

    def __init__(
        self,
        metrics: ExportMetrics,
        state: ExportState,
        log: EventLog,
        *,
        peer: str,
        clock: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._state = state
        self._log = log
        self._peer = peer
        self._clock = clock
        self._now = now
        self._down: dict[Side, float] = {}
        self._settings_known: bool | None = None

    # -- Observer of the exporter ------------------------------------------------------------------

    def settled(self, result: str, published: float | None) -> None:
        """A message has come to an end, or is retried."""
        self._metrics.messages.labels(result).inc()
        if published is not None:
            self._metrics.seconds.observe(max(0.0, self._clock() - published))

    def fetched(self, seconds: float) -> None:
        """An image has come, or its beginning."""
        self._metrics.fetch_seconds.observe(seconds)

    def stored(self, size: int, seconds: float) -> None:
        """The destination has an image."""
        self._state.exported += 1
        self._metrics.bytes.inc(size)
        self._metrics.store_seconds.observe(seconds)

    def warned(self, resource: str, text: str) -> None:
        """It has it, with a warning."""
        self._log.limited(Severity.WARNING, "StoredWithWarning", f"{resource}: {text}", peer=self._peer)

    def failed(self, event: str, text: str) -> None:
        """One image did not get through."""
        self._state.last_error = LastError(self._clock(), text)
        self._log.limited(Severity.WARNING, event, text, peer=self._peer)

    def retained(self, count: int) -> None:
        """So many are tried again without end."""
        self._state.retained = count

    # -- the sides ---------------------------------------------------------------------------------

    def circuit(self, side: Side, trouble: Trouble | None) -> None:
        """A circuit has opened, or closed, or something else is wrong."""
        self._state.learn(side, trouble)
        self._metrics.circuit_open.labels(side).set(trouble is not None)
        if trouble is not None:
            self._down.setdefault(side, self._now())
            self._state.last_error = LastError(self._clock(), trouble.text)
            self._log.limited(
                Severity.ERROR,
                f"{str(side).title()}Unavailable",
                messages.circuit_opened(side, trouble.text),
                peer=self._peer,
                reason=str(trouble.reason),
            )
        elif (since := self._down.pop(side, None)) is not None:
            self._log.write(Severity.INFO, f"{str(side).title()}Recovered", messages.circuit_closed(side, self._now() - since))

    def subscription(self, trouble: Trouble | None) -> None:
        """What a pull has come to."""
        before, self._state.subscription = self._state.subscription, trouble
        if trouble is not None and trouble != before:
            self._state.last_error = LastError(self._clock(), trouble.text)
            self._log.write(Severity.ERROR, "SubscriptionUnavailable", trouble.text, reason=str(trouble.reason))
        elif trouble is None and before is not None:
            self._log.write(Severity.INFO, "SubscriptionRecovered", "messages can be pulled again")

    def swept(self, trouble: Trouble | None) -> None:
        """A sweep beside a subscription is over, or could not be made: the next one will be."""
        if trouble is not None:
            self._log.write(Severity.WARNING, "NotReconciled", messages.not_swept(trouble.text), reason=str(trouble.reason))

    def described(self, found: Subscription | None) -> None:
        """The subscription's settings, or that they cannot be read."""
        self._state.retention = found.retention if found else self._state.retention
        if found is None and self._settings_known is None:
            self._log.write(Severity.INFO, "SettingsUnknown", messages.SETTINGS_UNKNOWN)
        self._settings_known = found is not None

    def expired(self, count: int) -> None:
        """So many messages may have gone to somebody else."""
        self._metrics.leases_expired.inc(count)

    def opened(self) -> None:
        """An association to the peer."""
        self._metrics.associations.inc()

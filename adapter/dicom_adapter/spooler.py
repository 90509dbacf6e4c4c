"""The node's spool: built from the configuration, told about in metrics, log lines and /status, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_adapter import messages
from dicom_adapter.config import Config
from dicom_adapter.delivery.failure import Refused
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.target import Target, Whole
from dicom_adapter.delivery.uploader import Place, Uploader
from dicom_adapter.delivery.verdict import Outcome, Verdict
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.metrics import Metrics
from dicom_adapter.spool import errors
from dicom_adapter.spool.spool import Bounds
from dicom_adapter.state import NodeState, Reason, SpoolReason, SpoolState

_UID = re.compile(r"[0-9.]{1,64}")
_WATCH_SECONDS = 1.0
# A commit is six system calls in a thread; after each it waits for the interpreter, up to Python's 5 ms when the event loop is at work.
# With this 1.7 times as many images are acknowledged over one association while others are delivered.
_SWITCH_SECONDS = 0.0001
_REST_SECONDS = 0.05  # between two looks, however many images are refused
_LINES = {
    SpoolReason.DELIVERING: Severity.INFO,
    SpoolReason.BACKLOGGED: Severity.WARNING,
    SpoolReason.FULL: Severity.ERROR,
    SpoolReason.FAULTY: Severity.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class SpoolObserver:
    """Hears of spooled instances. `doubt` is told of each attempt that came to nothing: by the destination's name, and whether refused."""

    metrics: Metrics
    log: EventLog
    doubt: Callable[[str, bool], None]

    def delivered(self, destination: str, whole: Whole, verdict: Verdict, seconds: float) -> None:
        """Counted; a line when there is something to say."""
        self.metrics.spool_delivered.labels(destination, "stored").inc()
        self.metrics.spool_seconds.labels(destination).observe(seconds)
        if verdict.remark:
            self.metrics.remarks.inc()
        if verdict.remark or verdict.status:
            text = (
                messages.delivered_with_remark(destination, verdict.remark)
                if verdict.remark
                else messages.delivered_with_warning(destination, verdict.status)
            )
            self._line("StoredWithWarning", text, destination, verdict, whole)

    def refused(self, refused: Refused) -> None:
        """Counted, and a line that says why."""
        self.metrics.spool_delivered.labels(refused.destination, "refused" if refused.whole else "damaged").inc()
        say = messages.delivery_refused if refused.whole else messages.delivery_damaged
        self._line(
            "InstanceRefused",
            say(refused.destination, refused.verdict.text),
            refused.destination,
            refused.verdict,
            refused.whole,
            attempts=refused.attempts,
            file=refused.entry.name,
        )

    def _line(self, event: str, text: str, destination: str, verdict: Verdict, whole: Whole | None, **fields: Any) -> None:
        uid = whole.uid if whole and _UID.fullmatch(whole.uid) else None
        self.log.limited(
            Severity.WARNING,
            event,
            text,
            peer="",
            detail=f"{destination} {text}",
            destination=destination,
            sop_instance_uid=uid,
            status=f"{verdict.status:04X}",
            http_status=verdict.http_status,
            **fields,
        )

    def put_off(self, destination: str, verdict: Verdict) -> None:
        """Counted. What is wrong with the destination is the probe's to say."""
        self.metrics.retries.labels(str(verdict.http_status or verdict.obstacle or f"{verdict.status:04X}")).inc()
        self.doubt(destination, verdict.outcome is Outcome.DESTINATION_UNAVAILABLE)

    def disk_failed(self, error: OSError) -> None:
        """A line a minute."""
        text = messages.spool_trouble(errors.why(error))
        self.log.limited(Severity.ERROR, "SpoolTrouble", text, peer="", detail=text)

    def adopted(self, destination: str, instances: int, *, orphaned: bool) -> None:
        """A line at the start."""
        say = messages.spool_orphaned if orphaned else messages.spool_adopted
        self.log.write(Severity.WARNING if orphaned else Severity.INFO, "SpoolFound", say(instances, destination))

    def leftovers_adopted(self, instances: int) -> None:
        """A line for all of them."""
        self.log.write(Severity.INFO, "LeftoversAdopted", messages.leftovers_adopted(instances))


class Spooler:
    """An Uploader and whoever watches it."""

    def __init__(self, uploader: Uploader, *, metrics: Metrics, log: EventLog, state: NodeState) -> None:
        self.uploader = uploader
        self._log = log
        self._state = state
        self._last: SpoolReason = SpoolReason.DELIVERING
        self._metrics = metrics

    async def start(self) -> None:
        """Finds what is there and begins to deliver. Raises CannotRun."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        await self.uploader.start()
        self._state.spool = self.uploader.state
        self._metrics.watch_spool(self.uploader.state)

    async def watch(self) -> None:
        """Says each change once, and looks whether a trouble is over."""
        spool, troubled = self.uploader.spool, self.uploader.troubled
        while True:
            troubled.clear()
            self.look(self.uploader.state())
            await asyncio.sleep(_REST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_SECONDS):
                    await troubled.wait()
            if spool.trouble.error is not None and spool.trouble.final is None and not troubled.is_set():
                await asyncio.to_thread(spool.look_again)

    def look(self, found: SpoolState) -> None:
        """Tells of a change."""
        if found.reason is not self._last:
            self._last = found.reason
            text = messages.SPOOL_RECOVERED if found.reason is SpoolReason.DELIVERING else found.message
            self._log.write(_LINES[found.reason], str(found.reason), text)
        if self.uploader.spool.trouble.final is not None and self._state.reason is Reason.READY:
            self._state.become(Reason.SPOOL_FAULTY, found.message)

    async def end(self, deadline: float) -> None:
        """Delivers on while there is time, then stops; what is left is said."""
        await self.uploader.drain(deadline)
        left = await self.uploader.stop()
        if left:
            self._log.write(Severity.WARNING, "LeftInSpool", messages.left_in_spool(left))


@dataclass(frozen=True, slots=True)
class Site:
    """Where a node has its spool, and who hears of attempts that came to nothing."""

    directory: str
    pod: str
    doubt: Callable[[str, bool], None]


def build(config: Config, site: Site, targets: Sequence[Target], *, metrics: Metrics, log: EventLog, state: NodeState) -> Spooler:
    """For this configuration. On the event loop."""
    spec = config.delivery
    place = Place(site.directory, Bounds(config.spool.max_bytes, config.spool.reserve_bytes), spec.backlog_thresholds, site.pod)
    policy = RetryPolicy(initial_delay=spec.retry.initial_delay_milliseconds / 1000, maximum_delay=spec.retry.max_delay_milliseconds / 1000)
    uploader = Uploader(place, targets, policy=policy, observer=SpoolObserver(metrics, log, site.doubt))
    return Spooler(uploader, metrics=metrics, log=log, state=state)

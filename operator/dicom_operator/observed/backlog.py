"""What adapters say of their spools in `/status`, and what is told of it in the status. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dicom_operator.api import Json, Reason

REASONS = frozenset({Reason.DELIVERING, Reason.BACKLOGGED, Reason.SPOOL_FULL, Reason.SPOOL_FAULTY})
WORST_LAST = (Reason.DELIVERING, Reason.BACKLOGGED, Reason.SPOOL_FULL, Reason.SPOOL_FAULTY)
DIGITS = 2
"""How exact the counts of the status are: metrics have exact ones, and each change of the status is a write."""
MOST_DESTINATIONS = 64
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Lane:
    """What waits for one destination, and what it has refused for good."""

    name: str
    instances: int
    failed: int


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """The spool of one pod. It has seen the orders of `generation`, and takes no more images when it is `closed`."""

    reason: Reason
    message: str
    oldest: str
    lanes: tuple[Lane, ...]
    generation: int
    closed: bool

    @property
    def instances(self) -> int:
        """Images that wait."""
        return sum(lane.instances for lane in self.lanes)

    @property
    def failed(self) -> int:
        """Images that were refused for good."""
        return sum(lane.failed for lane in self.lanes)


def parse_spool(body: Any, text: Any) -> SpoolReport | None:
    """The part of `/status`; None without one. `text` makes a foreign text fit to be told. Raises ValueError, KeyError, TypeError."""
    spool = body.get("spool")
    if spool is None:
        return None
    orders = body.get("orders") or {}
    active = body["associations"]["active"]
    lanes = tuple(
        Lane(text(one["name"])[:LONGEST_NAME], count(one["instances"]), count(one["failed"]))
        for one in spool["destinations"][:MOST_DESTINATIONS]
    )
    reason = str(spool["reason"])
    if reason not in REASONS:
        raise ValueError(reason)
    oldest = spool["oldestTime"]
    closed = bool(orders.get("closed") is True) and count(active) == 0
    return SpoolReport(
        Reason(reason), text(spool["message"]), text(oldest) if oldest else "", lanes, count(orders.get("generation", 0)), closed
    )


def count(value: Any) -> int:
    """A number of a foreign document that counts something. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value


def worst(reports: Iterable[SpoolReport]) -> SpoolReport | None:
    """The report to tell of: that of the pod which is worst off."""
    return max(reports, key=lambda report: WORST_LAST.index(report.reason), default=None)


def summary(reports: Iterable[SpoolReport]) -> Json:
    """`status.spool`."""
    found = list(reports)
    result: Json = {"waiting": rounded(sum(one.instances for one in found)), "failed": rounded(sum(one.failed for one in found))}
    oldest = min((one.oldest for one in found if one.oldest), default="")
    return result | ({"oldestTime": oldest} if oldest else {})


def rounded(count: int) -> int:
    """To two digits: 1204 is 1200."""
    step = int(10 ** max(0, len(str(count)) - DIGITS))
    return int(count / step + 0.5) * step

"""What exporters say of themselves in `/status`, and what is told of it in the status of a DicomExport. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dicom_operator.api import Json, Reason
from dicom_operator.observed.backlog import count, rounded

REACH = frozenset(
    {
        Reason.NOT_PROBED,
        Reason.REACHABLE,
        Reason.UNAUTHORIZED,
        Reason.SUBSCRIPTION_NOT_FOUND,
        Reason.NOT_FOUND,
        Reason.THROTTLED,
        Reason.UNREACHABLE,
        Reason.FAILING,
        Reason.REFUSED,
        Reason.REJECTED,
    }
)
WORST_LAST = (Reason.DELIVERING, Reason.POISON_MESSAGES, Reason.SOURCE_DOWN, Reason.DESTINATION_DOWN, Reason.RETENTION_ENDS_SOON)
COUNTS = ("exported", "waiting", "retained", "oldestMessageTime")
"""The fields of the status that move by themselves."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reason and a sentence."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What one pod says."""

    source: Said
    destination: Said
    delivering: Said
    exported: int
    waiting: int
    retained: int
    oldest: str


def parse_export(body: Any, text: Callable[[str], str]) -> ExportReport:
    """The part of `/status`. `text` makes a foreign text fit to be told. Raises ValueError, KeyError, TypeError."""
    oldest = body["oldestMessageTime"]
    return ExportReport(
        _said(body["source"], REACH, text),
        _said(body["destination"], REACH, text),
        _said(body["delivering"], frozenset(WORST_LAST), text),
        count(body["exported"]),
        count(body["waiting"]),
        count(body["retained"]),
        text(oldest) if oldest else "",
    )


def _said(part: Any, known: frozenset[Reason], text: Callable[[str], str]) -> Said:
    reason = Reason(part["reason"])
    if reason not in known:
        raise ValueError(reason)
    return Said(reason, text(part["message"]))


def reach(said: Iterable[Said]) -> Said | None:
    """What is told of a side: what one says that cannot reach it, else what one says that can, else that nobody has asked."""
    ranks = {Reason.NOT_PROBED: 0, Reason.REACHABLE: 1}
    return max(said, key=lambda one: ranks.get(one.reason, 2), default=None)


def worst(said: Iterable[Said]) -> Said | None:
    """What is told of the delivery."""
    return max(said, key=lambda one: WORST_LAST.index(one.reason), default=None)


def summary(reports: Iterable[ExportReport]) -> Json:
    """The counts of the status, of all pods."""
    found = list(reports)
    result: Json = {name: rounded(sum(getattr(one, name) for one in found)) for name in ("exported", "waiting", "retained")}
    oldest = min((one.oldest for one in found if one.oldest), default="")
    return result | ({"oldestMessageTime": oldest} if oldest else {})

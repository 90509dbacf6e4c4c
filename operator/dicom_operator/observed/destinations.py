"""What adapters say of `spec.destinations` in `/status`, and what is told of it in the status. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_operator.api import Json, Reason

REASONS = frozenset({Reason.REACHABLE, Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.UNREACHABLE, Reason.THROTTLED})
MOST = 32
LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class DestinationReport:
    """What one pod found when it asked a destination."""

    name: str
    reason: Reason
    message: str

    @property
    def reachable(self) -> bool:
        """Whether it can be sent to."""
        return self.reason is Reason.REACHABLE


def parse(body: Any, text: Callable[[str], str]) -> tuple[DestinationReport, ...]:
    """The part of `/status`; those that have not been asked yet are left out. Raises ValueError, KeyError, TypeError."""
    found = []
    for one in (body.get("destinations") or ())[:MOST]:
        name, reason, message = one["name"], one["reason"], one["message"]
        if not (isinstance(name, str) and isinstance(reason, str) and isinstance(message, str)):
            raise TypeError(one)
        if reason in REASONS:
            found.append(DestinationReport(text(name)[:LONGEST_NAME], Reason(reason), text(message)))
    return tuple(found)


def summary(reports: Iterable[tuple[DestinationReport, ...]], names: Sequence[str], previous: Sequence[Json]) -> list[Json]:
    """`status.destinations`: of each that is configured, what a pod says that cannot reach it, else what any says, else as before."""
    said: dict[str, DestinationReport] = {}
    for report in reports:
        for one in report:
            if one.name not in said or (said[one.name].reachable and not one.reachable):
                said[one.name] = one
    before = {one.get("name"): one for one in previous}
    return [_item(said[name]) if name in said else before[name] for name in names if name in said or name in before]


def _item(one: DestinationReport) -> Json:
    return {"name": one.name, "reachable": one.reachable, "reason": str(one.reason), "message": one.message}

"""Conditions as the Kubernetes API conventions define them (metav1.Condition). Pure; the clock is a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dicom_operator.api import ConditionType, Json, Reason

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One observation."""

    type: ConditionType
    status: Status
    reason: Reason
    message: str

    @property
    def true(self) -> bool:
        """Whether it holds."""
        return self.status == "True"


SUMMARY_REASONS = {Reason.PENDING: Reason.ADDRESS_PENDING, Reason.NOT_OBSERVED: Reason.RECONCILING}
"""Where a part's reason says too little by itself."""


def summarize(parts: Iterable[Condition], ready: Condition) -> Condition:
    """The summary: that of the first part that does not hold, under the part's own reason; else `ready`."""
    for part in parts:
        if not part.true:
            return Condition(ConditionType.READY, part.status, SUMMARY_REASONS.get(part.reason, part.reason), part.message)
    return ready


def render(conditions: Iterable[Condition], previous: Iterable[Json], generation: int, now: str) -> list[Json]:
    """The list for the status. `lastTransitionTime` moves only when the status does."""
    old = {item["type"]: item for item in previous}
    result = []
    for condition in conditions:
        before = old.get(condition.type, {})
        since = before.get("lastTransitionTime") if before.get("status") == condition.status else None
        result.append(
            {
                "type": str(condition.type),
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": since or now,
                "reason": str(condition.reason),
                "message": condition.message,
            }
        )
    return result


def find(status: Json, kind: ConditionType) -> Json:
    """A condition in a status, or {}."""
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {})

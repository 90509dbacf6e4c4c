"""What a status says that the one before did not: whether it is written at once, or waits. Pure."""

from __future__ import annotations

from dicom_operator import messages
from dicom_operator.api import ConditionType, Json, Reason
from dicom_operator.observed import exporting

SUMMARIES = frozenset({ConditionType.READY, ConditionType.RECONCILING})
"""Conditions that say what others say."""
COUNTS = ("spool", *exporting.COUNTS)
"""Fields that move by themselves: they are written now and then."""


def repeats_not_yet(old: Json, new: Json) -> bool:
    """Whether a status says no more than the one before: not yet, of the same generation.

    Counts, and parts that have come to hold, wait for Ready or for a moment. What names a trouble, or takes one back, never waits.
    """
    if old.get("observedGeneration") != new["observedGeneration"]:
        return False
    before, after = ({item["type"]: item for item in status["conditions"]} for status in (old, new))
    both = [found.get(ConditionType.RECONCILING, {}).get("reason") for found in (before, after)]
    if both != [Reason.PROGRESSING] * 2:
        return False
    wanted = int(new["replicasSummary"].partition("/")[2])
    plain = {messages.waiting_for_rollout(ready, wanted) for ready in range(wanted + 1)}

    def no_more(kind: str) -> bool:
        was, now = before.get(kind, {}), after.get(kind, {})
        return now == was or now.get("status") == "True" or {was.get("message"), now.get("message")} <= plain

    return all(no_more(kind) for kind in before.keys() | after.keys() if kind not in SUMMARIES)


def only_pods(old: Json, new: Json) -> bool:
    """Whether a status differs from the one before in how many pods have been made, and in nothing else."""
    return {**old, "replicas": None} == {**new, "replicas": None}


def only_counts(old: Json, new: Json) -> bool:
    """Whether a status differs from the one before in what waits or was exported, and in nothing else."""
    nothing = dict.fromkeys(COUNTS)
    return {**old, **nothing} == {**new, **nothing}


def counts(status: Json) -> Json:
    """What moves by itself."""
    return {name: status.get(name) for name in COUNTS}

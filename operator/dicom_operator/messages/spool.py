"""Adapters with a spool: its claim, pods that leave, what is delivered."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_operator.messages.counting import counted


def claim_size(value: object) -> str:
    """A size that is none."""
    return f"must be a quantity above 0, for example '20Gi', not {value!r}"


def spool_needed() -> str:
    """AfterSpool without a volume that outlives the pod."""
    return "is needed for `delivery.acknowledge` 'AfterSpool': what is acknowledged must outlive its pod; write for example {size: 20Gi}"


# Pods that leave -------------------------------------------------------------------------------------------------------


def leaves_when_delivered(pod: str, destinations: Sequence[str]) -> str:
    """A pod that is not wanted any more has images in its spool."""
    names = ", ".join(f"'{name}'" for name in destinations)
    return f"pod {pod} leaves when its images for {names} are delivered"


def leaves_when_told(pod: str) -> str:
    """A pod that is not wanted any more has not yet said that it takes nothing and has nothing."""
    return f"pod {pod} leaves when its associations have ended and its images are delivered"


def leaves_when_it_answers(pod: str) -> str:
    """A pod that is not wanted any more does not say what is in its spool."""
    return f"pod {pod} leaves when it has told that its spool is empty: it does not run or does not answer"


def deployment_leaves() -> str:
    """From AfterStore to AfterSpool."""
    return "the pods without a spool leave when those with one are ready"


def stateful_set_leaves() -> str:
    """From AfterSpool to AfterStore, when all is delivered."""
    return "every image is delivered: the pods with a spool leave when those without one are ready"


# Delivery --------------------------------------------------------------------------------------------------------------


def delivery_not_probed() -> str:
    """No pod has told of its spool."""
    return "no pod has told yet what is in its spool"


def delivery_recovered() -> str:
    """A backlog is gone."""
    return "images are delivered as they come again"


def instances_refused(destination: str, count: int, pod: str) -> str:
    """The store has refused images for good."""
    return f"'{destination}' refused {counted(count, 'image')}: `kubectl exec {pod} -- dicom-adapter spool list --failed` shows why"


def spool_kept(count: int, claims: Sequence[str]) -> str:
    """Deleted with a backlog."""
    names = ", ".join(f"'{name}'" for name in claims)
    which, verb = ("claim", "is") if len(claims) == 1 else ("claims", "are")
    are, them = ("is", "it") if count == 1 else ("are", "them")
    return f"{counted(count, 'image')} {are} undelivered: {which} {names} {verb} kept; a DicomAdapter of the same name delivers {them}"

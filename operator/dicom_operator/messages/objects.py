"""The objects that an adapter or exporter becomes: condition Applied, and events about them."""

from __future__ import annotations


def applied() -> str:
    """Every object is as the spec wants it."""
    return "all objects are as the spec wants them"


def not_yet_applied() -> str:
    """First visit."""
    return "the spec has not been applied yet"


def paused() -> str:
    """The annotation that pauses reconciling is set."""
    return "the annotation dicomadapter.io/reconcile is 'disabled': changes are not applied until it is removed"


def name_conflict(kind: str, name: str, owner: str = "DicomAdapter") -> str:
    """An object of the same name that is not ours."""
    return f"{kind} '{name}' exists and is not controlled by this {owner}; rename the {owner} or delete the {kind}"


def of_deleted(owner: str) -> str:
    """An object of a resource of the same name that was deleted just now."""
    return f"it belongs to a deleted {owner} of this name until Kubernetes' garbage collector removes it"


def forbidden(verb: str, plural: str, namespace: str) -> str:
    """A right that the operator lacks."""
    return f"the operator may not {verb} {plural} in namespace '{namespace}': upgrade its Helm release"


def rejected(kind: str, name: str, text: str) -> str:
    """The API server refuses an object."""
    return f"the API server refused {kind} '{name}': {text}"


def apply_failed(kind: str, name: str, text: str) -> str:
    """A request that failed and is repeated."""
    return f"{kind} '{name}' could not be applied, it is tried again: {text}"


def internal_error(error: str, owner: str = "DicomAdapter") -> str:
    """A defect of ours."""
    return f"the operator failed on this {owner} and tries again; its log has the details: {error}"


def child_recreated(kind: str, name: str) -> str:
    """Somebody deleted a child."""
    return f"{kind} '{name}' was deleted; made it again"


def child_corrected(kind: str, name: str, field: str) -> str:
    """Somebody changed a child."""
    return f"{kind} '{name}' was changed at {field}; put it back"

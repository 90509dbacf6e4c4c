"""Routes and their destinations."""

from __future__ import annotations


def no_such_destination(name: str, nearest: str) -> str:
    """A route to a destination that there is not; the operator says the same."""
    return f"`{name}` is not in `spec.destinations`{nearest or '; add it there, or write dicomStore'}"


def other_sop(what: str) -> str:
    """The data set is of another instance than the command; `what`: SOP Instance UID or SOP Class UID."""
    return f"{what} of data set and command differ"


def at_destination(name: str, text: str) -> str:
    """What came of an instance at one of `spec.destinations`."""
    return f"'{name}': {text}"


NODE_ANSWERS = "the node answers"


def answered_with(status: int) -> str:
    """A DICOM node that is a destination has not taken an image."""
    return f"the node answered {status:04X}"


def unreadable_data_set(position: int, why: str) -> str:
    """A data set that has to be read for its route, and cannot be."""
    return f"Data set unreadable at byte {position}: {why}"

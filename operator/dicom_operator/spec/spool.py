"""`spool`: where images wait that are acknowledged before the store has them."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.quantity import parse_quantity
from dicom_operator.spec.section import Section

MOST_BYTES = 1 << 53
"""What every JSON number can hold."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`spool.persistent`: the volume claim of each pod."""

    size: str
    storage_class_name: str | None
    """None: the cluster's default."""


def claim(section: Section) -> Claim | None:
    """The claim, when there is one; raises SpecError for a size that is none."""
    if not section.has("persistent"):
        return None
    persistent = section.section("persistent")
    size = persistent.value.get("size")
    try:
        good = not isinstance(size, bool) and isinstance(size, str | int) and parse_quantity(str(size)) > 0
    except ValueError:
        good = False
    if not good:
        raise SpecError(f"{persistent.path}.size", messages.claim_size(size))
    return Claim(str(size), persistent.text("storageClassName", "") or None)


def bounds(section: Section) -> Json:
    """What the adapter reads of it."""
    lowest = {"maxBytes": 1, "reserveBytes": 0}
    return {name: section.integer(name, low, low, MOST_BYTES) for name, low in lowest.items() if section.has(name)}

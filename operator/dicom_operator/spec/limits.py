"""`limits`: what the adapter takes from its peers."""

from __future__ import annotations

from dicom_operator.api import Json
from dicom_operator.spec.section import Section

DEFAULT_LIMITS = {
    "maxAssociations": 100,
    "maxAssociationsPerPeer": 32,
    "maxPDUBytes": 131072,
    "associationTimeoutSeconds": 30,
    "dimseTimeoutSeconds": 60,
    "idleTimeoutSeconds": 600,
}


def limits(section: Section) -> Json:
    """The section with its defaults."""
    return {name: section.integer(name, default, 1, 1 << 20) for name, default in DEFAULT_LIMITS.items()}

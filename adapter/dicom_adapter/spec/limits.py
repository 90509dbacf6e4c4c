"""`spec.limits`."""

from __future__ import annotations

from dicom_adapter.config import Limits
from dicom_adapter.reader import Reader


def read(reader: Reader | None) -> Limits:
    """The section, or its defaults."""
    default = Limits()
    if reader is None:
        return default
    fields = {
        "maxAssociations": (default.max_associations, 1, 1000),
        "maxAssociationsPerPeer": (default.max_associations_per_peer, 1, 1000),
        "maxPDUBytes": (default.max_pdu_bytes, 4096, 1048576),
        "associationTimeoutSeconds": (default.association_timeout_seconds, 1, 300),
        "dimseTimeoutSeconds": (default.dimse_timeout_seconds, 1, 3600),
        "idleTimeoutSeconds": (default.idle_timeout_seconds, 1, 86400),
    }
    reader.close(fields)
    return Limits(*(reader.integer(key, *bounds) for key, bounds in fields.items()))

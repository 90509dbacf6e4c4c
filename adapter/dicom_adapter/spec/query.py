"""`spec.query`."""

from __future__ import annotations

from dicom_adapter.config import Query
from dicom_adapter.reader import Reader


def read(reader: Reader | None) -> Query:
    """The section, or its defaults."""
    if reader is None:
        return Query()
    reader.close(("fuzzyMatching", "maxResults"))
    return Query(reader.boolean("fuzzyMatching", False), reader.integer("maxResults", 0, 1, 1_000_000) or None)

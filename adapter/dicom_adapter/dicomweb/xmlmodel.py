"""The Native DICOM Model (PS3.19 A.1) read into the shape of the DICOM JSON Model (PS3.18 F), from a server that is not trusted.

expat alone: a document type, and so every entity, is refused; depth and number of attributes are bounded.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

_MAXIMUM_DEPTH = 64
_MAXIMUM_ELEMENTS = 100_000


class _Refused(Exception):
    """Something that no Native DICOM Model has."""


def parse(body: bytes) -> dict[str, Any] | None:
    """The data set as a mapping of `ggggeeee` to `{"vr":…, "Value": […]}`, or None when this is no Native DICOM Model."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, _Refused, ValueError, LookupError):
        return None
    return builder.root if builder.is_model else None


class _Builder:
    """Fills a tree of data sets as elements open and close."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self.is_model = False
        self._data_sets: list[dict[str, Any]] = [self.root]
        self._attributes: list[dict[str, Any]] = []
        self._value: str | None = None
        self._depth = 0
        self._count = 0

    def refuse(self, *_: object) -> None:
        """A document type declaration."""
        raise _Refused

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        self._depth += 1
        self._count += 1
        if self._depth > _MAXIMUM_DEPTH or self._count > _MAXIMUM_ELEMENTS:
            raise _Refused
        local = name.rpartition(" ")[2]
        if self._depth == 1:
            self.is_model = local == "NativeDicomModel"
        elif local == "DicomAttribute":
            attribute: dict[str, Any] = {"vr": attributes.get("vr", ""), "Value": []}
            self._data_sets[-1][attributes.get("tag", "").upper()] = attribute
            self._attributes.append(attribute)
        elif local == "Item" and self._attributes:
            item: dict[str, Any] = {}
            self._attributes[-1]["Value"].append(item)
            self._data_sets.append(item)
        elif local == "Value":
            self._value = ""

    def end(self, name: str) -> None:
        """An element closes."""
        self._depth -= 1
        local = name.rpartition(" ")[2]
        if local == "DicomAttribute":
            self._attributes.pop()
        elif local == "Item" and len(self._data_sets) > 1:
            self._data_sets.pop()
        elif local == "Value" and self._value is not None and self._attributes:
            self._attributes[-1]["Value"].append(self._value)
            self._value = None

    def text(self, data: str) -> None:
        """Characters between the tags."""
        if self._value is not None:
            self._value += data

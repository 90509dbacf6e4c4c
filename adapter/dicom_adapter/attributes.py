"""Attributes as people name them: by keyword (PS3.6) or as `ggggeeee`, and what a value of each can be (PS3.5 6.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag, tag_for_keyword

from dicom_adapter.patterns import Pattern

_HEX = re.compile(r"[0-9A-Fa-f]{8}")
_LAST_BEFORE_DATA_SET = 0x0008_0000
"""Groups below 0008 belong to commands and to file meta information, not to data sets (PS3.5 7.8, PS3.7 E, PS3.10 7.1)."""

_NUMBERS = ("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD")
_TEXTS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT", "UN")
COMPARABLE = frozenset((*_NUMBERS, *_TEXTS))
"""Value representations whose values are texts or become such; sequences and bulk data are no values to compare."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the values of a VR are made of, and how many characters they have at most."""

    alphabet: str
    longest: int
    example: str


_SHAPES = {
    "AE": _Shape(r"[ -\[\]-~]", 16, "STATION_1"),
    "AS": _Shape(r"[0-9DWMY]", 4, "045Y"),
    "AT": _Shape(r"[0-9A-F]", 8, "00080018"),
    "CS": _Shape(r"[A-Z0-9 _]", 16, "CT"),
    "DA": _Shape(r"[0-9]", 8, "20260131"),
    "DS": _Shape(r"[0-9+\-Ee.]", 16, "2.5"),
    "DT": _Shape(r"[0-9+\-.]", 26, "202601311200*"),
    "IS": _Shape(r"[0-9+\-]", 12, "12"),
    "LO": _Shape(r"[^\\]", 64, ""),
    "PN": _Shape(r"[^\\]", 5 * 64, ""),
    "SH": _Shape(r"[^\\]", 16, ""),
    "TM": _Shape(r"[0-9.]", 14, "12*"),
    "UI": _Shape(r"[0-9.]", 64, "1.2.840.*"),
    **{vr: _Shape(r"[0-9+\-Ee.]", 32, "512") for vr in _NUMBERS},
}
_ONE_TEXT = ("LT", "ST", "UR", "UT")  # no backslash separates values in these


@dataclass(frozen=True, slots=True)
class Attribute:
    """An element of a data set: its tag, its VR as far as that is known, and how it was named."""

    tag: int
    vr: str
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def keyword(self) -> str:
        """Its keyword; empty when PS3.6 has none."""
        return keyword_for_tag(self.tag)


def parse(name: str) -> Attribute:
    """The attribute that a keyword or eight hexadecimal digits name.

    Raises:
        LookupError: it is neither.
        ValueError: it is one whose values cannot be compared; the text says what to write instead.
    """
    if _HEX.fullmatch(name):
        tag = int(name, 16)
        if tag < _LAST_BEFORE_DATA_SET or tag >> 16 == 0xFFFE or tag & 0xFFFF == 0:
            raise ValueError(f"'{name}' is no element of a data set; write the keyword or ggggeeee of an attribute, for example Modality")
    else:
        found = tag_for_keyword(name)
        if found is None:
            raise LookupError(name)
        tag = int(found)
        if tag < _LAST_BEFORE_DATA_SET:
            raise ValueError(f"{name} is no element of a data set; write the keyword or ggggeeee of an attribute, for example Modality")
    vr = value_representation(tag)
    if vr not in COMPARABLE:
        what = (
            "is a sequence: name an attribute that holds values" if vr == "SQ" else "holds bulk data: name an attribute that holds values"
        )
        raise ValueError(f"{keyword_for_tag(tag) or name} {what}")
    return Attribute(tag, vr, name)


def keywords() -> frozenset[str]:
    """Every keyword that `parse` takes."""
    return frozenset(
        keyword
        for keyword, tag in keyword_dict.items()
        if keyword and tag >= _LAST_BEFORE_DATA_SET and value_representation(tag) in COMPARABLE
    )


def value_representation(tag: int) -> str:
    """The VR of PS3.6; UN for what is not in it. Where there is a choice, as in `US or SS`, the first."""
    try:
        return _one(dictionary_VR(tag))
    except KeyError:
        return "UN"


def _one(vr: str) -> str:
    return vr[:2]


def why_never(attribute: Attribute, pattern: Pattern) -> str:
    """Why no value of the attribute can match the pattern, and what to write; empty when one can."""
    if pattern.text != pattern.text.strip():
        return f"'{pattern.text}' begins or ends with a space, which values are compared without; write '{pattern.text.strip()}'"
    if "\\" in pattern.text and attribute.vr not in _ONE_TEXT:
        return f"{pattern.text!r} holds a backslash, which separates values; write them as several values"
    shape = _SHAPES.get(attribute.vr)
    if shape is None:
        return ""
    if attribute.vr == "CS" and re.fullmatch(r"[A-Za-z0-9 _]*", pattern.literal) and pattern.text != pattern.text.upper():
        return f"'{pattern.text}' matches no value of {attribute}, which is in capitals; write '{pattern.text.upper()}'"
    if not re.fullmatch(f"{shape.alphabet}*", pattern.literal):
        return f"'{pattern.text}' matches no value of {attribute} ({attribute.vr}); write for example '{shape.example}'"
    if pattern.shortest > shape.longest:
        return (
            f"'{pattern.text}' matches no value of {attribute} ({attribute.vr}), which has at most {shape.longest} characters; shorten it"
        )
    return ""

"""Attributes as people name them: by keyword (PS3.6) or as `ggggeeee`, and their VRs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag, tag_for_keyword

from dicom_adapter import patterns

_HEX = re.compile(r"[0-9A-Fa-f]{8}")


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
        tag, shown = int(name, 16), f"'{name}'"
    else:
        found = tag_for_keyword(name)
        if found is None:
            raise LookupError(name)
        tag, shown = int(found), name
    vr = value_representation(tag)
    if why := patterns.why_no_element(shown, tag) or patterns.why_not_comparable(keyword_for_tag(tag) or name, vr):
        raise ValueError(why)
    return Attribute(tag, vr, name)


def keywords() -> frozenset[str]:
    """Every keyword that `parse` takes."""
    return frozenset(
        keyword
        for keyword, tag in keyword_dict.items()
        if keyword and not patterns.why_no_element(keyword, tag) and value_representation(tag) in patterns.COMPARABLE
    )


def value_representation(tag: int) -> str:
    """The VR of PS3.6; UN for what is not in it. Where there is a choice, as in `US or SS`, the first."""
    try:
        return _one(dictionary_VR(tag))
    except KeyError:
        return "UN"


def _one(vr: str) -> str:
    return vr[:2]

"""The data elements of PS3.6, as pydicom has them, which the adapter uses: elements.txt is made from it (tests/support/elements.py)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from dicom_operator.spec import patterns

_TAG = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(frozen=True, slots=True)
class Element:
    """A tag, its VR as far as that is known, and its keyword if it has one."""

    tag: int
    vr: str
    keyword: str


@dataclass(frozen=True, slots=True)
class _Dictionary:
    """By keyword, by tag, and those with digits that may be any (`60xx3000`)."""

    keywords: Mapping[str, Element]
    tags: Mapping[int, Element]
    repeated: tuple[tuple[re.Pattern[str], Element], ...]


def parse(name: str) -> Element | None:
    """The element that a keyword or eight hexadecimal digits name; None when they name none."""
    if not _TAG.fullmatch(name):
        return _dictionary().keywords.get(name)
    tag = int(name, 16)
    if found := _dictionary().tags.get(tag):
        return found
    private = tag >> 16 & 1
    repeated = next((one for mask, one in _dictionary().repeated if not private and mask.fullmatch(name.upper())), None)
    return Element(tag, repeated.vr if repeated else "UN", repeated.keyword if repeated else "")


@functools.cache
def keywords() -> frozenset[str]:
    """Those of elements whose values can be compared."""
    return frozenset(
        name
        for name, one in _dictionary().keywords.items()
        if not patterns.why_no_element(name, one.tag) and not patterns.why_not_comparable(name, one.vr)
    )


@functools.cache
def _dictionary() -> _Dictionary:
    by_keyword: dict[str, Element] = {}
    by_tag: dict[int, Element] = {}
    repeated: list[tuple[re.Pattern[str], Element]] = []
    for line in resources.files("dicom_operator.spec").joinpath("elements.txt").read_text("ascii").splitlines():
        keyword, digits, vr = line.split()
        keyword = keyword.strip("-")
        if "x" in digits:
            repeated.append((re.compile(digits.replace("x", "[0-9A-F]")), Element(0, vr, keyword)))
        else:
            by_tag[int(digits, 16)] = by_keyword[keyword] = Element(int(digits, 16), vr, keyword)
    by_keyword.pop("", None)
    return _Dictionary(by_keyword, by_tag, tuple(repeated))

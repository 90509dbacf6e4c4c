# Written by charts/sync.py from adapter/dicom_adapter/patterns.py.
"""Patterns with `*` (any text, also none) and `?` (one character), as PS3.4 C.2.2.2.4 has them, case counts; and those that could never do
anything: no value of the attribute can be like them (PS3.5 6.2), or something wider comes before. Pure.

The operator has a copy of this file, made by charts/sync.py, so that it refuses what the adapter would refuse, in the same words.

A pattern is compiled so that no value takes it more than time in proportion to its length: between two `*` each piece is looked for once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_WILD = re.compile(r"[*?]")


class Effort:
    """So many comparisons of patterns, and no more: what is not found out by then is taken to be useful. No spec stops its reader."""

    def __init__(self, comparisons: int = 20_000) -> None:
        self._left = comparisons

    def spend(self) -> bool:
        """Whether there is one left."""
        self._left -= 1
        return self._left >= 0


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, compared with whole values."""

    text: str
    _compiled: re.Pattern[str] | None = field(init=False, default=None, compare=False, repr=False)

    @property
    def wild(self) -> bool:
        """Whether it has a wildcard."""
        return _WILD.search(self.text) is not None

    @property
    def literal(self) -> str:
        """Its text without the wildcards."""
        return _WILD.sub("", self.text)

    @property
    def shortest(self) -> int:
        """The fewest characters that a value can have."""
        return len(self.text) - self.text.count("*")

    def matches(self, value: str) -> bool:
        """Whether a value is such."""
        compiled = self._compiled
        if compiled is None:
            compiled = _compile(self.text)
            object.__setattr__(self, "_compiled", compiled)
        return compiled.fullmatch(value) is not None

    @property
    def everything(self) -> bool:
        """Whether any value is such."""
        return not self.text.strip("*")

    def covers(self, other: Pattern, effort: Effort) -> bool:
        """Whether it certainly matches whatever `other` matches; False also where that is not easily seen."""
        if self.text == other.text or self.everything:
            return True
        return self.wild and not other.wild and effort.spend() and self.matches(other.text)


def _compile(text: str) -> re.Pattern[str]:
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in re.split(r"\*+", text))
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle) + f".*{last}", re.DOTALL)


# -- what an attribute can be --------------------------------------------------------------------------

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


def why_no_element(name: str, tag: int) -> str:
    """Why a tag is none of a data set; empty when it is one."""
    if tag >= _LAST_BEFORE_DATA_SET and tag >> 16 != 0xFFFE and tag & 0xFFFF:
        return ""
    return f"{name} is no element of a data set; write the keyword or ggggeeee of an attribute, for example Modality"


def why_not_comparable(name: str, vr: str) -> str:
    """Why the values of an attribute cannot be compared; empty when they can."""
    if vr in COMPARABLE:
        return ""
    return f"{name} {'is a sequence' if vr == 'SQ' else 'holds bulk data'}: name an attribute that holds values"


def why_no_title(text: str) -> str:
    """Why no AE title can be like a pattern; empty when one can."""
    if len(text.strip("*")) <= 16 and "\\" not in text and text == text.strip():
        return ""
    return f"{text[:40]!r} matches no AE title; write at most 16 characters, * and ? among them if wanted"


def useless(name: str, vr: str, patterns: Sequence[Pattern], effort: Effort) -> Iterator[tuple[int, str]]:
    """Those of the patterns for an attribute that do nothing, and why: none of its values is like it, or an earlier one is wider."""
    wider: list[Pattern] = []
    for index, pattern in enumerate(patterns):
        if why := why_never(name, vr, pattern):
            yield index, why
        elif found := _wider(wider, pattern, effort):
            yield index, f"'{pattern.text}' adds nothing to '{found.text}'; remove it"
        if pattern.wild:
            wider.append(pattern)


def _wider(wild: Sequence[Pattern], pattern: Pattern, effort: Effort) -> Pattern | None:
    if pattern.wild:
        return next((other for other in wild if other.everything), None)
    return next((other for other in wild if other.covers(pattern, effort)), None)


def why_never(name: str, vr: str, pattern: Pattern) -> str:
    """Why no value of the attribute can match the pattern, and what to write; empty when one can."""
    if pattern.text != pattern.text.strip():
        return f"'{pattern.text}' begins or ends with a space, which values are compared without; write '{pattern.text.strip()}'"
    if "\\" in pattern.text and vr not in _ONE_TEXT:
        return f"{pattern.text!r} holds a backslash, which separates values; write them as several values"
    shape = _SHAPES.get(vr)
    if shape is None:
        return ""
    if vr == "CS" and re.fullmatch(r"[A-Za-z0-9 _]*", pattern.literal) and pattern.text != pattern.text.upper():
        return f"'{pattern.text}' matches no value of {name}, which is in capitals; write '{pattern.text.upper()}'"
    if not re.fullmatch(f"{shape.alphabet}*", pattern.literal):
        return f"'{pattern.text}' matches no value of {name} ({vr}); write for example '{shape.example}'"
    if pattern.shortest > shape.longest:
        return f"'{pattern.text}' matches no value of {name} ({vr}), which has at most {shape.longest} characters; shorten it"
    return ""


# -- which route comes before which --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Match:
    """What a route wants: a calling AE title, and attributes by their tags, each with the patterns for its values."""

    title: Pattern | None
    attributes: tuple[tuple[int, tuple[Pattern, ...]], ...]

    def covers(self, narrow: Match, effort: Effort) -> bool:
        """Whether it certainly matches whatever the other matches; False also where that is not easily seen."""
        if self.title and not (narrow.title and self.title.covers(narrow.title, effort)):
            return False
        return all(any(_implies(inner, outer, effort) for inner in narrow.attributes) for outer in self.attributes)


def unreached(matches: Sequence[Match], where: Sequence[str], effort: Effort, *, first_decides: bool) -> Iterator[tuple[int, str]]:
    """Those of the routes that do nothing, or what one before them does already, and why. `where` names the routes."""
    for index, match in enumerate(matches):
        for other, path in zip(matches[:index], where[:index], strict=True):
            if other == match:
                yield index, f"is that of {path} as well; write the destinations of both into one route"
                break
            if first_decides and other.covers(match, effort):
                yield index, f"is never reached: {path} matches all of it; move it before that one, or remove it"
                break


def _implies(narrow: tuple[int, tuple[Pattern, ...]], wide: tuple[int, tuple[Pattern, ...]], effort: Effort) -> bool:
    if narrow[0] != wide[0] or not effort.spend():
        return False
    texts, wild = {pattern.text for pattern in wide[1]}, [pattern for pattern in wide[1] if pattern.wild]
    return all(value.text in texts or _wider(wild, value, effort) for value in narrow[1])

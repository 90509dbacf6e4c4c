"""Patterns with `*` (any text, also none) and `?` (one character), as PS3.4 C.2.2.2.4 has them, case counts; and those that could never do
anything: no value of the attribute can be like them (PS3.5 6.2), or something wider comes before. Pure.

The operator has a copy of this file, made by charts/sync.py, so that it refuses what the adapter would refuse, in the same words.

A pattern is compiled so that no value takes it more than time in proportion to its length: between two `*` each piece is looked for once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_WILD = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, compared with whole values."""

    text: str
    _compiled: re.Pattern[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Compiles it."""
        object.__setattr__(self, "_compiled", _compile(self.text))

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
        return self._compiled.fullmatch(value) is not None

    def covers(self, other: Pattern) -> bool:
        """Whether it certainly matches whatever `other` matches; False also where that is not easily seen."""
        if self == other or not self.text.strip("*"):
            return True
        return not other.wild and self.matches(other.text)


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


def why_useless(name: str, vr: str, patterns: Sequence[Pattern], index: int) -> str:
    """Why one of the patterns for an attribute does nothing: none of its values is like it, or an earlier one is wider. Else empty."""
    pattern = patterns[index]
    if why := why_never(name, vr, pattern):
        return why
    wider = next((other for other in patterns[:index] if other.covers(pattern)), None)
    return f"'{pattern.text}' adds nothing to '{wider.text}'; remove it" if wider else ""


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

    def covers(self, narrow: Match) -> bool:
        """Whether it certainly matches whatever the other matches; False also where that is not easily seen."""
        if self.title and not (narrow.title and self.title.covers(narrow.title)):
            return False
        return all(any(_implies(inner, outer) for inner in narrow.attributes) for outer in self.attributes)


def why_unreached(match: Match, before: Sequence[Match], where: Sequence[str], *, first_decides: bool) -> str:
    """Why a route behind others does nothing, or what theirs does already; empty when it does. `where` names the others."""
    for other, path in zip(before, where, strict=True):
        if other == match:
            return f"is that of {path} as well; write the destinations of both into one route"
        if first_decides and other.covers(match):
            return f"is never reached: {path} matches all of it; move it before that one, or remove it"
    return ""


def _implies(narrow: tuple[int, tuple[Pattern, ...]], wide: tuple[int, tuple[Pattern, ...]]) -> bool:
    return narrow[0] == wide[0] and all(any(pattern.covers(value) for pattern in wide[1]) for value in narrow[1])

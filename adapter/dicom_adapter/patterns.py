"""Patterns with `*` (any text, also none) and `?` (one character), as PS3.4 C.2.2.2.4 has them; case counts. Pure.

A pattern is compiled so that no value takes it more than time in proportion to its length: between two `*` each piece is looked for once.
"""

from __future__ import annotations

import re
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

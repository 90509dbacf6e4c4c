"""Reading one mapping of a document field by field, collecting every error instead of stopping at the first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from dicom_adapter.config import ConfigError

AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 6.2: no backslash, no control character; no space at the ends
_E = TypeVar("_E", bound=StrEnum)


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.6, quote: str = "'") -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=likeness)
    return f"; did you mean {quote}{by_lower[near[0]]}{quote}?" if near else ""


@dataclass(slots=True)
class Problems:
    """The errors found so far. A path that a flag has set is shown as that flag."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        """Notes one error."""
        self.errors.append(ConfigError(self.aliases.get(path.partition("[")[0], path), message))


class Reader:
    """One mapping of the document. Every getter returns the default after noting an error, so that reading goes on."""

    def __init__(self, value: Mapping[object, object], path: str, problems: Problems) -> None:
        self._values = {str(key): item for key, item in value.items() if item is not None}  # null = not set, as the API server has it
        self._keys = [str(key) for key in value]
        self._problems = problems
        self.path = path

    def raw(self) -> Mapping[str, object]:
        """The fields as they are in the document."""
        return {key: self._values.get(key) for key in self._keys}

    def where(self, key: str) -> str:
        """The path of a field, as kubectl would write it."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, message: str) -> None:
        """Notes an error at a field."""
        self._problems.add(self.where(key), message)

    def close(self, known: Iterable[str]) -> None:
        """Refuses every field that is not in `known`."""
        names = list(known)
        for key in self._keys:
            if key not in names:
                self.problem(key, f"is not a field{did_you_mean(key, names) or '; remove it'}")

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return key in self._values

    def text(self, key: str, default: str = "", *, required: str = "") -> str:
        """A non-empty text. `required` is what to write when it is missing."""
        value = self._values.get(key)
        if value is None or value == "":
            if required:
                self.problem(key, f"is missing; {required}")
            elif value == "":
                self.problem(key, "is empty; write a text or remove the field")
            return default
        if not isinstance(value, str):
            self.problem(key, f"{_shown(value)} is not a text; write it in quotes")
            return default
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number between two bounds."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(key, f"{_shown(value)} is not a whole number; write a number from {low} to {high}, without quotes")
            return default
        if not low <= value <= high:
            self.problem(key, f"{_shown(value)} is out of range; write a number from {low} to {high}")
            return default
        return value

    def integers(self, key: str, default: tuple[int, ...], low: int, high: int, maximum: int) -> tuple[int, ...]:
        """A list of different whole numbers between two bounds."""
        value = self._list(key, maximum)
        if value is None:
            return default
        inner = Reader({f"{key}[{index}]": item for index, item in enumerate(value)}, self.path, self._problems)
        return tuple(dict.fromkeys(inner.integer(f"{key}[{index}]", low, low, high) for index in range(len(value))))

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, f"{_shown(value)} is neither true nor false; write one of them, without quotes")
            return default
        return value

    def choice(self, key: str, default: _E) -> _E:
        """One word of an enumeration."""
        value = self._values.get(key)
        if value is None:
            return default
        words = [str(word) for word in type(default)]
        if value not in words:
            nearest = did_you_mean(value, words) if isinstance(value, str) else ""
            self.problem(key, f"{_shown(value)} is not known; write one of {', '.join(words)}{nearest}")
            return default
        return type(default)(value)

    def mapping(self, key: str) -> Reader | None:
        """A nested mapping, or None when it is not there (an empty one is there)."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.problem(key, f"{_shown(value)} is not a mapping; write its fields below it, indented")
            return None
        return Reader(value, self.where(key), self._problems)

    def mappings(self, key: str, maximum: int) -> list[Reader]:
        """A list of nested mappings; empty when it is not there."""
        found = []
        for index, item in enumerate(self._list(key, maximum) or ()):
            if isinstance(item, Mapping):
                found.append(Reader(item, self.where(f"{key}[{index}]"), self._problems))
            else:
                self.problem(f"{key}[{index}]", f"{_shown(item)} is not a mapping; write its fields below '-', indented")
        return found

    def texts(self, key: str, default: tuple[str, ...], maximum: int) -> tuple[str, ...]:
        """A list of different texts."""
        value = self._list(key, maximum)
        if value is None:
            return default
        found: list[str] = []
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item:
                self.problem(f"{key}[{index}]", f"{_shown(item)} is not a text; write it in quotes")
            elif item in found:
                self.problem(f"{key}[{index}]", f"'{item}' is there twice; remove one")
            else:
                found.append(item)
        return tuple(found)

    def _list(self, key: str, maximum: int) -> list[Any] | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            self.problem(key, f"{_shown(value)} is not a list; write one '- item' a line")
            return None
        if len(value) > maximum:
            self.problem(key, f"has {len(value)} items; write at most {maximum}")
            return None
        return value

    def check_ae_title(self, key: str, value: str) -> None:
        """An AE title as PS3.5 6.2 and PS3.8 9.3.2 allow it."""
        if len(value) > 16:
            self.problem(key, f"'{value}' has {len(value)} characters; write at most 16")
        elif value and not AE_TITLE.fullmatch(value):
            self.problem(key, f"{value!r} cannot be an AE title; write printable ASCII without a backslash and without spaces at the ends")


def _shown(value: object) -> str:
    """A wrong value in a message: short, on one line."""
    if isinstance(value, str | int | float | bool):
        text = f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        return text if len(text) <= 60 and text.isprintable() else "this value"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, Mapping) else "null" if value is None else "this value"

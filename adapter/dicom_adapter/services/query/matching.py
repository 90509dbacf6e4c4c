"""Matching as PS3.4 C.2.2.2 has it, on DICOM JSON (PS3.18 F): for keys that the store itself cannot or does not match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from dicom_adapter.services.query.identifier import WILDCARD_VRS, Key

Match = Mapping[str, Any]
"""One result of a search: attributes by their tags, `00100010`."""

_RANGE_VRS = frozenset({"DA", "TM", "DT"})
_NUMBER_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})


def known(key: Key, match: Match) -> bool:
    """Whether the store has told this attribute at all."""
    return key.name in match


def matches(key: Key, match: Match) -> bool:
    """Whether a result matches one key; any of an attribute's values will do, and any of the key's."""
    element = match.get(key.name)
    values = element.get("Value") or [] if isinstance(element, Mapping) else []
    if key.items:
        return any(isinstance(item, Mapping) and all(matches(inner, item) for inner in key.items if inner.matches) for item in values)
    texts = [text for value in values for text in shown(value)]
    return any(_one(key.vr, wanted, texts) for wanted in key.values)


def shown(value: Any) -> Iterator[str]:
    """A value of DICOM JSON as texts: a person's name is each of its groups and all of them together."""
    if isinstance(value, Mapping):
        groups = [str(value.get(name) or "") for name in ("Alphabetic", "Ideographic", "Phonetic")]
        yield "=".join(groups).rstrip("=")
        yield from (group for group in groups if group)
    elif value is not None:
        yield str(value)


def _one(vr: str, wanted: str, texts: Sequence[str]) -> bool:
    if vr in _RANGE_VRS and "-" in wanted:
        return any(in_range(wanted, text) for text in texts)
    if vr in WILDCARD_VRS:
        test = _pattern(wanted, vr == "PN")
        return any(test(text.rstrip(" ")) is not None for text in texts)
    if vr in _NUMBER_VRS:
        return any(_number(text) == _number(wanted) for text in texts)
    if vr == "TM":
        return any(_time(text) == _time(wanted) for text in texts)
    return wanted in texts


@lru_cache(256)
def _pattern(wanted: str, name: bool) -> Callable[[str], re.Match[str] | None]:
    """Wildcards (PS3.4 C.2.2.2.4). Names match without regard to case, and to what is missing at their end (PS3.5 6.2.1)."""
    text = re.sub("[*]+", "*", wanted)
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(character) or re.escape(character) for character in text)
    ending = "[\\^=]*" if name else ""
    return re.compile(expression + ending, re.DOTALL | (re.IGNORECASE if name else 0)).fullmatch


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def in_range(wanted: str, text: str) -> bool:
    """Range matching (PS3.4 C.2.2.2.5) of dates and times: both ends included, as exactly as each is written."""
    low, _, high = wanted.partition("-")
    low, high, text = low.strip().replace(":", ""), high.strip().replace(":", ""), text.strip().replace(":", "")
    return bool(text) and text.ljust(len(low), "0") >= low and (not high or text[: len(high)] <= high)


def _time(text: str) -> str:
    return text.strip().replace(":", "").partition(".")[0].ljust(6, "0")

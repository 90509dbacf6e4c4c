"""Matching as PS3.4 C.2.2.2 has it, on DICOM JSON (PS3.18 F): for keys that the store itself cannot or does not match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dicom_adapter.services.query.identifier import RANGE_VRS, WILDCARD_VRS, Key

Match = Mapping[str, Any]
"""One result of a search: attributes by their tags, `00100010`."""

_WILDCARDS = frozenset("*?")
_NUMBER_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})


def known(key: Key, match: Match) -> bool:
    """Whether the store has told this attribute at all."""
    return key.name in match


def matches(key: Key, match: Match) -> bool:
    """Whether a result matches one key; any of an attribute's values will do, and any of the key's."""
    return matcher(key)(match)


def matcher(key: Key) -> Callable[[Match], bool]:
    """The same for many results: what one of them costs does not grow with the number of the key's values, patterns excepted."""
    if key.items:
        inner = [matcher(one) for one in key.items if one.matches]
        return lambda match: any(isinstance(item, Mapping) and all(test(item) for test in inner) for item in _values(key, match))
    test = _test(key.vr, key.values)
    return lambda match: any(test(text) for value in _values(key, match) for text in shown(value))


def _values(key: Key, match: Match) -> Sequence[Any]:
    element = match.get(key.name)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values if isinstance(values, list) else []


def shown(value: Any) -> Iterator[str]:
    """A value of DICOM JSON as texts: a person's name is each of its groups and all of them together."""
    if isinstance(value, Mapping):
        groups = [str(value.get(name) or "") for name in ("Alphabetic", "Ideographic", "Phonetic")]
        yield "=".join(groups).rstrip("=")
        yield from (group for group in groups if group)
    elif value is not None:
        yield str(value)


def _test(vr: str, values: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text is one of the values, or matches one of them."""
    plain = _PLAIN.get(vr, str)
    ranges = [value for value in values if vr in RANGE_VRS and "-" in value]
    patterns = [_pattern(value, vr == "PN") for value in values if vr in WILDCARD_VRS and _WILDCARDS & set(value)]
    singles = frozenset(plain(value) for value in values if vr not in WILDCARD_VRS or not _WILDCARDS & set(value))

    def test(text: str) -> bool:
        if plain(text) in singles or any(in_range(one, text) for one in ranges):
            return True
        text = text.rstrip(" ")
        return any(pattern(text) is not None for pattern in patterns)

    return test


def _pattern(wanted: str, name: bool) -> Callable[[str], re.Match[str] | None]:
    """Wildcards (PS3.4 C.2.2.2.4). What stands between two stars is looked for from left to right and then left where it was found: a text
    is read once, whatever a peer makes of stars.
    """
    first, *rest = ("".join("." if one == "?" else re.escape(one) for one in part) for part in re.split("[*]+", wanted))
    between = "".join(f"(?>.*?{part})" for part in rest[:-1])
    expression = first + between + "".join(f".*{part}" for part in rest[-1:])
    ending = "[\\^=]*" if name else ""
    return re.compile(expression + ending, re.DOTALL | (re.IGNORECASE if name else 0)).fullmatch


def in_range(wanted: str, text: str) -> bool:
    """Range matching (PS3.4 C.2.2.2.5) of dates and times: both ends included, as exactly as each is written."""
    low, _, high = wanted.partition("-")
    low, high, text = low.strip().replace(":", ""), high.strip().replace(":", ""), text.strip().replace(":", "")
    return bool(text) and text.ljust(len(low), "0") >= low and (not high or text[: len(high)] <= high)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _time(text: str) -> str:
    return text.strip().replace(":", "").partition(".")[0].ljust(6, "0")


def _text(text: str) -> str:
    return text.rstrip(" ")


def _name(text: str) -> str:
    """Names match without regard to case, and to what is missing at their end (PS3.5 6.2.1)."""
    return text.rstrip(" ^=").casefold()


_PLAIN: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(WILDCARD_VRS, _text),
    **dict.fromkeys(_NUMBER_VRS, _number),
    "PN": _name,
    "TM": _time,
}
"""What is compared of a value without wildcards, by VR."""

"""From an element's bytes to its values as texts, for comparing them (PS3.5 6). What cannot be decoded is U+FFFD."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping

from pydicom.charset import convert_encodings, decode_bytes

from dicom_adapter.delivery.prefix import SPECIFIC_CHARACTER_SET, Element
from dicom_adapter.patterns import COMPARABLE

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_IN_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UN", "UT"))
_ONE_TEXT = frozenset(("LT", "ST", "UR", "UT"))
_DELIMITERS = {0x5C, 0x5E, 0x3D}  # where code extensions begin anew: \ and, in names, ^ and = (PS3.5 6.1.2.5.3)


def texts(element: Element, elements: Mapping[int, Element]) -> tuple[str, ...]:
    """The values of an element; none when it is empty. `elements`: among them the Specific Character Set (0008,0005)."""
    try:
        return _texts(element, elements.get(SPECIFIC_CHARACTER_SET))
    except Exception:  # pydicom's decoders may raise anything
        return ()


def _texts(element: Element, character_set: Element | None) -> tuple[str, ...]:
    if element.vr not in COMPARABLE:
        return ()
    if element.vr in _NUMBERS or element.vr == "AT":
        return _numbers(element)
    text = _decoded(element, character_set)
    values = (text,) if element.vr in _ONE_TEXT else text.split("\\")
    return tuple(value.strip(" \0") for value in values if value.strip(" \0"))


def _numbers(element: Element) -> tuple[str, ...]:
    order = "<" if element.little_endian else ">"
    code = "HH" if element.vr == "AT" else _NUMBERS[element.vr]
    size = struct.calcsize(f"{order}{code}")
    whole = element.value[: len(element.value) // size * size]
    found = struct.iter_unpack(f"{order}{code}", whole)
    if element.vr == "AT":
        return tuple(f"{group:04X}{number:04X}" for group, number in found)
    return tuple(f"{number:.7g}" if code == "f" else f"{number:.15g}" if code == "d" else str(number) for (number,) in found)


def _decoded(element: Element, character_set: Element | None) -> str:
    value = element.value
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if element.vr not in _IN_CHARACTER_SET or character_set is None:
        return value.decode("ascii", "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote values
        encodings = convert_encodings([name.strip(" \0") for name in character_set.value.decode("ascii", "replace").split("\\")])
        if b"\x1b" not in value:
            return value.decode(encodings[0], "replace")
        return decode_bytes(value, encodings, _DELIMITERS)

"""A response identifier from DICOM JSON (PS3.18 F): encoded in the requestor's transfer syntax and in a character set that holds it.

One odd attribute is sent without a value; it never fails the others.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydicom.charset import decode_bytes, encode_string
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicom_adapter.services.datasets import deflated
from dicom_adapter.services.query.identifier import SPECIFIC_CHARACTER_SET, TEXT_VRS, Key, encodings

Element = Mapping[str, Any]

UTF_8: Final = "ISO_IR 192"
_LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_ASCII_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_FORMATS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_VRS: Final = _LONG_VRS | _ASCII_VRS | TEXT_VRS | _FORMATS.keys() | {"AT"}
_SHORT_LENGTH: Final = 0xFFFE
_MOST_NESTED: Final = 16


class _DoesNotFit(Exception):
    """A text that the character sets do not hold."""


class Encoder:
    """Encodes data sets for one requestor: its transfer syntax, and its Specific Character Set as far as the text fits into it."""

    def __init__(self, transfer_syntax_uid: str, character_sets: Sequence[str] = ()) -> None:
        syntax = UID(transfer_syntax_uid)
        self._implicit = syntax.is_implicit_VR
        self._order = "<" if syntax.is_little_endian else ">"
        self._deflated = syntax == DeflatedExplicitVRLittleEndian
        self._texts = _Texts(character_sets)

    def encode(self, elements: Mapping[int, Element]) -> bytes:
        """The data set, with Specific Character Set where it has text beyond ASCII or the requestor has named one."""
        try:
            encoded = self._data_set(elements, self._texts)
        except _DoesNotFit:
            encoded = self._data_set(elements, _UTF_8)
        return deflated(encoded) if self._deflated else encoded

    def _data_set(self, elements: Mapping[int, Element], texts: _Texts) -> bytes:
        named = {SPECIFIC_CHARACTER_SET: texts.element} if texts.element else {}
        return self._elements({**elements, **named}, texts, 0)

    def _elements(self, elements: Mapping[int, Element], texts: _Texts, depth: int) -> bytes:
        return b"".join(self._element(tag, elements[tag], texts, depth) for tag in sorted(elements))

    def _element(self, tag: int, element: Element, texts: _Texts, depth: int) -> bytes:
        vr = element.get("vr")
        if not isinstance(vr, str) or vr not in _VRS:
            vr = "UN"
        try:
            value = self._value(vr, element, texts, depth)
        except _DoesNotFit:
            raise
        except Exception:
            value = b""
        if not self._implicit and vr not in _LONG_VRS and len(value) > _SHORT_LENGTH:
            value = b""
        group, number = tag >> 16, tag & 0xFFFF
        if self._implicit:
            return struct.pack(f"{self._order}HHL", group, number, len(value)) + value
        if vr in _LONG_VRS:
            return struct.pack(f"{self._order}HH2sHL", group, number, vr.encode(), 0, len(value)) + value
        return struct.pack(f"{self._order}HH2sH", group, number, vr.encode(), len(value)) + value

    def _value(self, vr: str, element: Element, texts: _Texts, depth: int) -> bytes:
        if vr in _BINARY_VRS:
            inline = element.get("InlineBinary")
            return _padded(base64.b64decode(inline), b"\0") if isinstance(inline, str) else b""
        values = element.get("Value")
        if not isinstance(values, list) or not values:
            return b""
        if vr == "SQ":
            return b"".join(self._item(item, texts, depth + 1) for item in values) if depth < _MOST_NESTED else b""
        if vr in _FORMATS:
            return struct.pack(f"{self._order}{len(values)}{_FORMATS[vr]}", *(_number(vr, value) for value in values))
        if vr == "AT":
            numbers = [int(str(value), 16) for value in values]
            return b"".join(struct.pack(f"{self._order}HH", number >> 16, number & 0xFFFF) for number in numbers)
        if vr == "PN":
            return _padded(b"\\".join(texts.name(value) for value in values), b" ")
        if vr in TEXT_VRS:
            return _padded(b"\\".join(texts.encode(_text(value)) for value in values), b" ")
        return _padded("\\".join(map(_text, values)).encode("ascii"), b"\0" if vr == "UI" else b" ")

    def _item(self, item: Any, texts: _Texts, depth: int) -> bytes:
        elements = {int(tag, 16): element for tag, element in item.items() if len(tag) == 8 and isinstance(element, Mapping)}
        encoded = self._elements(elements, texts, depth)
        return struct.pack(f"{self._order}HHL", 0xFFFE, 0xE000, len(encoded)) + encoded


class _Texts:
    """Text in one Specific Character Set. Without one it is ASCII."""

    def __init__(self, character_sets: Sequence[str]) -> None:
        self._encodings = encodings(character_sets) or ["ascii"]
        self._single = self._encodings[0] if len(self._encodings) == 1 else ""
        self.element: Element | None = {"vr": "CS", "Value": list(character_sets)} if encodings(character_sets) else None

    def encode(self, text: str) -> bytes:
        """One value."""
        if text.isascii():
            return text.encode("ascii")
        if self._single:
            try:
                return text.encode(self._single)
            except UnicodeEncodeError as error:
                raise _DoesNotFit from error
        encoded = encode_string(text, self._encodings)
        if decode_bytes(encoded, self._encodings, set()) != text:  # pydicom writes what does not fit as question marks
            raise _DoesNotFit
        return encoded

    def name(self, value: Any) -> bytes:
        """A person's name: each component by itself, as code extensions are reset at its end (PS3.5 6.1.2.5.3)."""
        if isinstance(value, Mapping):
            groups = [_text(value.get(name)) for name in ("Alphabetic", "Ideographic", "Phonetic")]
        else:
            groups = _text(value).split("=")
        while groups and not groups[-1]:
            groups.pop()
        return b"=".join(b"^".join(self.encode(part) for part in group.split("^")) for group in groups)


_UTF_8: Final = _Texts((UTF_8,))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value).replace("\\", "")
    raise TypeError


def _number(vr: str, value: Any) -> float | int:
    convert: Callable[[Any], float | int] = float if vr in ("FL", "FD") else int
    return convert(value)


def _padded(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) & 1 else value


def selected(element: Element, key: Key) -> Element:
    """Of a sequence what was asked for: the attributes of the key's item, or all of it where the item names none (PS3.4 C.2.2.2.6)."""
    values = element.get("Value")
    if not key.items or not isinstance(values, list):
        return element
    items = [
        {inner.name: selected(item.get(inner.name) or {"vr": inner.vr}, inner) for inner in key.items}
        for item in values
        if isinstance(item, Mapping)
    ]
    return {"vr": "SQ", "Value": items}

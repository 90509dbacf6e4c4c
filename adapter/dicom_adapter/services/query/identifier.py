"""The identifier of a query (PS3.4 C.2.2): its level and its keys, read without believing any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pydicom.valuerep import TEXT_VR_DELIMS

from dicom_adapter import messages
from dicom_adapter.dimse.status import IDENTIFIER_DOES_NOT_MATCH
from dicom_adapter.services import bounds
from dicom_adapter.services.datasets import inflated
from dicom_adapter.services.levels import LEVELS, BadIdentifier, Level

MOST_KEYS: Final = 256
MOST_VALUES: Final = 4096
MOST_PATTERNS: Final = 64
MOST_CHARACTERS: Final = 1024
_MOST_NESTED: Final = 8

SPECIFIC_CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
TIMEZONE_OFFSET: Final = 0x00080201
ISSUER_OF_PATIENT_ID: Final = 0x00100021

TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""What is written in the Specific Character Set (PS3.5 6.1.2.3)."""
WILDCARD_VRS: Final = TEXT_VRS | {"AE", "CS", "UR"}
"""What wildcard matching applies to (PS3.4 C.2.2.2.4)."""
RANGE_VRS: Final = frozenset({"DA", "TM", "DT"})
"""What range matching applies to (PS3.4 C.2.2.2.5)."""
_ASCII_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_ONE_VALUE_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute of an identifier. Without `values` and `items` it is asked for and matches everything (PS3.4 C.2.2.2.3)."""

    tag: int
    vr: str
    values: tuple[str, ...] = ()
    items: tuple[Key, ...] = ()

    @property
    def name(self) -> str:
        """`00100010`."""
        return f"{self.tag:08X}"

    @property
    def private(self) -> bool:
        """Whether its meaning depends on a creator that a search cannot name."""
        return bool(self.tag >> 16 & 1)

    @property
    def matches(self) -> bool:
        """Whether it restricts the result."""
        return bool(self.values) or any(key.matches for key in self.items)

    @property
    def patterns(self) -> int:
        """How many values are wildcards or ranges."""
        signs = "*?" if self.vr in WILDCARD_VRS else "-" if self.vr in RANGE_VRS else ""
        return sum(any(sign in value for sign in signs) for value in self.values)

    @property
    def has_wildcards(self) -> bool:
        """Whether a value is a pattern."""
        return self.vr in WILDCARD_VRS and any("*" in value or "?" in value for value in self.values)


@dataclass(frozen=True, slots=True)
class Identifier:
    """What is asked for, at which level, and in which character sets (as in Specific Character Set)."""

    level: Level
    keys: tuple[Key, ...]
    character_sets: tuple[str, ...] = ()

    def key(self, tag: int) -> Key | None:
        """The key with this tag."""
        return next((key for key in self.keys if key.tag == tag), None)


def parse(identifier: bytes, transfer_syntax_uid: str, sop_class_uid: str) -> Identifier:
    """The identifier of a C-FIND, C-MOVE or C-GET of this SOP class. Raises BadIdentifier."""
    try:
        data_set = _data_set(identifier, UID(transfer_syntax_uid))
        character_sets = tuple(_texts(data_set, SPECIFIC_CHARACTER_SET))
        level = "".join(_texts(data_set, QUERY_RETRIEVE_LEVEL)[:1]).strip()
        keys = tuple(_keys(data_set, encodings(character_sets)))
    except BadIdentifier:
        raise
    except Exception as error:  # whatever pydicom makes of such bytes: the peer hears that they cannot be read
        raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, messages.UNREADABLE_IDENTIFIER) from error
    _bound(list(_all(keys)))
    if not level:
        raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, messages.NO_LEVEL)
    if level not in LEVELS.get(sop_class_uid, ()):
        raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, messages.INVALID_LEVEL)
    return Identifier(Level(level), keys, character_sets)


def _all(keys: Sequence[Key]) -> Iterator[Key]:
    for key in keys:
        yield key
        yield from _all(key.items)


def _bound(keys: Sequence[Key]) -> None:
    """Refuses what would be a flood of searches, or hours of comparing. Raises BadIdentifier."""
    for exceeded, comment in (
        (len(keys) > MOST_KEYS, messages.too_many_keys(MOST_KEYS)),
        (any(len(key.values) > MOST_VALUES for key in keys), messages.too_many_values(MOST_VALUES)),
        (any(key.patterns > MOST_PATTERNS for key in keys), messages.too_many_patterns(MOST_PATTERNS)),
        (any(len(value) > MOST_CHARACTERS for key in keys for value in key.values), messages.too_long_value(MOST_CHARACTERS)),
    ):
        if exceeded:
            raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, comment)


def _data_set(identifier: bytes, syntax: UID) -> Dataset:
    identifier = inflated(identifier, syntax)
    bounds.check(identifier, syntax)
    return read_dataset(BytesIO(identifier), syntax.is_implicit_VR, syntax.is_little_endian, bytelength=len(identifier))


def _texts(data_set: Dataset, tag: int) -> list[str]:
    """The values of an attribute in the default repertoire."""
    if tag not in data_set:
        return []
    element: Any = data_set.get_item(tag)
    value = element.value if isinstance(element, RawDataElement) else b""
    return [part.strip(" \0") for part in (value or b"").decode("ascii", "replace").split("\\")]


def encodings(character_sets: Sequence[str]) -> list[str]:
    """Python's names for a Specific Character Set; none for the default repertoire, and for one that nobody knows."""
    if not any(character_sets) or not all(name in python_encoding for name in character_sets):
        return []
    return list(convert_encodings(list(character_sets)))


def _keys(data_set: Dataset, codes: Sequence[str], depth: int = 0) -> Iterator[Key]:
    for tag in sorted(data_set.keys()):
        if tag.element == 0 or tag.group <= 0x0002 or (depth == 0 and tag in (SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL)):
            continue  # group lengths, commands, file meta information: nothing to match
        element = data_set.get_item(tag)
        vr = element.VR or _dictionary_vr(tag)
        if vr == "SQ":
            items = data_set[tag].value if depth < _MOST_NESTED else ()
            yield Key(int(tag), vr, items=tuple(key for item in items[:1] for key in _keys(item, codes, depth + 1)))
        else:
            yield Key(int(tag), vr, tuple(_values(data_set, element, vr, codes)))


def _dictionary_vr(tag: Any) -> str:
    try:
        return dictionary_VR(tag).partition(" ")[0]
    except KeyError:
        return "UN" if not tag.is_private_creator else "LO"


def _values(data_set: Dataset, element: Any, vr: str, codes: Sequence[str]) -> list[str]:
    raw = element.value if isinstance(element, RawDataElement) else None
    if not raw:
        return []
    if vr in _ASCII_VRS or vr in TEXT_VRS:
        text = decode(raw, vr, codes).rstrip("\0")
        parts = [text] if vr in _ONE_VALUE_VRS else text.split("\\")
        parts = [part.rstrip() if vr in _ONE_VALUE_VRS else part.strip() for part in parts]
    elif vr in ("UN", "OB", "OW", "OF", "OD", "OL", "OV"):
        return []  # bulk data is never matched
    else:
        value = data_set[element.tag].value
        found = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        parts = [f"{int(part):08X}" if vr == "AT" else str(part) for part in found if part is not None]
    return [] if all(not part or (vr in WILDCARD_VRS and not part.strip("*")) for part in parts) else [part for part in parts if part]


def decode(raw: bytes, vr: str, codes: Sequence[str]) -> str:
    """Text as the peer means it. Bytes beyond ASCII without a character set are UTF-8 if they can be, else Latin-1: both are met."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if not codes or vr not in TEXT_VRS:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    if vr == "PN":
        return "=".join("^".join(decode_bytes(part, codes, set()) for part in group.split(b"^")) for group in raw.split(b"="))
    return decode_bytes(raw, codes, TEXT_VR_DELIMS)

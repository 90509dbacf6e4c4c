"""How much an identifier may hold, before anybody reads it.

pydicom takes a tenth of a millisecond for an element, and nobody else is served meanwhile: a minute for what four megabytes hold.
"""

from __future__ import annotations

import struct
from typing import Final

from pydicom.uid import UID

from dicom_adapter import messages
from dicom_adapter.dimse.status import IDENTIFIER_DOES_NOT_MATCH, OUT_OF_RESOURCES
from dicom_adapter.services.levels import BadIdentifier

MOST_BYTES: Final = 512 << 10
"""4,096 UIDs of 64 characters are half of it."""
MOST_ELEMENTS: Final = 1024
"""Elements and items, at every depth: four for each key that may be there."""
MOST_VALUES: Final = 8192
"""In all keys together, and a text with backslashes may stand beside them."""

_UNDEFINED: Final = 0xFFFFFFFF
_SHORT: Final = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
"""The VRs with a length of 16 bits (PS3.5 table 7.1-2)."""


def check(content: bytes, transfer_syntax_uid: str) -> None:
    """An identifier that has been inflated, if it was deflated. Raises BadIdentifier."""
    if len(content) > MOST_BYTES:
        raise BadIdentifier(OUT_OF_RESOURCES, messages.identifier_too_long(MOST_BYTES))
    if content.count(b"\\") > MOST_VALUES:
        raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, messages.too_many_values(MOST_VALUES))
    syntax = UID(transfer_syntax_uid)
    if elements(content, explicit=not syntax.is_implicit_VR, order="<" if syntax.is_little_endian else ">") > MOST_ELEMENTS:
        raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, messages.too_many_elements(MOST_ELEMENTS))


def elements(content: bytes, *, explicit: bool, order: str, most: int = MOST_ELEMENTS) -> int:
    """How many elements, items and delimiters there are, counted until they are more than `most`.

    Read in one go from the first to the last: of a sequence only the heads are passed, and what looks like one is taken for one.
    """
    item = struct.pack(f"{order}HH", 0xFFFE, 0xE000)
    at = count = 0
    while at + 8 <= len(content) and count <= most:
        count += 1
        (group,) = struct.unpack_from(f"{order}H", content, at)
        code = content[at + 4 : at + 6] if explicit and group != 0xFFFE else b""
        if code in _SHORT:
            (length,) = struct.unpack_from(f"{order}H", content, at + 6)
            at += 8
        elif code.isalpha() and at + 12 <= len(content):
            (length,) = struct.unpack_from(f"{order}I", content, at + 8)
            at += 12
        else:
            (length,) = struct.unpack_from(f"{order}I", content, at + 4)
            at += 8
        nested = group == 0xFFFE or code == b"SQ" or length == _UNDEFINED or content.startswith(item, at)
        at += 0 if nested else length
    return count

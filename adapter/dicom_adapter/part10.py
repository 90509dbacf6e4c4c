"""File meta information (PS3.10 7.1) from the command set and the negotiated transfer syntax: what precedes the data set's own bytes.

The data set itself is never decoded, so a resend is byte-exact. For the same reason nothing here depends on who sends: Source Application
Entity Title (0002,0016), which is optional, is left out, or an image that comes again from another AE would be other bytes and a store that
compares content would answer 409.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import pydicom

_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")  # PS3.5 7.1.2
HEAD_BYTES = 144
"""Preamble, prefix and (0002,0000): after them so many bytes of file meta information as that says."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file meta information says (PS3.10 table 7.1-1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    implementation_class_uid: str
    implementation_version_name: str

    def encode(self) -> bytes:
        """Preamble, prefix and group 2 in Explicit VR Little Endian."""
        elements = b"".join(
            (
                struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01"),
                _element(0x0002, b"UI", self.sop_class_uid),
                _element(0x0003, b"UI", self.sop_instance_uid),
                _element(0x0010, b"UI", self.transfer_syntax_uid),
                _element(0x0012, b"UI", self.implementation_class_uid),
                _element(0x0013, b"SH", self.implementation_version_name),
            )
        )
        group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
        return bytes(128) + b"DICM" + group_length + elements


def _element(number: int, vr: bytes, text: str) -> bytes:
    """One element with a 16-bit length; UIDs are padded with NUL, texts with a space (PS3.5 6.2)."""
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs by which the data set itself says what it is."""

    study: str
    series: str
    instance: str


def identify(part10: BinaryIO) -> Identity | None:
    """Reads them from a Part 10 stream; None when they are not all there to be read.

    The default way never does this: only where a store says that it has another instance already.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote values
        try:
            data_set = pydicom.dcmread(
                part10, specific_tags=["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"], stop_before_pixels=True
            )
            uids = [str(data_set.get(keyword, "")) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        except Exception:  # pydicom raises whatever it stumbles over
            return None
    return Identity(*uids) if all(uids) else None


def file_meta(head: bytes) -> FileMeta | None:
    """The file meta information of a Part 10 stream of which these are the bytes before the data set or more; None when it lacks a UID."""
    offset = data_set_offset(head)
    if offset is None or len(head) < offset:
        return None
    found: dict[int, str] = {}
    position = HEAD_BYTES
    while position + 8 <= offset:
        group, number, vr, length = struct.unpack_from("<HH2sH", head, position)
        position += 8
        if vr in _LONG_VRS:
            if position + 4 > offset:
                return None
            (length,) = struct.unpack_from("<I", head, position)
            position += 4
        if group == 0x0002:
            found[number] = head[position : min(position + length, offset)].decode("ascii", "replace").strip(" \0")
        position += length
    meta = FileMeta(*(found.get(number, "") for number in (0x0002, 0x0003, 0x0010, 0x0012, 0x0013)))
    return meta if meta.sop_class_uid and meta.sop_instance_uid and meta.transfer_syntax_uid else None


def data_set_offset(head: bytes) -> int | None:
    """Where the data set begins in a Part 10 stream of which these are the first HEAD_BYTES or more; None when it is none."""
    if len(head) < HEAD_BYTES or head[128:132] != b"DICM" or head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return None
    return HEAD_BYTES + int.from_bytes(head[140:144], "little")

"""File meta information (PS3.10 7.1) from the command set and the negotiated transfer syntax: what precedes the data set's own bytes.

The data set itself is never decoded, so a resend is byte-exact. For the same reason nothing here depends on who sends: Source Application
Entity Title (0002,0016), which is optional, is left out, or an image that comes again from another AE would be other bytes and a store that
compares content would answer 409.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


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

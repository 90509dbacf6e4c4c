"""The elements that somebody asks for, read from a data set on its way: its bytes are looked at and nothing is changed or kept of the rest.

`Prefix` takes a data set in pieces of any size (PS3.5 7.1-7.5 and 10, annex A): implicit and explicit VR, little and big endian, deflated.
Sequences, bulk data and what nobody asks for are stepped over, in constant memory; it is complete once the highest tag asked for has been
passed. What is no data set raises `Unreadable`, with the byte at which it stops to be one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_adapter.attributes import value_representation

SPECIFIC_CHARACTER_SET = 0x0008_0005
LONGEST_VALUE = 64 << 10
"""A longer value is not read: nothing that is compared is so long."""
DEEPEST = 256
_AT_A_TIME = 2048  # elements, before whoever feeds it may do something else
_INFLATED_AT_A_TIME = 256 << 10

_IMPLICIT = frozenset(("1.2.840.10008.1.2", "1.2.840.113619.5.2"))  # the second is GE's own, with big-endian pixels
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
"""The VRs with a length of 16 bits (PS3.5 table 7.1-2); any other has 32, also one that will be invented."""
_UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD


class Unreadable(Exception):
    """This is no data set in its transfer syntax, from `position` on."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"{why} at byte {position}")
        self.position = position
        self.why = why


@dataclass(frozen=True, slots=True)
class Element:
    """An element's value as it was encoded."""

    tag: int
    vr: str
    value: bytes
    little_endian: bool = True


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is being read: a sequence of items, or the elements of one; and how they are encoded."""

    sequence: bool
    explicit: bool
    order: str


class Prefix:
    """Reads one data set. `tags`: what is asked for."""

    def __init__(self, transfer_syntax_uid: str, tags: Iterable[int]) -> None:
        self._wanted = frozenset((*tags, SPECIFIC_CHARACTER_SET))
        self._last = max(self._wanted)
        order = ">" if transfer_syntax_uid == _BIG_ENDIAN else "<"
        self._frames = [_Frame(False, transfer_syntax_uid not in _IMPLICIT, order)]
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if transfer_syntax_uid in _DEFLATED else None
        self._deflated = b""
        self._buffer = bytearray()
        self._base = 0  # where in the data set the buffer begins
        self._at = 0  # how far into the buffer it has been read
        self._begun = 0  # where the last element begins
        self._skip = 0
        self.elements: dict[int, Element] = {}
        self.complete = False

    def feed(self, piece: bytes = b"") -> bool:
        """Takes the next piece. Tells whether there is more to do in what it has: then it is to be fed again, with nothing.

        Raises:
            Unreadable: it goes no further.
        """
        if self.complete:
            return False
        inflating = False
        if self._inflater is not None:
            piece, inflating = self._inflated(piece)
        stepped = min(self._skip, len(piece))
        self._skip -= stepped
        self._base += stepped
        self._buffer += memoryview(piece)[stepped:]
        for _ in range(_AT_A_TIME):
            if not self._step():
                break
        else:
            inflating = True
        if self.complete:
            self._buffer.clear()
            self._deflated = b""
            return False
        del self._buffer[: self._at]
        self._base += self._at
        self._at = 0
        return inflating

    def finish(self) -> None:
        """The data set is over. Raises Unreadable when it ends in the middle of something."""
        if self.complete:
            return
        if self._skip or self._buffer or len(self._frames) > 1:
            raise Unreadable(self._begun, "length past the end")
        if self._inflater is not None and not self._inflater.eof:
            raise Unreadable(self._base, "deflated stream cut off")
        self.complete = True

    def _inflated(self, piece: bytes) -> tuple[bytes, bool]:
        assert self._inflater is not None  # noqa: S101 -- asked by who knows
        if self._inflater.eof:  # what stands behind it is padding
            return b"", False
        try:
            found = self._inflater.decompress(self._deflated + piece, _INFLATED_AT_A_TIME)
        except zlib.error:
            raise Unreadable(self._base + len(self._buffer), "deflated stream broken") from None
        self._deflated = self._inflater.unconsumed_tail
        return found, len(found) == _INFLATED_AT_A_TIME

    def _step(self) -> bool:
        """One element, item or delimiter. Tells whether to go on; if not, more bytes are needed, or it is complete."""
        frame, buffer, at = self._frames[-1], self._buffer, self._at
        if len(buffer) - at < 8:
            if len(buffer) > at:
                self._begun = self._base + at
            return False
        self._begun = self._base + at
        group, number = struct.unpack_from(f"{frame.order}HH", buffer, at)
        tag = group << 16 | number
        if group == 0xFFFE:
            return self._delimiter(tag, frame)
        if frame.sequence:
            raise Unreadable(self._begun, "no item where one belongs")
        return self._element(tag, frame)

    def _delimiter(self, tag: int, frame: _Frame) -> bool:
        (length,) = struct.unpack_from(f"{frame.order}I", self._buffer, self._at + 4)
        self._at += 8
        if tag == _ITEM and frame.sequence:
            if length == _UNDEFINED:
                self._push(_Frame(False, frame.explicit, frame.order))
            else:
                self._step_over(length)
        elif (tag == _ITEM_END and not frame.sequence and len(self._frames) > 1) or (tag == _SEQUENCE_END and frame.sequence):
            self._frames.pop()
        else:
            raise Unreadable(self._begun, "delimiter without its item")
        return True

    def _element(self, tag: int, frame: _Frame) -> bool:
        buffer, at = self._buffer, self._at
        vr, head = "", 8
        if not frame.explicit:
            (length,) = struct.unpack_from(f"{frame.order}I", buffer, at + 4)
        else:
            code = bytes(buffer[at + 4 : at + 6])
            if code in _SHORT:
                (length,) = struct.unpack_from(f"{frame.order}H", buffer, at + 6)
            elif code.isalpha() and code.isupper():
                head = 12
                if len(buffer) - at < head:
                    return False
                (length,) = struct.unpack_from(f"{frame.order}I", buffer, at + 8)
            else:
                raise Unreadable(self._begun, "no value representation")
            vr = code.decode("ascii")
        if tag > self._last and len(self._frames) == 1:
            self.complete = True
            return False
        if length == _UNDEFINED:
            self._at += head
            # PS3.5 6.2.2, note 2: what UN of undefined length holds is in implicit VR little endian
            self._push(_Frame(True, False, "<") if vr == "UN" else _Frame(True, frame.explicit, frame.order))
            return True
        if len(self._frames) > 1 or tag not in self._wanted or length > LONGEST_VALUE:
            self._at += head
            self._step_over(length)
            self.complete = tag == self._last and len(self._frames) == 1
            return not self.complete
        if len(buffer) - at < head + length:
            return False
        value = bytes(buffer[at + head : at + head + length])
        self._at += head + length
        known = value_representation(tag) if vr in ("", "UN") else vr
        self.elements.setdefault(tag, Element(tag, known, value, vr == "UN" or frame.order == "<"))
        self.complete = tag == self._last
        return not self.complete

    def _push(self, frame: _Frame) -> None:
        if len(self._frames) >= DEEPEST:
            raise Unreadable(self._begun, f"sequences more than {DEEPEST // 2} deep")
        self._frames.append(frame)

    def _step_over(self, length: int) -> None:
        there = min(length, len(self._buffer) - self._at)
        self._at += there
        self._skip = length - there

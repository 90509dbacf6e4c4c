"""PDUs on the wire (PS3.8 9.3.1): their types, how long each may be, and how P-DATA-TF carries messages.

Lengths are believed only up to a bound per type, and before anything is kept. P-DATA-TF is never collected: `PduReader` hands its fragments
on as views of the receive buffer, wherever the buffer happens to be cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from dicom_adapter.dimse.limits import Limits

PDU_HEADER: Final = Struct(">BxL")
PDV_HEADER: Final = Struct(">LBB")
HEADER_BYTES: Final = 6

COMMAND_BIT: Final = 0x01
LAST_BIT: Final = 0x02


class PduType(IntEnum):
    """The first byte of a PDU (PS3.8 tables 9-11 to 9-26)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


_TYPES: Final = {int(kind): kind for kind in PduType}


class AbortSource(IntEnum):
    """Who aborts (PS3.8 table 9-26)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 table 9-26); a service user gives none."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ProtocolViolation(Exception):
    """The peer sent what no peer may send; `reason` goes into the A-ABORT, the text into the log. It never quotes the peer's bytes."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


class Header(NamedTuple):
    """The first six bytes of a PDU of a known type and a permitted length."""

    type: PduType
    length: int


class Body(NamedTuple):
    """The rest of a PDU that is no P-DATA-TF."""

    type: PduType
    data: bytes


class Fragment(NamedTuple):
    """Part of a message fragment (PS3.8 9.3.5.1 and E.2). `data` is a view of the receive buffer, `last` ends the command or data set."""

    context_id: int
    is_command: bool
    last: bool
    data: memoryview


class Foreign(NamedTuple):
    """The first byte of the connection begins no DICOM PDU."""


ReaderEvent = Header | Body | Fragment | Foreign


@dataclass(frozen=True, slots=True)
class LengthBounds:
    """The shortest and longest length field of a PDU type."""

    minimum: int
    maximum: int


def length_bounds(limits: Limits) -> dict[PduType, LengthBounds]:
    """Return what each PDU type's length field may say.

    P-DATA-TF may exceed the announced maximum by the six bytes of its header: some peers count those in (PS3.8 D.1.1 does not).
    """
    fixed = LengthBounds(4, 4)
    associate = LengthBounds(68, limits.max_associate_bytes)
    return {
        PduType.A_ASSOCIATE_RQ: associate,
        PduType.A_ASSOCIATE_AC: associate,
        PduType.A_ASSOCIATE_RJ: fixed,
        PduType.P_DATA_TF: LengthBounds(HEADER_BYTES, limits.max_pdu_bytes + HEADER_BYTES),
        PduType.A_RELEASE_RQ: fixed,
        PduType.A_RELEASE_RP: fixed,
        PduType.A_ABORT: fixed,
    }


class PduReader:
    """Cuts a byte stream into PDUs. Feed it views of any size: the events say the same, however the stream is cut.

    After `Header` the machine may call `skip()`: then the body is passed over unread. After a `ProtocolViolation` the stream cannot be
    trusted any more and the reader must not be fed again.
    """

    __slots__ = (
        "_body",
        "_bounds",
        "_context_id",
        "_control",
        "_fragment_left",
        "_header",
        "_header_step",
        "_left",
        "_skipping",
        "_started",
        "_type",
    )

    def __init__(self, limits: Limits) -> None:
        self._bounds = length_bounds(limits)
        self._header = bytearray()
        self._header_step = 0
        self._body = bytearray()
        self._type: PduType | None = None
        self._left = 0
        self._fragment_left = 0
        self._context_id = 0
        self._control = 0
        self._skipping = False
        self._started = False

    @property
    def inside_pdu(self) -> bool:
        """Whether the stream stands inside a PDU."""
        return self._type is not None or bool(self._header)

    def skip(self) -> None:
        """Pass over the body of the PDU whose header came last."""
        self._skipping = True

    def feed(self, data: memoryview) -> Iterator[ReaderEvent]:
        """Yield what `data` completes; the views in the events are good until `data` is overwritten."""
        position, end = 0, len(data)
        if not self._started and end:
            self._started = True
            if not PduType.A_ASSOCIATE_RQ <= data[0] <= PduType.A_ABORT:
                yield Foreign()
                return
        while position < end:
            if self._fragment_left > 0:
                step = min(self._fragment_left, end - position)
                self._fragment_left -= step
                self._left -= step
                position += step
                yield self._fragment(data[position - step : position])
            elif self._type is None:
                header = self._header_at(data, position, PDU_HEADER)
                position += self._header_step
                if header is None:
                    return
                yield self._begin_pdu(*header)
            elif self._skipping:
                step = min(self._left, end - position)
                position += step
                self._left -= step
            elif self._type is PduType.P_DATA_TF:
                if self._left < HEADER_BYTES:
                    raise ProtocolViolation(f"{self._left} stray bytes at the end of a P-DATA-TF")
                header = self._header_at(data, position, PDV_HEADER)
                position += self._header_step
                if header is None:
                    return
                self._begin_fragment(*header)
                if not self._fragment_left:
                    yield self._fragment(data[position:position])
            else:
                step = min(self._left, end - position)
                self._body += data[position : position + step]
                position += step
                self._left -= step
                if not self._left:
                    body = Body(self._type, bytes(self._body))
                    self._body = bytearray()
                    self._type = None
                    yield body
            if not self._left and not self._fragment_left:
                self._type = None

    def _header_at(self, data: memoryview, position: int, layout: Struct) -> tuple[int, ...] | None:
        """Return the six-byte header at `position`, or None while part of it is missing; `_header_step` says how much of `data` it took."""
        if not self._header and len(data) - position >= HEADER_BYTES:
            self._header_step = HEADER_BYTES
            return layout.unpack_from(data, position)
        self._header_step = min(HEADER_BYTES - len(self._header), len(data) - position)
        self._header += data[position : position + self._header_step]
        if len(self._header) < HEADER_BYTES:
            return None
        header = layout.unpack(self._header)
        self._header.clear()
        return header

    def _begin_pdu(self, number: int, length: int) -> Header:
        kind = _TYPES.get(number)
        if kind is None:
            raise ProtocolViolation(f"unknown PDU type {number:#04x}", AbortReason.UNRECOGNIZED_PDU)
        bounds = self._bounds[kind]
        if not bounds.minimum <= length <= bounds.maximum:
            raise ProtocolViolation(f"{kind.name} of {length} bytes, {bounds.minimum} to {bounds.maximum} are possible")
        self._type, self._left, self._skipping = kind, length, False
        return Header(kind, length)

    def _begin_fragment(self, length: int, context_id: int, control: int) -> None:
        # The item length counts the context ID and the control header, not itself (PS3.8 table 9-23).
        if length < 2 or length + 4 > self._left:
            raise ProtocolViolation(f"a presentation data value of {length} bytes where the PDU has {self._left - 4} left")
        self._context_id, self._control = context_id, control
        self._left -= HEADER_BYTES
        self._fragment_left = length - 2

    def _fragment(self, view: memoryview) -> Fragment:
        control = self._control
        last = not self._fragment_left and bool(control & LAST_BIT)
        return Fragment(self._context_id, bool(control & COMMAND_BIT), last, view)

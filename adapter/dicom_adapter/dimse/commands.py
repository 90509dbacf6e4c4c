"""Command sets (PS3.7 6.3.1, E): a handful of group 0000 elements in implicit VR little endian, read and written directly."""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from dicom_adapter.dimse.pdu import COMMAND_BIT, LAST_BIT, PDU_HEADER, PDV_HEADER, PduType, ProtocolViolation
from dicom_adapter.dimse.status import SUCCESS, Status, error_comment

AFFECTED_SOP_CLASS_UID: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000

NO_DATA_SET: Final = 0x0101
RESPONSE_BIT: Final = 0x8000

_UID_LENGTH: Final = 64
_ELEMENT: Final = Struct("<HHL")
_SHORT: Final = Struct("<H")
_SHORT_ELEMENT: Final = Struct("<HHLH")
_GROUP_LENGTH: Final = Struct("<HHLL")


class CommandField(IntEnum):
    """The requests of PS3.7 table E.1-1."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True, slots=True)
class Command:
    """A request's command set. UIDs that are left out or empty are the empty string."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str

    @property
    def service(self) -> str:
        """The name of the service, such as `C-STORE`."""
        try:
            return CommandField(self.field).name.removesuffix("_RQ").replace("_", "-")
        except ValueError:
            return "unknown"


def decode_command(data: bytes) -> Command:
    """Decode a command set.

    Raises:
        ProtocolViolation: it is no command set, or it lacks what every request must have to be answered at all.
    """
    elements = _elements(data)
    field = _short(elements, COMMAND_FIELD)
    # C-CANCEL has no message ID of its own, it names the operation to end (PS3.7 9.3.2.3).
    message_id = _short(elements, MESSAGE_ID_BEING_RESPONDED_TO if field == CommandField.C_CANCEL_RQ else MESSAGE_ID)
    data_set_type = _short(elements, COMMAND_DATA_SET_TYPE)
    if field is None or message_id is None or data_set_type is None:
        raise ProtocolViolation("a command set without command field, message ID or data set type")
    return Command(
        field,
        message_id,
        data_set_type != NO_DATA_SET,
        _uid(elements, AFFECTED_SOP_CLASS_UID),
        _uid(elements, AFFECTED_SOP_INSTANCE_UID),
    )


def encode_response(request: Command, status: Status) -> bytes:
    """Encode the response to `request`: both Affected SOP UIDs stay, also when it failed, so that the sender knows which image it was."""
    body = b"".join(
        (
            _uid_element(AFFECTED_SOP_CLASS_UID, request.sop_class_uid),
            _SHORT_ELEMENT.pack(0, COMMAND_FIELD, 2, request.field | RESPONSE_BIT),
            _SHORT_ELEMENT.pack(0, MESSAGE_ID_BEING_RESPONDED_TO, 2, request.message_id),
            _SHORT_ELEMENT.pack(0, COMMAND_DATA_SET_TYPE, 2, NO_DATA_SET),
            _SHORT_ELEMENT.pack(0, STATUS, 2, status.code),
            _padded(ERROR_COMMENT, error_comment(status.comment), b" ") if status.code != SUCCESS and status.comment else b"",
            _uid_element(AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid),
        )
    )
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def command_pdus(context_id: int, command: bytes, peer_maximum_length: int) -> bytes:
    """Encode a command set as P-DATA-TF, in as many PDUs as the peer's maximum length asks for (PS3.8 D.1; 0 is no limit)."""
    room = len(command)
    if peer_maximum_length:
        room = max(2, (peer_maximum_length - PDV_HEADER.size) & ~1)
    pdus = bytearray()
    for start in range(0, len(command), room):
        part = command[start : start + room]
        control = COMMAND_BIT | (LAST_BIT if start + room >= len(command) else 0)
        pdus += PDU_HEADER.pack(PduType.P_DATA_TF, len(part) + PDV_HEADER.size)
        pdus += PDV_HEADER.pack(len(part) + 2, context_id, control)
        pdus += part
    return bytes(pdus)


def _elements(data: bytes) -> dict[int, bytes]:
    """Split a command set into its elements by element number."""
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if position + _ELEMENT.size > end:
            raise ProtocolViolation("an element header reaches past the command set")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0:
            raise ProtocolViolation(f"an element of group {group:#06x} in a command set")
        if length > end - position:
            raise ProtocolViolation(f"element (0000,{element:04x}) reaches past the command set")
        if element in elements:
            raise ProtocolViolation(f"element (0000,{element:04x}) comes twice")
        elements[element] = data[position : position + length]
        position += length
    return elements


def _short(elements: dict[int, bytes], element: int) -> int | None:
    value = elements.get(element)
    if not value:
        return None
    if len(value) != _SHORT.size:
        raise ProtocolViolation(f"element (0000,{element:04x}) has {len(value)} bytes instead of 2")
    return int(_SHORT.unpack(value)[0])


def _uid(elements: dict[int, bytes], element: int) -> str:
    # Padding is one NUL (PS3.5 9.1); spaces and odd lengths are met in the field. latin-1 never fails: who uses the value looks at it.
    return elements.get(element, b"").strip(b"\0 ").decode("latin-1")


def _uid_element(element: int, uid: str) -> bytes:
    return _padded(element, uid.encode("latin-1"), b"\0") if 0 < len(uid) <= _UID_LENGTH else b""


def _padded(element: int, value: bytes, padding: bytes) -> bytes:
    value += padding * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value

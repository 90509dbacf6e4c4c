"""Command sets of the DIMSE-C services, N-ACTION and N-EVENT-REPORT (PS3.7 6.3.1, E): a handful of group 0000 elements.

Implicit VR little endian, read and written directly.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, TypedDict

from dicom_adapter.dimse.associate import printable
from dicom_adapter.dimse.pdu import COMMAND_BIT, LAST_BIT, PDU_HEADER, PDV_HEADER, PduType, ProtocolViolation
from dicom_adapter.dimse.status import SUCCESS, Status, error_comment

AFFECTED_SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008
NUMBERS_OF_SUB_OPERATIONS: Final = range(0x1020, 0x1024)
MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031

A_DATA_SET: Final = 0x0001
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


_SERVICES: Final = {int(field): field.name.removesuffix("_RQ").replace("_", "-") for field in CommandField}


class Priority(IntEnum):
    """Priority (0000,0700) (PS3.7 E.1)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


_PRIORITISED: Final = frozenset({CommandField.C_STORE_RQ, CommandField.C_FIND_RQ, CommandField.C_GET_RQ, CommandField.C_MOVE_RQ})
# These requests name an instance that must exist (Requested SOP ...); all others and every response say Affected SOP ... (PS3.7 E.1).
_REQUESTED: Final = frozenset({CommandField.N_GET_RQ, CommandField.N_SET_RQ, CommandField.N_ACTION_RQ, CommandField.N_DELETE_RQ})
_TYPE_IDS: Final = {CommandField.N_EVENT_REPORT_RQ: EVENT_TYPE_ID, CommandField.N_ACTION_RQ: ACTION_TYPE_ID}


class MoveOriginator(NamedTuple):
    """The C-MOVE that a C-STORE belongs to (PS3.7 9.1.1.1): who asked for it, and under which message ID."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class SubOperations:
    """Numbers of sub-operations of a C-GET or C-MOVE (PS3.7 9.1.3, 9.1.4). `remaining` is left out of the last response."""

    remaining: int | None = None
    completed: int = 0
    failed: int = 0
    warning: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """A command set. UIDs and AE titles that are left out or empty are the empty string.

    `message_id` is that of the operation: Message ID of a request, Message ID Being Responded To of a response and a C-CANCEL. The SOP UIDs
    are the affected ones, or the requested ones where a request has those.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    priority: int = Priority.MEDIUM
    status: Status | None = None
    sub_operations: SubOperations | None = None
    move_destination: str = ""
    move_originator: MoveOriginator | None = None
    type_id: int | None = None

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & RESPONSE_BIT)

    @property
    def service(self) -> str:
        """The name of the service, such as `C-STORE`."""
        return _SERVICES.get(self.field & ~RESPONSE_BIT, "unknown")


def decode_command(data: bytes) -> Command:
    """Decode a command set.

    Raises:
        ProtocolViolation: it is no command set, or it lacks what every request must have to be answered at all.
    """
    elements = _elements(data)
    field = _short(elements, COMMAND_FIELD)
    answering = field is not None and (field & RESPONSE_BIT or field == CommandField.C_CANCEL_RQ)
    message_id = _short(elements, MESSAGE_ID_BEING_RESPONDED_TO if answering else MESSAGE_ID)
    data_set_type = _short(elements, COMMAND_DATA_SET_TYPE)
    if field is None or message_id is None or data_set_type is None:
        raise ProtocolViolation("a command set without command field, message ID or data set type")
    requested = field in _REQUESTED
    return Command(
        field,
        message_id,
        data_set_type != NO_DATA_SET,
        _uid(elements, REQUESTED_SOP_CLASS_UID if requested else AFFECTED_SOP_CLASS_UID),
        _uid(elements, REQUESTED_SOP_INSTANCE_UID if requested else AFFECTED_SOP_INSTANCE_UID),
        _short(elements, PRIORITY) or Priority.MEDIUM,
        **(_of_a_response(elements) if field & RESPONSE_BIT else _of_a_request(field, elements)),
    )


class _Rare(TypedDict, total=False):
    status: Status
    sub_operations: SubOperations | None
    move_destination: str
    move_originator: MoveOriginator | None
    type_id: int | None


def _of_a_request(field: int, elements: dict[int, bytes]) -> _Rare:
    if field == CommandField.C_STORE_RQ:
        title, number = elements.get(MOVE_ORIGINATOR_AE_TITLE), _short(elements, MOVE_ORIGINATOR_MESSAGE_ID)
        return {"move_originator": MoveOriginator(printable(title), number)} if title and number is not None else {}
    if field == CommandField.C_MOVE_RQ:
        return {"move_destination": printable(elements.get(MOVE_DESTINATION, b""))}
    if field in _TYPE_IDS:
        return {"type_id": _short(elements, _TYPE_IDS[CommandField(field)])}
    return {}


def _of_a_response(elements: dict[int, bytes]) -> _Rare:
    code = _short(elements, STATUS)
    if code is None:
        raise ProtocolViolation("a response without a status")
    numbers = [_short(elements, element) for element in NUMBERS_OF_SUB_OPERATIONS]
    return {
        "status": Status(code, printable(elements.get(ERROR_COMMENT, b""))),
        "sub_operations": SubOperations(numbers[0], *(number or 0 for number in numbers[1:])) if numbers != [None] * 4 else None,
        "type_id": next((value for element in _TYPE_IDS.values() if (value := _short(elements, element)) is not None), None),
    }


def encode_request(command: Command) -> bytes:
    """Encode a request or a C-CANCEL."""
    field = command.field
    requested = field in _REQUESTED
    cancel = field == CommandField.C_CANCEL_RQ
    type_id = _TYPE_IDS.get(CommandField(field))
    originator = command.move_originator
    return _with_length(
        _uid_element(REQUESTED_SOP_CLASS_UID if requested else AFFECTED_SOP_CLASS_UID, command.sop_class_uid),
        _SHORT_ELEMENT.pack(0, COMMAND_FIELD, 2, field),
        _SHORT_ELEMENT.pack(0, MESSAGE_ID_BEING_RESPONDED_TO if cancel else MESSAGE_ID, 2, command.message_id),
        _padded(MOVE_DESTINATION, command.move_destination.encode("ascii"), b" ") if command.move_destination else b"",
        _SHORT_ELEMENT.pack(0, PRIORITY, 2, command.priority) if field in _PRIORITISED else b"",
        _SHORT_ELEMENT.pack(0, COMMAND_DATA_SET_TYPE, 2, A_DATA_SET if command.has_data_set else NO_DATA_SET),
        _uid_element(REQUESTED_SOP_INSTANCE_UID if requested else AFFECTED_SOP_INSTANCE_UID, command.sop_instance_uid),
        _SHORT_ELEMENT.pack(0, type_id, 2, command.type_id) if type_id is not None and command.type_id is not None else b"",
        _padded(MOVE_ORIGINATOR_AE_TITLE, originator.ae_title.encode("ascii"), b" ") if originator else b"",
        _SHORT_ELEMENT.pack(0, MOVE_ORIGINATOR_MESSAGE_ID, 2, originator.message_id) if originator else b"",
    )


def encode_response(
    request: Command, status: Status, *, has_data_set: bool = False, sub_operations: SubOperations | None = None, type_id: int | None = None
) -> bytes:
    """Encode the response to `request`: both Affected SOP UIDs stay, also when it failed, so that the sender knows which image it was."""
    type_element = _TYPE_IDS.get(CommandField(request.field)) if type_id is not None else None
    return _with_length(
        _uid_element(AFFECTED_SOP_CLASS_UID, request.sop_class_uid),
        _SHORT_ELEMENT.pack(0, COMMAND_FIELD, 2, request.field | RESPONSE_BIT),
        _SHORT_ELEMENT.pack(0, MESSAGE_ID_BEING_RESPONDED_TO, 2, request.message_id),
        _SHORT_ELEMENT.pack(0, COMMAND_DATA_SET_TYPE, 2, A_DATA_SET if has_data_set else NO_DATA_SET),
        _SHORT_ELEMENT.pack(0, STATUS, 2, status.code),
        _padded(ERROR_COMMENT, error_comment(status.comment), b" ") if status.code != SUCCESS and status.comment else b"",
        _uid_element(AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid),
        _SHORT_ELEMENT.pack(0, type_element, 2, type_id) if type_element is not None else b"",
        _counts(sub_operations) if sub_operations is not None else b"",
    )


def _with_length(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _counts(numbers: SubOperations) -> bytes:
    values = (numbers.remaining, numbers.completed, numbers.failed, numbers.warning)
    # More than 65535 sub-operations do not fit their elements: the largest number says "many".
    return b"".join(
        _SHORT_ELEMENT.pack(0, element, 2, min(value, 0xFFFF))
        for element, value in zip(NUMBERS_OF_SUB_OPERATIONS, values, strict=True)
        if value is not None
    )


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

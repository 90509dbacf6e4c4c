"""A-ASSOCIATE-RQ as data (PS3.8 9.3.2, PS3.7 D.3.3): every length is checked against its parent before a field is believed.

pynetdicom's decoder is not used for what peers send: it checks with `assert` and quotes the peer's values in warnings and log lines.
The tests hold the two against each other on valid input.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from dicom_adapter.dimse.pdu import ProtocolViolation

APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
"""The only application context of DICOM (PS3.7 A.2.1)."""

FIXED_FIELDS: Final = 68
"""Bytes of an A-ASSOCIATE-RQ or -AC after the PDU header and before the variable items (PS3.8 table 9-11)."""

DEFAULT_MAXIMUM_LENGTH: Final = 16384
"""Taken for a peer that leaves out the mandatory Maximum Length sub-item: small enough for everybody."""

_ITEM_HEADER: Final = Struct(">BxH")
_SHORT: Final = Struct(">H")
_LONG: Final = Struct(">L")


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed (PS3.8 table 9-13), transfer syntaxes in the order of the sender."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleProposal:
    """SCP/SCU role selection for one SOP class (PS3.7 table D.3-9): what the requestor would like to be."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """User identity (PS3.7 table D.3-14), without the secret fields: nothing here checks them."""

    kind: int
    response_requested: bool


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ. `echoed` are the 64 bytes that an A-ASSOCIATE-AC sends back as they came (PS3.8 table 9-17)."""

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    echoed: bytes
    application_context_name: str = ""
    contexts: tuple[ProposedContext, ...] = ()
    maximum_length: int = DEFAULT_MAXIMUM_LENGTH
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    roles: dict[str, RoleProposal] = field(default_factory=dict)
    user_identity: UserIdentity | None = None


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Decode the bytes of an A-ASSOCIATE-RQ after its header.

    Of another protocol version only the fixed fields are read, the items may be anything (PS3.8 table 9-11).

    Raises:
        ProtocolViolation: the structure is broken.
    """
    if len(body) < FIXED_FIELDS:
        raise ProtocolViolation("an A-ASSOCIATE-RQ shorter than its fixed fields")
    version = _SHORT.unpack_from(body)[0]
    fixed = AssociateRequest(version, _text(body[4:20]), _text(body[20:36]), body[4:68])
    if not version & 1:
        return fixed
    names: list[str] = []
    contexts: list[ProposedContext] = []
    users: list[bytes] = []
    for kind, value in _items(body[FIXED_FIELDS:]):
        match kind:
            case 0x10:
                names.append(_text(value))
            case 0x20:
                contexts.append(_context(value))
            case 0x50:
                users.append(value)
            case _:  # "items of unrecognized types shall be ignored and skipped" (PS3.8 9.3.1)
                pass
    if len(names) != 1 or len(users) != 1 or not contexts:
        raise ProtocolViolation("an A-ASSOCIATE-RQ needs one application context, one user information and a presentation context")
    if len({context.context_id for context in contexts}) != len(contexts):
        raise ProtocolViolation("a presentation context ID is used twice")
    return _with_user_information(fixed, names[0], tuple(contexts), users[0])


def _with_user_information(fixed: AssociateRequest, name: str, contexts: tuple[ProposedContext, ...], value: bytes) -> AssociateRequest:
    maximum_length = DEFAULT_MAXIMUM_LENGTH
    class_uid = version_name = ""
    operations: tuple[int, int] | None = None
    roles: dict[str, RoleProposal] = {}
    identity: UserIdentity | None = None
    for kind, item in _items(value):
        match kind:
            case 0x51:
                maximum_length = _LONG.unpack(_exactly(item, 4))[0]
            case 0x52:
                class_uid = _text(item)
            case 0x53:
                operations = _SHORT.unpack_from(_exactly(item, 4))[0], _SHORT.unpack_from(item, 2)[0]
            case 0x54:
                uid, rest = _counted(item)
                roles.setdefault(_text(uid), RoleProposal(scu=_exactly(rest, 2)[0] == 1, scp=rest[1] == 1))
            case 0x55:
                version_name = _text(item)
            case 0x56 | 0x57:  # (common) extended negotiation: only that it is whole matters, nothing in it changes what we do
                _counted(item)
            case 0x58:
                identity = _user_identity(item)
            case _:
                pass
    return AssociateRequest(
        fixed.protocol_version,
        fixed.called_ae_title,
        fixed.calling_ae_title,
        fixed.echoed,
        name,
        contexts,
        maximum_length,
        class_uid,
        version_name,
        operations,
        roles,
        identity,
    )


def _context(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise ProtocolViolation("a presentation context item without an ID")
    context_id = value[0]
    if not context_id & 1:
        raise ProtocolViolation(f"presentation context ID {context_id} is not odd")
    abstract: list[str] = []
    transfer: list[str] = []
    for kind, item in _items(value[4:]):
        if kind == 0x30:
            abstract.append(_text(item))
        elif kind == 0x40:
            transfer.append(_text(item))
    if len(abstract) != 1 or not transfer:
        raise ProtocolViolation("a presentation context needs one abstract syntax and a transfer syntax")
    return ProposedContext(context_id, abstract[0], tuple(transfer))


def _user_identity(item: bytes) -> UserIdentity:
    if len(item) < 2:
        raise ProtocolViolation("a user identity item without a type")
    _primary, rest = _counted(item[2:])
    _secondary, rest = _counted(rest)
    return UserIdentity(item[0], item[1] == 1)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item; none may reach past its parent (PS3.8 9.3.1)."""
    position = 0
    while position < len(data):
        if position + _ITEM_HEADER.size > len(data):
            raise ProtocolViolation("an item header reaches past its parent")
        kind, length = _ITEM_HEADER.unpack_from(data, position)
        position += _ITEM_HEADER.size
        if position + length > len(data):
            raise ProtocolViolation(f"item {kind:#04x} reaches past its parent")
        yield kind, data[position : position + length]
        position += length


def _counted(data: bytes) -> tuple[bytes, bytes]:
    """Split `data` into a field with a two-byte length in front and the rest."""
    if len(data) < 2:
        raise ProtocolViolation("a length field reaches past its item")
    end = 2 + _SHORT.unpack_from(data)[0]
    if end > len(data):
        raise ProtocolViolation("a field reaches past its item")
    return data[2:end], data[end:]


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ProtocolViolation(f"a field of {len(data)} bytes instead of {size}")
    return data


def _text(data: bytes) -> str:
    """Decode an AE title, a UID or a name: padding away, and whatever is no printable ASCII becomes `?` (it goes into logs)."""
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x5C else "?" for byte in data.rstrip(b"\0")).strip()

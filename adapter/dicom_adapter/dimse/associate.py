"""A-ASSOCIATE-RQ and -AC as data (PS3.8 9.3.2, 9.3.3, PS3.7 D.3.3): every length is checked against its parent before a field is believed.

pynetdicom's decoder is not used for what peers send: it checks with `assert` and quotes the peer's values in warnings and log lines.
The tests hold the two against each other on valid input.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, Self, TypedDict, TypeVar

from dicom_adapter.dimse.pdu import ProtocolViolation

APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
"""The only application context of DICOM (PS3.7 A.2.1)."""

FIXED_FIELDS: Final = 68
"""Bytes of an A-ASSOCIATE-RQ or -AC after the PDU header and before the variable items (PS3.8 table 9-11)."""

DEFAULT_MAXIMUM_LENGTH: Final = 16384
"""Taken for a peer that leaves out the mandatory Maximum Length sub-item: small enough for everybody."""

_Bytes = TypeVar("_Bytes", bytes, memoryview)

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
    """User identity (PS3.7 table D.3-14). The fields hold passwords, tickets and tokens: they show up in no log and no `repr`.

    Attributes:
        kind: 1 user name, 2 user name and passcode, 3 Kerberos, 4 SAML, 5 JSON Web Token.
        response_requested: whether the requestor wants to hear that it was accepted.
        primary: the user name or the proof.
        secondary: the passcode.
    """

    kind: int
    response_requested: bool
    primary: bytes = field(default=b"", repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class CommonExtended:
    """SOP class common extended negotiation (PS3.7 table D.3-12): the service class and general classes of a SOP class."""

    sop_class_uid: str
    service_class_uid: str
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInformation:
    """The user information item (PS3.8 9.3.2.3, PS3.7 D.3.3): what both sides say of themselves.

    Attributes:
        maximum_length: of a P-DATA-TF that the sender of this takes; 0 is no limit (PS3.8 D.1).
        asynchronous_operations: how many operations the requestor may invoke, and perform, at a time; 0 is no limit (PS3.7 D.3.3.3).
        roles: SCP/SCU role selection by SOP class.
        extended: SOP class extended negotiation: the application information by SOP class, as it came (PS3.7 D.3.3.5).
        common_extended: SOP class common extended negotiation, of a request only (PS3.7 D.3.3.6).
    """

    maximum_length: int = DEFAULT_MAXIMUM_LENGTH
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    roles: Mapping[str, RoleProposal] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    common_extended: tuple[CommonExtended, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest(UserInformation):
    """An A-ASSOCIATE-RQ. `echoed` are the 64 bytes that an A-ASSOCIATE-AC sends back as they came (PS3.8 table 9-17)."""

    protocol_version: int = 1
    called_ae_title: str
    calling_ae_title: str
    echoed: bytes = b""
    application_context_name: str = APPLICATION_CONTEXT_NAME
    contexts: tuple[ProposedContext, ...] = ()
    user_identity: UserIdentity | None = None


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """The answer to a presentation context (PS3.8 table 9-18): 0 is acceptance, and only then the transfer syntax means anything."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAcceptance(UserInformation):
    """An A-ASSOCIATE-AC."""

    contexts: tuple[AnsweredContext, ...] = ()
    identity_response: bytes | None = field(default=None, repr=False)


def decode_associate_request(body: bytes) -> AssociateRequest:
    """Decode the bytes of an A-ASSOCIATE-RQ after its header.

    Of another protocol version only the fixed fields are read, the items may be anything (PS3.8 table 9-11).

    Raises:
        ProtocolViolation: the structure is broken.
    """
    version = _version(body, "A-ASSOCIATE-RQ")
    called, calling, echoed = printable(body[4:20]), printable(body[20:36]), body[4:68]
    if not version & 1:
        return AssociateRequest(
            protocol_version=version, called_ae_title=called, calling_ae_title=calling, echoed=echoed, application_context_name=""
        )
    names, proposed, users = _variable_items(body, 0x20)
    if len(names) != 1 or len(users) != 1 or not proposed:
        raise ProtocolViolation("an A-ASSOCIATE-RQ needs one application context, one user information and a presentation context")
    contexts = tuple(map(_context, proposed))
    if len({context.context_id for context in contexts}) != len(contexts):
        raise ProtocolViolation("a presentation context ID is used twice")
    information = _UserItems.read(users[0])
    return AssociateRequest(
        protocol_version=version,
        called_ae_title=called,
        calling_ae_title=calling,
        echoed=echoed,
        application_context_name=printable(names[0]),
        contexts=contexts,
        user_identity=_user_identity(information.identity) if information.identity is not None else None,
        **information.values,
    )


def decode_associate_acceptance(body: bytes) -> AssociateAcceptance:
    """Decode the bytes of an A-ASSOCIATE-AC after its header. The AE titles in it say nothing (PS3.8 table 9-17).

    Raises:
        ProtocolViolation: the structure is broken, or it is of another protocol version, which nobody asked for.
    """
    if not _version(body, "A-ASSOCIATE-AC") & 1:
        raise ProtocolViolation("an A-ASSOCIATE-AC of another protocol version")
    _names, answered, users = _variable_items(body, 0x21)
    if len(users) != 1 or not answered:
        raise ProtocolViolation("an A-ASSOCIATE-AC needs one user information and a presentation context")
    information = _UserItems.read(users[0])
    return AssociateAcceptance(
        contexts=tuple(map(_answer, answered)),
        identity_response=_counted(information.identity_response)[0] if information.identity_response is not None else None,
        **information.values,
    )


def _version(body: bytes, what: str) -> int:
    if len(body) < FIXED_FIELDS:
        raise ProtocolViolation(f"an {what} shorter than its fixed fields")
    return int(_SHORT.unpack_from(body)[0])


def _variable_items(body: bytes, context_kind: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Return application context names, presentation contexts and user information items."""
    found: dict[int, list[bytes]] = {0x10: [], context_kind: [], 0x50: []}
    for kind, value in _items(body[FIXED_FIELDS:]):
        if kind in found:  # "items of unrecognized types shall be ignored and skipped" (PS3.8 9.3.1)
            found[kind].append(value)
    return found[0x10], found[context_kind], found[0x50]


class _Values(TypedDict, total=False):
    maximum_length: int
    implementation_class_uid: str
    implementation_version_name: str
    asynchronous_operations: tuple[int, int]
    roles: dict[str, RoleProposal]
    extended: dict[str, bytes]
    common_extended: tuple[CommonExtended, ...]


@dataclass(frozen=True, slots=True)
class _UserItems:
    """The sub-items of a user information item; the identity is read by whom it belongs to."""

    values: _Values
    identity: bytes | None
    identity_response: bytes | None

    @classmethod
    def read(cls, value: bytes) -> Self:
        values: _Values = {"roles": {}, "extended": {}}
        common: list[CommonExtended] = []
        identity = response = None
        for kind, item in _items(value):
            match kind:
                case 0x51:
                    values.setdefault("maximum_length", _LONG.unpack(_exactly(item, 4))[0])
                case 0x52:
                    values["implementation_class_uid"] = printable(item)
                case 0x53:
                    values["asynchronous_operations"] = _SHORT.unpack_from(_exactly(item, 4))[0], _SHORT.unpack_from(item, 2)[0]
                case 0x54:
                    uid, rest = _counted(item)
                    values["roles"].setdefault(printable(uid), RoleProposal(scu=_exactly(rest, 2)[0] == 1, scp=rest[1] == 1))
                case 0x55:
                    values["implementation_version_name"] = printable(item)
                case 0x56:
                    uid, rest = _counted(item)
                    values["extended"].setdefault(printable(uid), rest)
                case 0x57:
                    common.append(_common_extended(item))
                case 0x58:
                    identity = item
                case 0x59:
                    response = item
                case _:
                    pass
        values["common_extended"] = tuple(common)
        return cls(values, identity, response)


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
            abstract.append(printable(item))
        elif kind == 0x40:
            transfer.append(printable(item))
    if len(abstract) != 1 or not transfer:
        raise ProtocolViolation("a presentation context needs one abstract syntax and a transfer syntax")
    return ProposedContext(context_id, abstract[0], tuple(transfer))


def _answer(value: bytes) -> AnsweredContext:
    if len(value) < 4:
        raise ProtocolViolation("a presentation context item without an ID")
    transfer = [printable(item) for kind, item in _items(value[4:]) if kind == 0x40]
    if not value[2] and len(transfer) != 1:
        raise ProtocolViolation("an accepted presentation context needs one transfer syntax")
    return AnsweredContext(value[0], value[2], transfer[0] if transfer else "")


def _common_extended(item: bytes) -> CommonExtended:
    uid, rest = _counted(item)
    service, rest = _counted(rest)
    related, _reserved = _counted(rest)
    classes = []
    left = memoryview(related)  # there may be thousands: what is left must not be copied for each
    while left:
        one, left = _counted(left)
        classes.append(printable(bytes(one)))
    return CommonExtended(printable(uid), printable(service), tuple(classes))


def _user_identity(item: bytes) -> UserIdentity:
    if len(item) < 2:
        raise ProtocolViolation("a user identity item without a type")
    primary, rest = _counted(item[2:])
    secondary, rest = _counted(rest)
    return UserIdentity(item[0], item[1] == 1, primary, secondary)


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


def _counted(data: _Bytes) -> tuple[_Bytes, _Bytes]:
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


def printable(data: bytes) -> str:
    """Decode an AE title, a UID or a name: padding away, and whatever is no printable ASCII becomes `?` (it goes into logs)."""
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x5C else "?" for byte in data.rstrip(b"\0")).strip()

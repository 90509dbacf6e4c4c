"""What a requestor proposes, and what came of it (PS3.8 9.3.2; PS3.7 D.3.3). Pure: values in, bytes and answers out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import pack
from typing import Final

from dicom_adapter.dimse.associate import (
    AssociateAcceptance,
    AssociateRequest,
    CommonExtended,
    ProposedContext,
    RoleProposal,
    UserIdentity,
)
from dicom_adapter.dimse.negotiation import ACCEPTANCE, TRANSFER_SYNTAXES_NOT_SUPPORTED, ContextResult
from dicom_adapter.dimse.pdu import PDU_HEADER, PduType
from dicom_adapter.dimse.sopclasses import is_uid

MAXIMUM_CONTEXTS: Final = 128
"""Odd numbers in one byte (PS3.8 table 9-13)."""

_AE_TITLE_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An abstract syntax and the transfer syntaxes to choose from, the favourite first."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What may be proposed beside presentation contexts; see `AssociateRequest`.

    Attributes:
        roles: for C-GET, the storage classes with `RoleProposal(scu=False, scp=True)`; the same for who reports a commitment.
        asynchronous_operations: operations that we would invoke, and perform, at a time; None proposes nothing, which means one.
        extended: SOP class extended negotiation.
        common_extended: SOP class common extended negotiation.
        user_identity: who we are; it goes out in plain text.
    """

    roles: Mapping[str, RoleProposal] = field(default_factory=dict)
    asynchronous_operations: tuple[int, int] | None = None
    extended: Mapping[str, bytes] = field(default_factory=dict)
    common_extended: tuple[CommonExtended, ...] = ()
    user_identity: UserIdentity | None = None


def propose(contexts: Iterable[PresentationContext]) -> tuple[ProposedContext, ...]:
    """Number presentation contexts with the odd numbers that they need.

    Raises:
        ValueError: there are none, or more than 128.
    """
    numbered = tuple(
        ProposedContext(2 * number + 1, context.abstract_syntax, tuple(context.transfer_syntaxes))
        for number, context in enumerate(contexts)
    )
    if not 0 < len(numbered) <= MAXIMUM_CONTEXTS:
        raise ValueError(f"an association needs 1 to {MAXIMUM_CONTEXTS} presentation contexts, not {len(numbered)}")
    return numbered


def encode_request(request: AssociateRequest) -> bytes:
    """Encode an A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Raises:
        ValueError: an AE title or a UID is none.
    """
    user = [
        _item(0x51, pack(">L", request.maximum_length)),
        _item(0x52, _uid(request.implementation_class_uid)),
    ]
    if request.asynchronous_operations is not None:
        user.append(_item(0x53, pack(">HH", *request.asynchronous_operations)))
    user += [_item(0x54, _counted(_uid(uid)) + bytes((role.scu, role.scp))) for uid, role in request.roles.items()]
    user.append(_item(0x55, request.implementation_version_name.encode("ascii")))
    user += [_item(0x56, _counted(_uid(uid)) + information) for uid, information in request.extended.items()]
    user += [_item(0x57, _common_extended(one)) for one in request.common_extended]
    identity = request.user_identity
    if identity is not None:
        proof = _counted(identity.primary) + _counted(identity.secondary)
        user.append(_item(0x58, bytes((identity.kind, identity.response_requested)) + proof))
    body = b"".join(
        (
            pack(">Hxx", request.protocol_version),
            _ae_title(request.called_ae_title),
            _ae_title(request.calling_ae_title),
            bytes(32),
            _item(0x10, _uid(request.application_context_name)),
            *map(_context, request.contexts),
            _item(0x50, b"".join(user)),
        )
    )
    return PDU_HEADER.pack(PduType.A_ASSOCIATE_RQ, len(body)) + body


def outcome(request: AssociateRequest, acceptance: AssociateAcceptance) -> dict[int, ContextResult]:
    """Return what became of each context that was proposed and answered.

    One that was accepted with a transfer syntax that nobody proposed cannot be used: it counts as refused for its transfer syntaxes.
    """
    proposed = {context.context_id: context for context in request.contexts}
    results = {}
    for answer in acceptance.contexts:
        context = proposed[answer.context_id]  # the machine lets no other through
        usable = answer.result or answer.transfer_syntax in context.transfer_syntaxes
        results[context.context_id] = ContextResult(
            context.context_id,
            context.abstract_syntax,
            answer.result if usable else TRANSFER_SYNTAXES_NOT_SUPPORTED,
            answer.transfer_syntax if answer.result == ACCEPTANCE else "",
        )
    return results


def _item(kind: int, value: bytes) -> bytes:
    return pack(">BxH", kind, len(value)) + value


def _counted(value: bytes) -> bytes:
    return pack(">H", len(value)) + value


def _context(context: ProposedContext) -> bytes:
    syntaxes = b"".join(_item(0x40, _uid(syntax)) for syntax in context.transfer_syntaxes)
    return _item(0x20, bytes((context.context_id, 0, 0, 0)) + _item(0x30, _uid(context.abstract_syntax)) + syntaxes)


def _common_extended(one: CommonExtended) -> bytes:
    related = b"".join(_counted(_uid(uid)) for uid in one.related)
    return _counted(_uid(one.sop_class_uid)) + _counted(_uid(one.service_class_uid)) + _counted(related)


def is_ae_title(text: str) -> bool:
    """Whether `text` is an AE title (PS3.5 6.2): 1 to 16 printable ASCII characters without a backslash; spaces alone mean nothing."""
    return bool(text.strip()) and len(text) <= _AE_TITLE_LENGTH and text.isascii() and text.isprintable() and "\\" not in text


def _ae_title(title: str) -> bytes:
    if not is_ae_title(title):
        raise ValueError(f"{title!r} is no AE title: 1 to 16 printable ASCII characters without a backslash")
    return title.encode("ascii").ljust(_AE_TITLE_LENGTH)


def _uid(uid: str) -> bytes:
    if not is_uid(uid):
        raise ValueError(f"{uid[:70]!r} is no UID")
    return uid.encode("ascii")

"""Which associations and presentation contexts an acceptor takes (PS3.8 9.3.3, 9.3.4; PS3.7 D.3.3). Pure: a request in, an answer out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.pdu_items import (
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    SCP_SCU_RoleSelectionSubItem,
    TransferSyntaxSubItem,
    UserIdentitySubItemAC,
    UserInformationItem,
)

from dicom_adapter.dimse.associate import APPLICATION_CONTEXT_NAME, AssociateRequest, ProposedContext, RoleProposal
from dicom_adapter.dimse.observer import Rejection
from dicom_adapter.dimse.pdu import HEADER_BYTES

IMPLEMENTATION_CLASS_UID: Final = "2.25.193560453141537084877775051400802179500"
"""Ours, derived from a UUID (PS3.5 B.2, PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME: Final = "DICOMADAPTER"
"""Without a version: it is stored with each image, and what is sent again after an upgrade must be byte-equal."""

VERIFICATION: Final = "1.2.840.10008.1.1"

ACCEPTANCE: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

_VALID_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_PATIENT_OR_OBJECT_STORAGE: Final = "1.2.840.10008.5.1.4."


@dataclass(frozen=True, slots=True)
class ContextResult:
    """What became of a proposed presentation context (PS3.8 table 9-18)."""

    context_id: int
    abstract_syntax: str
    result: int
    transfer_syntax: str = str(ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The answers of an A-ASSOCIATE-AC."""

    contexts: tuple[ContextResult, ...]
    roles: dict[str, RoleProposal]
    identity_confirmed: bool
    asynchronous: bool

    def accepted(self) -> dict[int, ContextResult]:
        """Return the contexts that may be used, by ID."""
        return {context.context_id: context for context in self.contexts if context.result == ACCEPTANCE}


def screen(request: AssociateRequest, ae_titles: Sequence[str]) -> Rejection | None:
    """Return why the association as such is rejected for good (PS3.8 table 9-21), if it is."""
    if not request.protocol_version & 1:
        return Rejection(1, 2, 2, f"it speaks version {request.protocol_version:#06x} of the upper layer protocol, we speak 0x0001")
    if request.application_context_name != APPLICATION_CONTEXT_NAME:
        return Rejection(1, 1, 2, f"its application context name is not {APPLICATION_CONTEXT_NAME}, the one of DICOM; correct the sender")
    called = request.called_ae_title
    if called not in ae_titles:
        return Rejection(
            1, 1, 7, f"it called '{called}', we are '{ae_titles[0]}'; correct the sender or add '{called}' to spec.acceptedAETitles"
        )
    if not request.calling_ae_title:
        return Rejection(1, 1, 3, "it gives no AE title of its own; set one at the sender")
    return None


def negotiate(request: AssociateRequest, serves_storage: bool) -> Agreement:
    """Answer every presentation context, and the role selection and user identity beside them."""
    contexts = tuple(_answer(context, request, serves_storage) for context in request.contexts)
    taken = {context.abstract_syntax for context in contexts if context.result == ACCEPTANCE}
    # We are the SCP: the requestor may be the SCU and not more, whatever it proposes (PS3.7 D.3.3.4).
    roles = {uid: RoleProposal(scu=True, scp=False) for uid in request.roles if uid in taken}
    identity = request.user_identity
    # A name, with or without passcode, is confirmed by an empty response (PS3.7 D.3.3.7.2). Kerberos, SAML and JWT answers prove something,
    # which we cannot: there the item is left out.
    confirmed = identity is not None and identity.response_requested and identity.kind in (1, 2)
    return Agreement(contexts, roles, confirmed, request.asynchronous_operations is not None)


def _answer(proposed: ProposedContext, request: AssociateRequest, serves_storage: bool) -> ContextResult:
    context_id, uid = proposed.context_id, proposed.abstract_syntax
    if not serves(uid, serves_storage):
        return ContextResult(context_id, uid, ABSTRACT_SYNTAX_NOT_SUPPORTED)
    role = request.roles.get(uid)
    if role is not None and not role.scu:
        return ContextResult(context_id, uid, USER_REJECTION)
    # The sender's first: the bytes pass through, so its favourite is as good as any and spares it a conversion.
    transfer_syntax = next((syntax for syntax in proposed.transfer_syntaxes if is_uid(syntax)), None)
    if transfer_syntax is None:
        return ContextResult(context_id, uid, TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return ContextResult(context_id, uid, ACCEPTANCE, transfer_syntax)


def is_uid(text: str) -> bool:
    """Whether `text` obeys the rules of PS3.5 9.1."""
    return len(text) <= 64 and _VALID_UID.fullmatch(text) is not None


def serves(uid: str, storage: bool) -> bool:
    """Whether we serve an abstract syntax: Verification, and every storage SOP class, be it of the standard, private or newer than us."""
    if uid == VERIFICATION:
        return True
    return storage and is_uid(uid) and (uid in _storage_classes() or not UID(uid).type or _is_retired_storage(uid))


def abstract_syntax_name(uid: str) -> str:
    """Return the name of an abstract syntax as people say it, or the UID itself."""
    name = str(UID(uid).name) if is_uid(uid) else uid
    return name.replace(" Information Model", "").removesuffix(" SOP Class")


@cache
def _storage_classes() -> frozenset[str]:
    return frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def _is_retired_storage(uid: str) -> bool:
    # pynetdicom lists what is current; old archives still send what has been retired since.
    return uid.startswith(_PATIENT_OR_OBJECT_STORAGE) and "Storage" in UID(uid).name


def encode_acceptance(request: AssociateRequest, agreement: Agreement, max_pdu_bytes: int) -> bytes:
    """Encode the A-ASSOCIATE-AC (PS3.8 9.3.3)."""
    pdu = A_ASSOCIATE_AC()
    user = UserInformationItem()
    user.user_data = [_maximum_length(max_pdu_bytes), _implementation_class(), _implementation_version()]
    if agreement.asynchronous:
        window = AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 1
        user.user_data.append(window)
    user.user_data += [_role(uid, role) for uid, role in agreement.roles.items()]
    if agreement.identity_confirmed:
        response = UserIdentitySubItemAC()
        response.server_response = b""
        user.user_data.append(response)
    pdu.variable_items = [ApplicationContextItem(), *(_context_item(context) for context in agreement.contexts), user]
    encoded = pdu.encode()
    start = HEADER_BYTES + 4
    return encoded[:start] + request.echoed + encoded[start + len(request.echoed) :]


def encode_rejection(rejection: Rejection) -> bytes:
    """Encode the A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.result, rejection.source, rejection.reason
    return bytes(pdu.encode())


def _context_item(context: ContextResult) -> PresentationContextItemAC:
    item = PresentationContextItemAC()
    item.presentation_context_id, item.result_reason = context.context_id, context.result
    syntax = TransferSyntaxSubItem()
    syntax.transfer_syntax_name = UID(context.transfer_syntax)
    item.transfer_syntax_sub_item = [syntax]
    return item


def _maximum_length(value: int) -> MaximumLengthSubItem:
    item = MaximumLengthSubItem()
    item.maximum_length_received = value
    return item


def _implementation_class() -> ImplementationClassUIDSubItem:
    item = ImplementationClassUIDSubItem()
    item.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    return item


def _implementation_version() -> ImplementationVersionNameSubItem:
    item = ImplementationVersionNameSubItem()
    item.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return item


def _role(uid: str, role: RoleProposal) -> SCP_SCU_RoleSelectionSubItem:
    item = SCP_SCU_RoleSelectionSubItem()
    item.sop_class_uid, item.scu_role, item.scp_role = UID(uid), role.scu, role.scp
    return item

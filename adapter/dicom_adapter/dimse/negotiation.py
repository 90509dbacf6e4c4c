"""Which associations and presentation contexts an acceptor takes (PS3.8 9.3.3, 9.3.4; PS3.7 D.3.3). Pure: a request in, an answer out."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ
from pynetdicom.pdu_items import (
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    SCP_SCU_RoleSelectionSubItem,
    SOPClassExtendedNegotiationSubItem,
    TransferSyntaxSubItem,
    UserIdentitySubItemAC,
    UserInformationItem,
)

from dicom_adapter.dimse.associate import APPLICATION_CONTEXT_NAME, AssociateRequest, ProposedContext, RoleProposal
from dicom_adapter.dimse.observer import Rejection
from dicom_adapter.dimse.pdu import HEADER_BYTES
from dicom_adapter.dimse.sopclasses import Service, is_uid, serves, service_class

IMPLEMENTATION_CLASS_UID: Final = "2.25.193560453141537084877775051400802179500"
"""Ours, derived from a UUID (PS3.5 B.2, PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME: Final = "DICOMADAPTER"
"""Without a version: it is stored with each image, and what is sent again after an upgrade must be byte-equal."""

Extend = Callable[[str, bytes], bytes | None]
"""Answers SOP class extended negotiation (PS3.7 D.3.3.5): SOP class and what was proposed in, the answer out, None for none."""

ACCEPTANCE: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4


@dataclass(frozen=True, slots=True)
class ContextResult:
    """What became of a proposed presentation context (PS3.8 table 9-18)."""

    context_id: int
    abstract_syntax: str
    result: int
    transfer_syntax: str = str(ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The answers of an A-ASSOCIATE-AC; `withheld` are the abstract syntaxes that another requestor would have got."""

    contexts: tuple[ContextResult, ...]
    roles: Mapping[str, RoleProposal] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    identity_confirmed: bool = False
    asynchronous_operations: tuple[int, int] | None = None
    withheld: frozenset[str] = frozenset()

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


def negotiate(
    request: AssociateRequest,
    services: Set[Service],
    max_operations: int = 1,
    extend: Extend | None = None,
    *,
    withheld: Set[Service] = frozenset(),
) -> Agreement:
    """Answer every presentation context, and what else is up for negotiation beside them.

    `services` are those that this requestor may have, `withheld` those that only others may: what would be accepted if it had them as well
    is refused as the user's decision, not as unknown.
    """
    answers = tuple(_answer(context, request, services) for context in request.contexts)
    kept = frozenset(
        asked.abstract_syntax
        for asked, answer in zip(request.contexts, answers, strict=True)
        if withheld and answer.result != ACCEPTANCE and _answer(asked, request, services | withheld).result == ACCEPTANCE
    )
    contexts = tuple(replace(answer, result=USER_REJECTION) if answer.abstract_syntax in kept else answer for answer in answers)
    taken = {context.abstract_syntax for context in contexts if context.result == ACCEPTANCE}
    identity = request.user_identity
    # A name, with or without passcode, is confirmed by an empty response (PS3.7 D.3.3.7.2). Kerberos, SAML and JWT answers prove something,
    # which we cannot: there the item is left out.
    confirmed = identity is not None and identity.response_requested and identity.kind in (1, 2)
    extended = {uid: extend(uid, asked) for uid, asked in request.extended.items() if uid in taken} if extend else {}
    window = request.asynchronous_operations
    return Agreement(
        contexts,
        {uid: _role(uid, role, services) for uid, role in request.roles.items() if uid in taken},
        {uid: answer for uid, answer in extended.items() if answer is not None},
        confirmed,
        # Both numbers are seen from the requestor (PS3.7 D.3.3.3): what it may invoke, what it may be asked to perform.
        (smaller(window[0], max_operations), smaller(window[1], max_operations)) if window else None,
        kept,
    )


def smaller(one: int, other: int) -> int:
    """Return the smaller of two bounds of which 0 is none."""
    return min(one, other) if one and other else one or other


def _role(uid: str, role: RoleProposal, services: Set[Service]) -> RoleProposal:
    """Agree to what was proposed as far as we have the other side of it (PS3.7 D.3.3.4)."""
    found = service_class(uid)
    return RoleProposal(
        scu=role.scu and found is not None and found.for_scu in services,
        scp=role.scp and found is not None and found.for_scp in services,
    )


def _answer(proposed: ProposedContext, request: AssociateRequest, services: Set[Service]) -> ContextResult:
    context_id, uid = proposed.context_id, proposed.abstract_syntax
    found = service_class(uid)
    if found is None or not serves(uid, services):
        return ContextResult(context_id, uid, ABSTRACT_SYNTAX_NOT_SUPPORTED)
    role = request.roles.get(uid)
    if role is None:
        # Many archives report a commitment on an association of their own without a word about roles.
        if found.for_scu not in services and found.for_scp != "n_event_report":
            return ContextResult(context_id, uid, ABSTRACT_SYNTAX_NOT_SUPPORTED)
    elif _role(uid, role, services) == RoleProposal(scu=False, scp=False):
        return ContextResult(context_id, uid, USER_REJECTION)
    # The sender's first: the bytes pass through, so its favourite is as good as any and spares it a conversion.
    readable = found.transfer_syntaxes
    transfer_syntax = next((one for one in proposed.transfer_syntaxes if is_uid(one) and (readable is None or one in readable)), None)
    if transfer_syntax is None:
        return ContextResult(context_id, uid, TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return ContextResult(context_id, uid, ACCEPTANCE, transfer_syntax)


def encode_acceptance(request: AssociateRequest, agreement: Agreement, max_pdu_bytes: int) -> bytes:
    """Encode the A-ASSOCIATE-AC (PS3.8 9.3.3)."""
    pdu = A_ASSOCIATE_AC()
    user = UserInformationItem()
    user.user_data = [_maximum_length(max_pdu_bytes), _implementation_class(), _implementation_version()]
    if agreement.asynchronous_operations is not None:
        window = AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked, window.maximum_number_operations_performed = agreement.asynchronous_operations
        user.user_data.append(window)
    user.user_data += [_role_item(uid, role) for uid, role in agreement.roles.items()]
    user.user_data += [_extended_item(uid, answer) for uid, answer in agreement.extended.items()]
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


def _role_item(uid: str, role: RoleProposal) -> SCP_SCU_RoleSelectionSubItem:
    item = SCP_SCU_RoleSelectionSubItem()
    item.sop_class_uid, item.scu_role, item.scp_role = UID(uid), role.scu, role.scp
    return item


def _extended_item(uid: str, information: bytes) -> SOPClassExtendedNegotiationSubItem:
    item = SOPClassExtendedNegotiationSubItem()
    item.sop_class_uid, item.service_class_application_information = UID(uid), information
    return item

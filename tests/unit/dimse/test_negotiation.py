"""Negotiation: which contexts are taken, and that our reading of A-ASSOCIATE agrees with pynetdicom's."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

from dicom_adapter.dimse.associate import (
    AnsweredContext,
    AssociateAcceptance,
    AssociateRequest,
    CommonExtended,
    RoleProposal,
    UserIdentity,
    decode_associate_acceptance,
    decode_associate_request,
)
from dicom_adapter.dimse.negotiation import ContextResult, encode_acceptance, encode_rejection, negotiate, screen
from dicom_adapter.dimse.observer import Rejection
from dicom_adapter.dimse.pdu import ProtocolViolation
from dicom_adapter.dimse.sopclasses import (
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    Service,
    abstract_syntax_name,
    serves,
)
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION, associate_ac, associate_rq, context, item, pdu

JPEG = "1.2.840.10008.1.2.4.50"
WORKLIST = "1.2.840.10008.5.1.4.31"
STORE: frozenset[Service] = frozenset({"echo", "store"})


def request(*contexts: bytes, user_items: bytes = b"", **values: object) -> AssociateRequest:
    return decode_associate_request(associate_rq("GATE", "CT1", contexts, user_items=user_items, **values)[6:])  # type: ignore[arg-type]


def role(uid: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))


def counted(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def identity(kind: int, response: int) -> bytes:
    return item(0x58, bytes((kind, response)) + b"\0\4name\0\4pass")


@pytest.mark.parametrize(
    "uid",
    [
        VERIFICATION,
        CT_STORAGE,
        "1.2.840.10008.5.1.4.1.1.3",  # retired: Ultrasound Multi-frame
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol Storage
        "1.2.840.10008.5.1.4.1.1.9999",  # newer than every table
        "1.3.12.2.1107.5.9.1",  # private: CSA non-image
        "1.2.826.0.1.3680043.2.1",
    ],
)
def test_verification_and_every_storage_class_are_served(uid: str) -> None:
    assert serves(uid, STORE)
    assert serves(uid, {"echo"}) == (uid == VERIFICATION)


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        (WORKLIST, "Modality Worklist - FIND"),
        ("1.2.840.10008.3.1.2.3.3", "Modality Performed Procedure Step"),
        ("1.2.840.10008.5.1.4.1.2.2.1", "Study Root Query/Retrieve - FIND"),
        ("1.2.840.10008.5.1.4.1.2.1.2", "Patient Root Query/Retrieve - MOVE"),
        ("1.2.840.10008.5.1.4.1.2.2.3", "Study Root Query/Retrieve - GET"),
        ("1.2.840.10008.1.20.1", "Storage Commitment Push Model"),
        ("1.2.840.10008.5.1.1.9", "Basic Grayscale Print Management Meta"),
        ("1.2.840.10008.1.3.10", "Media Storage Directory Storage"),
        ("1.2.840.10008.1.2", "Implicit VR Little Endian"),
        ("", ""),
        ("1.2.?", "1.2.?"),
        ("1." * 40 + "1", "1." * 40 + "1"),
    ],
)
def test_everything_else_is_refused_by_name(uid: str, name: str) -> None:
    assert not serves(uid, STORE)
    assert abstract_syntax_name(uid) == name


def test_the_senders_first_transfer_syntax_is_taken_known_or_not() -> None:
    agreement = negotiate(
        request(
            context(1, CT_STORAGE, JPEG, IMPLICIT),
            context(3, CT_STORAGE, "1.2.3.4.5", EXPLICIT),
            context(5, WORKLIST, EXPLICIT),
            context(7, VERIFICATION, "not a uid"),
            context(9, CT_STORAGE, "nor this", EXPLICIT),
        ),
        STORE,
    )
    assert agreement.contexts == (
        ContextResult(1, CT_STORAGE, 0, JPEG),
        ContextResult(3, CT_STORAGE, 0, "1.2.3.4.5"),
        ContextResult(5, WORKLIST, 3),
        ContextResult(7, VERIFICATION, 4),
        ContextResult(9, CT_STORAGE, 0, EXPLICIT),
    )
    assert set(agreement.accepted()) == {1, 3, 9}


def test_only_the_scu_role_is_left_to_a_requestor() -> None:
    agreement = negotiate(
        request(
            context(1, CT_STORAGE, EXPLICIT),
            context(3, "1.2.3", EXPLICIT),
            context(5, WORKLIST, EXPLICIT),
            user_items=role(CT_STORAGE, 1, 1) + role("1.2.3", 0, 1) + role(WORKLIST, 1, 0),
        ),
        STORE,
    )
    assert [result.result for result in agreement.contexts] == [0, 1, 3]
    assert agreement.roles == {CT_STORAGE: RoleProposal(scu=True, scp=False)}


@pytest.mark.parametrize(
    ("kind", "asked", "confirmed"), [(1, 1, True), (2, 1, True), (2, 0, False), (3, 1, False), (4, 1, False), (5, 1, False)]
)
def test_a_user_identity_is_confirmed_only_when_asked_and_when_that_means_nothing_more(kind: int, asked: int, confirmed: bool) -> None:
    proposed = request(context(1, VERIFICATION, EXPLICIT), user_items=identity(kind, asked))
    assert proposed.user_identity == UserIdentity(kind, bool(asked), b"name", b"pass")
    acceptance = encode_acceptance(proposed, negotiate(proposed, STORE), 16384)
    assert (item(0x59, b"\0\0") in acceptance) == confirmed


@pytest.mark.parametrize(("ours", "agreed"), [(1, (1, 1)), (5, (5, 5)), (20, (20, 8)), (0, (0, 8))])
def test_of_two_windows_of_asynchronous_operations_the_smaller_counts(ours: int, agreed: tuple[int, int]) -> None:
    proposed = request(context(1, VERIFICATION, EXPLICIT), user_items=item(0x53, b"\0\0\0\x08"))
    assert proposed.asynchronous_operations == (0, 8)
    assert item(0x53, struct.pack(">HH", *agreed)) in encode_acceptance(proposed, negotiate(proposed, STORE, ours), 16384)


def test_a_window_that_nobody_proposed_is_not_answered() -> None:
    proposed = request(context(1, VERIFICATION, EXPLICIT))
    assert item(0x53, b"\0\1\0\1") not in encode_acceptance(proposed, negotiate(proposed, STORE), 16384)


@pytest.mark.parametrize(
    ("uid", "services", "roles", "result", "agreed"),
    [
        (CT_STORAGE, STORE, None, 0, None),
        (CT_STORAGE, STORE, (1, 1), 0, (True, False)),
        (CT_STORAGE, STORE, (0, 1), 1, None),
        (CT_STORAGE, {"get"}, None, 3, None),
        (CT_STORAGE, {"get"}, (0, 1), 0, (False, True)),
        (CT_STORAGE, {"get", "store"}, (1, 1), 0, (True, True)),
        (CT_STORAGE, {"get", "store"}, (0, 0), 1, None),
        (STORAGE_COMMITMENT, {"n_action"}, None, 0, None),
        (STORAGE_COMMITMENT, {"n_action"}, (0, 1), 1, None),
        (STORAGE_COMMITMENT, {"n_event_report"}, (0, 1), 0, (False, True)),
        (STORAGE_COMMITMENT, {"n_event_report"}, (1, 0), 1, None),
        (STORAGE_COMMITMENT, {"n_event_report"}, None, 0, None),
        (STORAGE_COMMITMENT, {"store"}, None, 3, None),
        (STUDY_ROOT_FIND, {"find"}, None, 0, None),
        (STUDY_ROOT_FIND, {"move", "get"}, None, 3, None),
        (STUDY_ROOT_MOVE, {"move"}, (1, 0), 0, (True, False)),
        (STUDY_ROOT_GET, {"get"}, None, 0, None),
    ],
)
def test_roles_are_agreed_as_far_as_there_are_services(
    uid: str, services: set[Service], roles: tuple[int, int] | None, result: int, agreed: tuple[bool, bool] | None
) -> None:
    agreement = negotiate(request(context(1, uid, EXPLICIT), user_items=role(uid, *roles) if roles else b""), services)
    assert agreement.contexts[0].result == result
    assert agreement.roles == ({uid: RoleProposal(*agreed)} if agreed else {})


def test_what_another_requestor_would_get_is_refused_as_the_users_decision() -> None:
    every: frozenset[Service] = frozenset({"echo", "store", "find", "get"})
    mine: frozenset[Service] = frozenset({"echo", "get"})
    contexts = [
        context(1, VERIFICATION, IMPLICIT),
        context(3, CT_STORAGE, EXPLICIT),
        context(5, STUDY_ROOT_FIND, JPEG, IMPLICIT),
        context(7, STUDY_ROOT_GET, IMPLICIT),
        context(9, WORKLIST, IMPLICIT),
        context(11, STUDY_ROOT_FIND, JPEG),
    ]
    found = negotiate(request(*contexts), mine, withheld=every - mine)
    assert [answer.result for answer in found.contexts] == [0, 1, 1, 0, 3, 1]
    assert found.withheld == {CT_STORAGE, STUDY_ROOT_FIND}
    as_scp = negotiate(request(contexts[1], user_items=role(CT_STORAGE, 1, 1)), mine, withheld=every - mine)
    assert [answer.result for answer in as_scp.contexts] == [0]
    assert as_scp.roles == {CT_STORAGE: RoleProposal(scu=False, scp=True)}
    assert negotiate(request(contexts[1]), mine).contexts[0].result == 3


def test_what_must_be_read_is_taken_in_a_syntax_that_can_be() -> None:
    agreement = negotiate(request(context(1, STUDY_ROOT_FIND, JPEG, EXPLICIT), context(3, STUDY_ROOT_FIND, JPEG)), {"find"})
    assert agreement.contexts == (ContextResult(1, STUDY_ROOT_FIND, 0, EXPLICIT), ContextResult(3, STUDY_ROOT_FIND, 4))


def test_extended_negotiation_is_answered_by_who_knows_it() -> None:
    proposed = request(
        context(1, STUDY_ROOT_FIND, EXPLICIT),
        user_items=b"".join(item(0x56, counted(uid) + b"\1\1") for uid in (STUDY_ROOT_FIND.encode(), b"1.2")),
    )
    asked: list[tuple[str, bytes]] = []

    def extend(uid: str, information: bytes) -> bytes | None:
        asked.append((uid, information))
        return b"\0\1"

    agreement = negotiate(proposed, {"find"}, extend=extend)
    assert asked == [(STUDY_ROOT_FIND, b"\1\1")]
    answer = item(0x56, counted(STUDY_ROOT_FIND.encode()) + b"\0\1")
    assert answer in encode_acceptance(proposed, agreement, 16384)
    assert negotiate(proposed, {"find"}).extended == negotiate(proposed, {"find"}, extend=lambda *_: None).extended == {}


def test_pynetdicom_reads_our_answers() -> None:
    proposed = request(
        context(1, CT_STORAGE, JPEG),
        context(3, WORKLIST, EXPLICIT),
        user_items=role(CT_STORAGE, 1, 1) + item(0x53, b"\0\2\0\2") + identity(1, 1),
    )
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encode_acceptance(proposed, negotiate(proposed, STORE), 28672))
    assert [(cx.context_id, cx.result, str(cx.transfer_syntax)) for cx in pdu.presentation_context] == [(1, 0, JPEG), (3, 3, IMPLICIT)]
    user: Any = pdu.user_information
    assert user.maximum_length == 28672
    assert user.async_ops_window.max_operations_invoked == 1
    assert user.user_identity.server_response == b""
    assert {str(uid): (item.scu_role, item.scp_role) for uid, item in user.role_selection.items()} == {CT_STORAGE: (1, 0)}
    rejection = A_ASSOCIATE_RJ()
    rejection.decode(encode_rejection(Rejection(2, 3, 1, "")))
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (2, 3, 1)


UIDS = st.lists(st.integers(1, 99999), min_size=1, max_size=9).map(lambda parts: "1." + ".".join(map(str, parts)))
TITLES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_- ", min_size=1, max_size=16).filter(str.strip)


@given(TITLES, TITLES, st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=4)), min_size=1, max_size=20), st.integers(0, 1 << 20))
def test_our_reading_is_that_of_pynetdicom(called: str, calling: str, contexts: list[tuple[str, list[str]]], maximum: int) -> None:
    encoded = associate_rq(
        called,
        calling,
        [context(2 * number + 1, abstract, *transfer) for number, (abstract, transfer) in enumerate(contexts)],
        maximum_length=maximum,
        user_items=role("1.2.3", 1, 0) + identity(2, 1) + item(0x53, b"\0\5\0\6") + item(0x55, b"VERSION"),
    )
    ours = decode_associate_request(encoded[6:])
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encoded)
    assert (ours.called_ae_title, ours.calling_ae_title) == (theirs.called_ae_title, theirs.calling_ae_title)
    assert [(c.context_id, c.abstract_syntax, list(c.transfer_syntaxes)) for c in ours.contexts] == [
        (c.context_id, str(c.abstract_syntax), [str(syntax) for syntax in c.transfer_syntax]) for c in theirs.presentation_context
    ]
    user: Any = theirs.user_information
    assert ours.application_context_name == theirs.application_context_name
    assert ours.maximum_length == user.maximum_length
    assert ours.implementation_class_uid == user.implementation_class_uid
    assert ours.implementation_version_name == user.implementation_version_name
    assert ours.asynchronous_operations == (user.async_ops_window.max_operations_invoked, user.async_ops_window.max_operations_performed)
    assert ours.roles == {"1.2.3": RoleProposal(scu=True, scp=False)}


BROKEN = {
    "no context": associate_rq("GATE", "CT1", []),
    "an even ID": associate_rq("GATE", "CT1", [context(2, CT_STORAGE, EXPLICIT)]),
    "an ID twice": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)] * 2),
    "no transfer syntax": associate_rq("GATE", "CT1", [context(1, CT_STORAGE)]),
    "no abstract syntax": associate_rq("GATE", "CT1", [item(0x20, b"\1\0\0\0" + item(0x40, EXPLICIT.encode()))]),
    "an empty context": associate_rq("GATE", "CT1", [item(0x20, b"")]),
    "a second user information": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT), item(0x50, b"")]),
    "a short maximum length": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x51, b"\0\0")),
    "a role past its item": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x54, b"\0\xff1.2")),
    "a role of one byte": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x54, b"\0\0011\1")),
    "an identity cut short": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x58, b"\1\1\0\4na")),
    "an empty identity": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x58, b"\1")),
    "a common extended negotiation without a service class": associate_rq(
        "GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x57, counted(b"1.2"))
    ),
    "a related class past its list": associate_rq(
        "GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x57, counted(b"1.2") + counted(b"1.3") + counted(b"\0\7abc"))
    ),
    "an empty extended negotiation": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=item(0x56, b"\0")),
    "half an item header": associate_rq("GATE", "CT1", [context(1, CT_STORAGE, EXPLICIT)], user_items=b"\x55\0"),
    "fixed fields cut short": bytes(60),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_structure_is_a_violation(broken: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_associate_request(broken[6:])


def test_unknown_items_are_skipped() -> None:
    proposed = request(
        context(1, CT_STORAGE, EXPLICIT),
        item(0x99, b"?"),
        user_items=item(0x99, b"??") + item(0x60, b"???"),
    )
    assert len(proposed.contexts) == 1


def test_extended_negotiation_is_handed_through() -> None:
    proposed = request(
        context(1, CT_STORAGE, EXPLICIT),
        user_items=item(0x56, counted(b"1.2.3") + b"\2\0\1")
        + item(0x56, counted(b"1.2.3") + b"late")
        + item(0x57, counted(b"1.2.4") + counted(b"1.2.5") + counted(counted(b"1.2.6") + counted(b"1.2.7")))
        + item(0x57, counted(b"1.2.8") + counted(b"1.2.9") + counted(b"")),
    )
    assert proposed.extended == {"1.2.3": b"\2\0\1"}
    assert proposed.common_extended == (CommonExtended("1.2.4", "1.2.5", ("1.2.6", "1.2.7")), CommonExtended("1.2.8", "1.2.9"))


def test_the_secrets_of_a_user_identity_are_in_no_representation() -> None:
    proposed = request(context(1, CT_STORAGE, EXPLICIT), user_items=identity(2, 1))
    assert proposed.user_identity is not None
    assert (proposed.user_identity.primary, proposed.user_identity.secondary) == (b"name", b"pass")
    assert "pass" not in repr(proposed)
    assert "b'name'" not in repr(proposed)


def test_an_acceptance_is_read() -> None:
    encoded = associate_ac(
        [(1, 0, EXPLICIT), (3, 3, ""), (5, 4, "not a UID")],
        maximum_length=0,
        user_items=role(CT_STORAGE, 1, 0)
        + item(0x53, b"\0\5\0\0")
        + item(0x55, b"VERSION")
        + item(0x56, counted(b"1.2.3") + b"\1")
        + item(0x59, counted(b"granted")),
    )
    acceptance = decode_associate_acceptance(encoded[6:])
    assert acceptance == AssociateAcceptance(
        contexts=(AnsweredContext(1, 0, EXPLICIT), AnsweredContext(3, 3, ""), AnsweredContext(5, 4, "not a UID")),
        maximum_length=0,
        implementation_class_uid="1.2.826.0.1.3680043.10.1",
        implementation_version_name="VERSION",
        asynchronous_operations=(5, 0),
        roles={CT_STORAGE: RoleProposal(scu=True, scp=False)},
        extended={"1.2.3": b"\1"},
        identity_response=b"granted",
    )
    assert "granted" not in repr(acceptance)


@pytest.mark.parametrize(
    "broken",
    [
        pdu(2, bytes(68)),
        pdu(2, b"\0\2" + associate_ac([(1, 0, EXPLICIT)])[8:]),
        associate_ac([]),
        pdu(2, associate_ac([(1, 0, EXPLICIT)])[6:] + item(0x50, b"")),
        associate_ac([(1, 0, EXPLICIT)], user_items=item(0x59, b"\0\2a")),
        associate_ac([(1, 0, EXPLICIT)], user_items=item(0x53, b"\0\5")),
        pdu(2, associate_ac([(1, 0, EXPLICIT)])[6:] + item(0x21, b"\3\0\0\0")),
        pdu(2, associate_ac([(1, 0, EXPLICIT)])[6:] + item(0x21, b"\3\0")),
    ],
)
def test_a_broken_acceptance_is_a_violation(broken: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_associate_acceptance(broken[6:])


def test_of_another_protocol_version_only_the_fixed_fields_are_read() -> None:
    body = bytearray(associate_rq("GATE", "CT1", [], version=2)[6:74])
    proposed = decode_associate_request(bytes(body) + b"\xff\xff\xff")
    rejection = screen(proposed, ["GATE"])
    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason) == (1, 2, 2)
    assert rejection.message == "it speaks version 0x0002 of the upper layer protocol, we speak 0x0001"


def test_of_several_protocol_versions_only_ours_counts() -> None:
    assert screen(request(context(1, CT_STORAGE, EXPLICIT), version=3), ["GATE"]) is None


def test_text_of_a_peer_comes_out_printable() -> None:
    proposed = request(context(1, CT_STORAGE, EXPLICIT))
    body = associate_rq("GATE", "CT1\r\n\\\xe9", [context(1, CT_STORAGE, EXPLICIT)])[6:]
    assert decode_associate_request(body).calling_ae_title == "CT1????"
    assert proposed.calling_ae_title == "CT1"


def test_of_several_maximum_lengths_the_first_counts_as_in_pynetdicom() -> None:
    assert request(context(1, CT_STORAGE, EXPLICIT), user_items=item(0x51, struct.pack(">L", 257))).maximum_length == 16384

"""What a requestor writes: read back by our own decoder and by pynetdicom's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_adapter.dimse.associate import (
    AnsweredContext,
    AssociateAcceptance,
    AssociateRequest,
    CommonExtended,
    ProposedContext,
    RoleProposal,
    UserIdentity,
    decode_associate_request,
)
from dicom_adapter.dimse.negotiation import ContextResult
from dicom_adapter.dimse.proposal import PresentationContext, encode_request, outcome, propose
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION

UIDS = st.lists(st.integers(0, 99999), min_size=1, max_size=9).map(lambda parts: "1." + ".".join(map(str, parts)))
TITLES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=16)
CONTEXTS = st.lists(st.builds(PresentationContext, UIDS, st.lists(UIDS, min_size=1, max_size=4).map(tuple)), min_size=1, max_size=128)
REQUESTS = st.builds(
    AssociateRequest,
    called_ae_title=TITLES,
    calling_ae_title=TITLES,
    contexts=CONTEXTS.map(propose),
    maximum_length=st.integers(0, 0xFFFFFFFF),
    implementation_class_uid=UIDS,
    implementation_version_name=TITLES,
    asynchronous_operations=st.none() | st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    roles=st.dictionaries(UIDS, st.builds(RoleProposal, st.booleans(), st.booleans()), max_size=5),
    extended=st.dictionaries(UIDS, st.binary(max_size=20), max_size=5),
    common_extended=st.lists(st.builds(CommonExtended, UIDS, UIDS, st.lists(UIDS, max_size=3).map(tuple)), max_size=3).map(tuple),
    user_identity=st.none() | st.builds(UserIdentity, st.integers(1, 5), st.booleans(), st.binary(max_size=50), st.binary(max_size=50)),
)


@given(REQUESTS)
def test_what_is_written_is_read_back(request: AssociateRequest) -> None:
    got = decode_associate_request(encode_request(request)[6:])
    assert (got.called_ae_title.ljust(16) + got.calling_ae_title.ljust(16)).encode() + bytes(32) == got.echoed
    for name in AssociateRequest.__dataclass_fields__:
        assert name == "echoed" or getattr(got, name) == getattr(request, name)


def test_pynetdicom_reads_it() -> None:
    request = AssociateRequest(
        called_ae_title="GATE",
        calling_ae_title="CT1",
        contexts=propose([PresentationContext(CT_STORAGE, (EXPLICIT, IMPLICIT)), PresentationContext(VERIFICATION, (IMPLICIT,))]),
        maximum_length=4096,
        implementation_class_uid="1.2.3",
        implementation_version_name="VERSION",
        asynchronous_operations=(5, 1),
        roles={CT_STORAGE: RoleProposal(scu=False, scp=True)},
        extended={CT_STORAGE: b"\2\0"},
        common_extended=(CommonExtended("1.2.4", "1.2.5", ("1.2.6",)),),
        user_identity=UserIdentity(2, True, b"user", b"secret"),
    )
    encoded = encode_request(request)
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encoded)
    assert (theirs.called_ae_title, theirs.calling_ae_title) == ("GATE", "CT1")
    assert [(c.context_id, str(c.abstract_syntax), list(map(str, c.transfer_syntax))) for c in theirs.presentation_context] == [
        (1, CT_STORAGE, [EXPLICIT, IMPLICIT]),
        (3, VERIFICATION, [IMPLICIT]),
    ]
    user: Any = theirs.user_information
    assert (user.maximum_length, user.implementation_class_uid, user.implementation_version_name) == (4096, "1.2.3", "VERSION")
    assert user.async_ops_window.max_operations_invoked == 5
    assert (user.role_selection[CT_STORAGE].scu_role, user.role_selection[CT_STORAGE].scp_role) == (0, 1)
    assert user.ext_neg[0].app_info == b"\2\0"
    assert [str(uid) for uid in user.common_ext_neg[0].related_general_sop_class_identification] == ["1.2.6"]
    assert (user.user_identity.id_type, user.user_identity.primary, user.user_identity.secondary) == (2, b"user", b"secret")
    assert theirs.encode() == encoded
    assert "secret" not in repr(request)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"called_ae_title": ""}, "no AE title"),
        ({"called_ae_title": "   "}, "no AE title"),
        ({"calling_ae_title": "x" * 17}, "no AE title"),
        ({"calling_ae_title": "a\\b"}, "no AE title"),
        ({"calling_ae_title": "caf\u00e9"}, "no AE title"),
        ({"calling_ae_title": "a\n"}, "no AE title"),
        ({"roles": {"1.2.x": RoleProposal(True, True)}}, "no UID"),
        ({"contexts": propose([PresentationContext("01.2", (EXPLICIT,))])}, "no UID"),
    ],
)
def test_our_own_mistakes_are_found_before_they_are_sent(values: dict[str, Any], what: str) -> None:
    good = {"called_ae_title": "GATE", "calling_ae_title": "CT1", "implementation_class_uid": "1.2"}
    with pytest.raises(ValueError, match=what):
        encode_request(AssociateRequest(**good | values))


@pytest.mark.parametrize("count", [0, 129])
def test_an_association_has_1_to_128_contexts(count: int) -> None:
    with pytest.raises(ValueError, match=f"not {count}"):
        propose([PresentationContext(VERIFICATION, (IMPLICIT,))] * count)


def test_what_became_of_each_context() -> None:
    request = AssociateRequest(
        called_ae_title="GATE",
        calling_ae_title="CT1",
        contexts=tuple(ProposedContext(number, CT_STORAGE, (EXPLICIT, IMPLICIT)) for number in (1, 3, 5, 7)),
    )
    acceptance = AssociateAcceptance(contexts=(AnsweredContext(1, 0, IMPLICIT), AnsweredContext(5, 3, "?"), AnsweredContext(7, 0, "1.2.3")))
    assert outcome(request, acceptance) == {
        1: ContextResult(1, CT_STORAGE, 0, IMPLICIT),
        5: ContextResult(5, CT_STORAGE, 3, ""),
        7: ContextResult(7, CT_STORAGE, 4, "1.2.3"),
    }

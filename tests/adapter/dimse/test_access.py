"""Who may have an association: the access hook hears who asks, with the identity it claims, and nobody else does."""

import logging
import struct
from collections.abc import AsyncGenerator

import pytest

from dicom_adapter.dimse import AssociateRequest, GetRequest, Handlers, Rejection, Response, Service, Status, UserIdentity
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_GET
from tests.adapter.dimse.serving import Keeper, eventually, serving
from tests.support.rawscu import (
    CT_STORAGE,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    AssociationRejected,
    RawScu,
    associate_rq,
    context,
    item,
    store_rq,
)


def identified(title: str, password: bytes) -> bytes:
    identity = item(0x58, b"\2\1" + struct.pack(">H", 4) + b"user" + struct.pack(">H", len(password)) + password)
    return associate_rq("GATE", title, [context(1, CT_STORAGE, EXPLICIT)], user_items=identity)


def test_the_access_hook_decides_by_title_address_and_identity(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked: list[tuple[AssociateRequest, str]] = []

    def access(request: AssociateRequest, address: str) -> Rejection | None:
        asked.append((request, address))
        identity = request.user_identity
        known = identity is not None and (identity.primary, identity.secondary) == (b"user", b"hunter2-canary")
        return None if known else Rejection(1, 1, 3, "no such user; correct the sender's password")

    with serving(Keeper(), access=access) as server:
        with RawScu("127.0.0.1", server.port) as scu:
            assert scu.associate(identified("CT1", b"hunter2-canary")) == {1: (0, EXPLICIT)}
            assert scu.user_items()[0x59] == b"\0\0"
        with RawScu("127.0.0.1", server.port) as scu, pytest.raises(AssociationRejected) as caught:
            scu.associate(identified("CT2", b"guess-canary"))
        assert caught.value.triple == (1, 1, 3)
        ((peer, rejection),) = eventually(lambda: server.recorder.rejected)
    assert (peer.ae_title, rejection.message) == ("CT2", "no such user; correct the sender's password")
    assert [(request.calling_ae_title, address) for request, address in asked] == [("CT1", "127.0.0.1"), ("CT2", "127.0.0.1")]
    assert isinstance(asked[0][0].user_identity, UserIdentity)
    assert "canary" not in caplog.text + repr(asked) + repr(server.recorder.__dict__)


def test_the_called_ae_title_is_checked_first() -> None:
    def access(request: AssociateRequest, address: str) -> Rejection | None:
        raise AssertionError("not to be asked")

    with serving(Keeper(), access=access) as server, RawScu("127.0.0.1", server.port) as scu, pytest.raises(AssociationRejected) as caught:
        scu.associate(associate_rq("OTHER", "CT1", [context(1, CT_STORAGE, EXPLICIT)]))
    assert caught.value.triple == (1, 1, 7)


def test_a_service_that_a_peer_may_not_have_is_refused_by_the_user_and_not_performed() -> None:
    keeper = Keeper()

    def permit(request: AssociateRequest) -> frozenset[Service]:
        return frozenset({"echo"} if request.calling_ae_title == "WS1" else {"echo", "store"})

    contexts = [context(1, VERIFICATION, IMPLICIT), context(3, CT_STORAGE, EXPLICIT)]
    with serving(keeper, permit=permit) as server:
        with RawScu("127.0.0.1", server.port) as scu:
            assert {number: result for number, (result, _) in scu.associate(associate_rq("GATE", "WS1", contexts)).items()} == {1: 0, 3: 1}
            scu.release()
        with RawScu("127.0.0.1", server.port) as scu:
            assert {number: result for number, (result, _) in scu.associate(associate_rq("GATE", "CT1", contexts)).items()} == {1: 0, 3: 0}
            scu.release()
        ((peer, uid, name),) = eventually(lambda: server.recorder.withheld)
    assert (peer.ae_title, uid, name) == ("WS1", CT_STORAGE, "CT Image Storage")
    assert not server.recorder.refused


def test_an_image_is_not_taken_on_a_context_that_was_accepted_for_retrieval_only() -> None:
    keeper = Keeper()

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        yield Response(Status(0))

    roles = item(0x54, struct.pack(">H", len(CT_STORAGE)) + CT_STORAGE.encode() + b"\1\1")
    asked = associate_rq("GATE", "WS1", [context(1, CT_STORAGE, EXPLICIT), context(3, STUDY_ROOT_GET, EXPLICIT)], user_items=roles)
    handlers = Handlers(store=keeper, get=get)
    with serving(handlers=handlers, permit=lambda _: frozenset({"get"})) as server, RawScu("127.0.0.1", server.port) as scu:
        assert scu.associate(asked) == {1: (0, EXPLICIT), 3: (0, EXPLICIT)}
        scu.send_message(1, store_rq(CT_STORAGE, "1.2.3"), b"\x08\0\x18\0UI\6\0" + b"1.2.3\0")
        assert scu.response().status == 0x0211
        scu.release()
    assert not keeper.requests


def test_a_server_without_verification_refuses_it() -> None:
    with serving(handlers=Handlers(store=Keeper(), echo=False)) as server, RawScu("127.0.0.1", server.port) as scu:
        asked = associate_rq("GATE", "CT1", [context(1, VERIFICATION, IMPLICIT), context(3, CT_STORAGE, EXPLICIT)])
        assert {number: result for number, (result, _) in scu.associate(asked).items()} == {1: 3, 3: 0}
        scu.release()

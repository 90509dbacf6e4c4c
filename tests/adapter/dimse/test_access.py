"""Who may have an association: the access hook hears who asks, with the identity it claims, and nobody else does."""

import logging
import struct

import pytest

from dicom_adapter.dimse import AssociateRequest, Rejection, UserIdentity
from tests.adapter.dimse.serving import Keeper, eventually, serving
from tests.support.rawscu import CT_STORAGE, EXPLICIT, AssociationRejected, RawScu, associate_rq, context, item


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

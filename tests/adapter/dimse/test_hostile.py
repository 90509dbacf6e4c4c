"""Every kind of hostile input over the wire, with a good neighbour on an association of its own through all of them."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from random import Random

import pytest

from dicom_adapter.dimse import Status, StoreRequest
from tests.adapter.dimse.serving import Serving, eventually, serving
from tests.support.hostile import Hostile, catalogue, play
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION, RawScu, associate_rq, context, echo_rq, store_rq
from tests.support.sink import instance_uid

NEIGHBOUR = associate_rq("GATE", "GOOD", [context(1, CT_STORAGE, EXPLICIT), context(3, VERIFICATION, IMPLICIT)])


async def store(request: StoreRequest) -> Status:
    data = b"".join([chunk async for chunk in request.body])
    proof = request.sop_instance_uid.rsplit(".", 1)[1]
    return Status(0 if proof == str(zlib.crc32(data)) else 0xC000, "" if data else "Empty")


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(store, max_associations_per_peer=100) as running:
        yield running


@pytest.fixture(scope="module")
def neighbour(server: Serving) -> Iterator[RawScu]:
    with RawScu("127.0.0.1", server.port, timeout=60).associated(NEIGHBOUR) as scu:
        yield scu
        scu.release()


@pytest.mark.parametrize("hostile", catalogue(), ids=lambda hostile: hostile.name)
def test_hostile_input(hostile: Hostile, server: Serving, neighbour: RawScu, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    play(hostile, server.port, Random(hostile.name))
    data = hostile.name.encode() * 50
    neighbour.send_message(1, store_rq(CT_STORAGE, instance_uid(2, data), 7), data)
    assert neighbour.response().status == 0
    neighbour.send_message(3, echo_rq(8))
    assert neighbour.response().status == 0
    eventually(lambda: len(server.server._registry.connections) == 1)
    assert not caplog.records, "the engine has nothing to say about its peers' mistakes; its owner writes one line for each"


def test_the_kinds_are_many_and_each_is_one() -> None:
    names = [hostile.name for hostile in catalogue()]
    assert len(set(names)) == len(names) > 300

"""How many associations a DICOM node takes of us, in whichever order its answers come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from dicom_adapter import dimse
from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.export.events import Event, Result
from dicom_adapter.export.fetch import Image
from dicom_adapter.export.peer import Contexts, _PeerLane

CT, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
ADDRESS = dimse.PeerAddress("PACS", "127.0.0.1", 104)
FULL = dimse.AssociationRejected(2, 3, 2)


class Association:
    """Takes every image."""

    usable = True

    def transfer_syntaxes(self, _: str) -> tuple[str, ...]:
        return (SYNTAX,)

    async def store(self, _: dimse.SopInstance) -> dimse.Status:
        return dimse.Status(0)


class Node:
    """A pool whose node answers when the test says so: with an association, or with why there is none."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[Association]] = asyncio.Queue()

    @asynccontextmanager
    async def association(self, *_: object) -> AsyncIterator[Association]:
        answer: asyncio.Future[Association] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        yield await answer


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def lane(node: Node) -> _PeerLane:
    return _PeerLane(ADDRESS, "GATE", cast("dimse.Pool", node), 2, Contexts(), None, lambda: None)


def send(lane: _PeerLane) -> asyncio.Task[Result]:
    image = Image(InstancePath("1.2", "1.2.3", "1.2.3.4"), CT, "1.2.3.4", SYNTAX, b"", 0)
    return asyncio.create_task(lane.send(image))


async def test_the_second_association_is_refused_while_the_first_has_nothing_to_send(node: Node, lane: _PeerLane) -> None:
    first, second = send(lane), send(lane)
    kept = Association()
    (await node.asked.get()).set_result(kept)
    assert (await first).event is Event.STORED
    (await node.asked.get()).set_exception(FULL)
    assert (await second).event is Event.CROWDED


async def test_the_second_is_refused_before_we_read_that_the_first_is_taken(node: Node, lane: _PeerLane) -> None:
    first, second = send(lane), send(lane)
    answer_first, answer_second = await node.asked.get(), await node.asked.get()
    answer_second.set_exception(FULL)
    for _ in range(10):
        await asyncio.sleep(0)  # it has been read
    kept = Association()
    answer_first.set_result(kept)
    assert (await first).event is Event.STORED
    assert (await second).event is Event.CROWDED


async def test_a_node_that_takes_none_of_two_is_not_available(node: Node, lane: _PeerLane) -> None:
    both = send(lane), send(lane)
    for _ in both:
        (await node.asked.get()).set_exception(FULL)
    assert [(await one).event for one in both] == [Event.DESTINATION_UNAVAILABLE] * 2


async def test_the_last_association_is_not_done_without(node: Node, lane: _PeerLane) -> None:
    """Or nothing would be sent for ten minutes: the one that works may be idle, with other presentation contexts."""
    kept = Association()
    sent = send(lane)
    (await node.asked.get()).set_result(kept)
    await sent
    for expected in (Event.CROWDED, Event.DESTINATION_UNAVAILABLE):
        refused = send(lane)
        (await node.asked.get()).set_exception(FULL)
        assert (await refused).event is expected

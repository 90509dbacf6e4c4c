"""What goes out: data sets cut into fragments, and messages that do not mix."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_adapter.dimse.errors import AssociationAborted
from dicom_adapter.dimse.outlet import LONGEST_FRAGMENT, DataSetWriter, Outlet
from tests.support.rawscu import COMMAND, DATA, LAST, pdata, pdv


def fragments(pdus: bytes) -> list[tuple[int, int, bytes]]:
    """Context ID, control header and bytes of each PDU, which has one fragment."""
    found = []
    while pdus:
        kind, length, value, context_id, control = struct.unpack_from(">BxLLBB", pdus)
        assert (kind, value) == (4, length - 4)
        found.append((context_id, control, pdus[12 : 6 + length]))
        pdus = pdus[6 + length :]
    return found


def written(maximum: int, pieces: list[bytes]) -> bytes:
    writer = DataSetWriter(5, maximum)
    return b"".join([batch for piece in pieces for batch in writer.feed(piece)] + [writer.end()])


@given(st.sampled_from([8, 9, 13, 16, 64, 4096, 0]), st.lists(st.binary(max_size=50), max_size=30))
def test_fragments_are_full_even_and_in_order(maximum: int, pieces: list[bytes]) -> None:
    found = fragments(written(maximum, pieces))
    data = b"".join(pieces)
    assert b"".join(part for _, _, part in found) == data
    assert [control for _, control, _ in found] == [DATA] * (len(found) - 1) + [LAST]
    assert {context_id for context_id, _, _ in found} == {5}
    sizes = {len(part) for _, _, part in found[:-1]}
    room = (maximum - 6) & ~1 if maximum else LONGEST_FRAGMENT
    assert sizes <= {room}
    assert len(found[-1][2]) <= room
    assert found[-1][2] or not data  # the last is empty only when all is


@pytest.mark.parametrize("maximum", [1, 7])
def test_a_maximum_that_leaves_no_room_gets_the_least_that_is_possible(maximum: int) -> None:
    assert [part for _, _, part in fragments(written(maximum, [b"abcdef"]))] == [b"ab", b"cd", b"ef"]


def test_large_pieces_leave_in_batches() -> None:
    writer = DataSetWriter(1, 4096)
    batches = list(writer.feed(bytes(1_000_000)))
    assert len(batches) == 4
    assert all(len(batch) < 300_000 for batch in batches)


class Wire:
    """What an outlet sends, and whether it has given up."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.given_up: list[str] = []
        self.outlet = Outlet(16, send=self.sent.extend, give_up=self.give_up)

    def give_up(self, reason: str) -> None:
        self.given_up.append(reason)
        self.outlet.close(AssociationAborted(reason))


async def test_messages_do_not_mix_and_keep_their_order() -> None:
    wire = Wire()
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while chunk := await more.get():
            yield chunk

    first = asyncio.ensure_future(wire.outlet.send(1, b"c1", body()))
    await more.put(bytes(30))
    second = asyncio.ensure_future(wire.outlet.send(3, b"c2", b"data"))
    await asyncio.sleep(0.01)
    wire.outlet.post(5, b"c3")
    assert (wire.outlet.busy, wire.outlet.backlog) == (True, 2)
    await more.put(b"")
    await asyncio.gather(first, second)
    assert [(context_id, control) for context_id, control, _ in fragments(bytes(wire.sent))] == [
        (1, COMMAND | LAST),
        *[(1, DATA)] * 2,
        (1, DATA | LAST),
        (3, COMMAND | LAST),
        (3, DATA | LAST),
        (5, COMMAND | LAST),
    ]
    assert (wire.outlet.busy, wire.outlet.backlog) == (False, 0)


async def test_who_stops_waiting_for_its_turn_leaves_no_gap() -> None:
    wire = Wire()
    wire.outlet.pause()
    sends = [asyncio.ensure_future(wire.outlet.send(number, b"c")) for number in (1, 3, 5)]
    await asyncio.sleep(0)
    sends[1].cancel()
    sends[0].cancel()  # the turn of the third
    await asyncio.sleep(0)
    wire.outlet.resume()
    await sends[2]
    assert bytes(wire.sent) == pdata(pdv(5, COMMAND | LAST, b"c"))
    assert not wire.given_up


async def test_nothing_is_sent_while_the_peer_does_not_read_and_the_end_wakes_who_waits() -> None:
    wire = Wire()
    wire.outlet.pause()
    sends = [asyncio.ensure_future(wire.outlet.send(number, b"c")) for number in (1, 3)]
    await asyncio.sleep(0)
    assert not wire.sent
    wire.outlet.close(AssociationAborted("over"))
    for send in sends:
        with pytest.raises(AssociationAborted, match="over"):
            await send
    with pytest.raises(AssociationAborted):
        await wire.outlet.send(1, b"c")
    wire.outlet.post(1, b"c")
    assert not wire.sent


async def test_half_a_message_ends_the_association() -> None:
    wire = Wire()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(100)
        raise OSError("disk")

    waiting = asyncio.ensure_future(wire.outlet.send(1, b"c", body()))
    with pytest.raises(OSError, match="disk"):
        await waiting
    assert wire.given_up == ["the data set that was being sent broke off"]

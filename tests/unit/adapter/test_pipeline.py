"""Pieces on their way into a request, and the copy that is kept of them."""

from __future__ import annotations

import asyncio
import os
import tempfile
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dicom_adapter.delivery.pipeline import _receive
from dicom_adapter.delivery.replay import MEMORY_BYTES, Copy, NoRoom, Room

STEP = 64 << 20


async def body(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def room(maximum: int = 1 << 30) -> Room:
    return Room(tempfile.gettempdir(), maximum=maximum)


async def pieces_of(copy: Copy) -> list[bytes]:
    return [piece async for piece in copy.read()]


@pytest.mark.parametrize(
    ("sizes", "writes"),
    [
        ([], [300]),
        ([5], [305]),
        ([131060, 131060, 5], [300, 131060, 131060, 5]),
        ([16000] * 10, [80300, 80000]),
        ([65236], [65536]),
        ([65536], [300, 65536]),
    ],
)
async def test_small_pieces_are_joined_and_large_ones_are_not_copied(sizes: list[int], writes: list[int]) -> None:
    pieces = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    copy, header = Copy(room()), b"h" * 300
    copy.take(header)
    assert await _receive(copy, body(pieces))
    assert copy.size == 300 + sum(sizes)
    for _ in range(2):
        kept = await pieces_of(copy)
        assert b"".join(kept) == header + b"".join(pieces)
        assert [len(piece) for piece in kept] == writes
        assert all(any(piece is one for one in pieces) for piece in kept if len(piece) > 100_000)


async def test_above_four_mebibytes_the_rest_is_left_to_be_streamed() -> None:
    source, copy = body([bytes(100_000)] * 50), Copy(room())
    assert not await _receive(copy, source)
    assert MEMORY_BYTES < copy.size <= MEMORY_BYTES + 100_000
    assert copy.size + sum([len(piece) async for piece in source]) == 5_000_000


async def test_when_memory_is_crowded_only_small_instances_stay_in_it() -> None:
    space = Room(tempfile.gettempdir(), memory=1 << 20)
    with Copy(space) as first, Copy(space) as second, Copy(space) as small:
        assert await _receive(first, body([bytes(100_000)] * 10))
        assert not await _receive(second, body([bytes(100_000)] * 11))
        assert second.size == 300_000
        assert await _receive(small, body([bytes(100_000)] * 2))
        assert space.held == 1_500_000
        await second.spill()
        assert space.held == 1_200_000
        assert b"".join(await pieces_of(second)) == bytes(300_000)
    assert space.held == 0


async def test_an_instance_in_single_bytes_costs_its_bytes_and_not_an_object_each() -> None:
    copy = Copy(room())
    tracemalloc.start()
    await _receive(copy, body([b"x"] * 100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert copy.size == 100_000
    assert peak < 2_000_000  # the list above alone is 0.8 MB


async def test_a_large_copy_is_in_a_file_without_a_name_and_no_longer_in_memory(tmp_path: Path) -> None:
    space = Room(str(tmp_path), maximum=1 << 30)
    parts = [os.urandom(300_000) for _ in range(20)]
    with Copy(space) as copy:
        await copy.fill(body(parts))
        assert copy.size == 6_000_000
        for _ in range(2):
            assert b"".join(await pieces_of(copy)) == b"".join(parts)
        with copy.open() as file:
            assert file.read() == b"".join(parts)
        assert b"".join(await pieces_of(copy)) == b"".join(parts)
        assert space.reserved == STEP
        assert os.listdir(tmp_path) == []
    assert space.reserved == 0


async def test_without_room_nothing_is_begun_and_what_grows_out_of_it_is_given_up() -> None:
    with Copy(room(STEP - 1)) as copy:
        copy.take(bytes(MEMORY_BYTES + 1))
        with pytest.raises(NoRoom):
            await copy.spill()
    space = room(STEP)
    with Copy(space) as copy:
        copy.take(bytes(MEMORY_BYTES + 1))
        await copy.spill()
        for _ in range(61):
            await copy.add(bytes(1 << 20))
        assert copy.lost
        assert space.reserved == 0
        await copy.add(bytes(1 << 20))  # it goes on without
    with Copy(space) as copy, pytest.raises(NoRoom):
        await copy.fill(body([bytes(1 << 20)] * 66))


async def test_a_directory_that_cannot_be_written_to_is_no_room() -> None:
    for directory in ("/proc", "/nowhere"):
        with Copy(Room(directory)) as copy:
            copy.take(bytes(MEMORY_BYTES + 1))
            with pytest.raises(NoRoom):
                await copy.spill()


async def test_who_is_cancelled_while_a_batch_is_written_leaves_a_copy_in_order() -> None:
    with Copy(room()) as copy:
        parts = [bytes([number]) * (1 << 20) for number in range(16)]
        copy.take(bytes(5 << 20))
        await copy.spill()
        for part in parts:
            adding = asyncio.create_task(copy.add(part))
            await asyncio.sleep(0)  # it has given its batch to the thread
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
        await copy.flush()
        assert b"".join(await pieces_of(copy)) == bytes(5 << 20) + b"".join(parts)


async def test_a_copy_that_is_held_twice_goes_with_the_second() -> None:
    copy = Copy(room())
    copy.take(b"x")
    with copy:
        with copy.hold():
            pass
        assert await pieces_of(copy) == [b"x"]
    assert await pieces_of(copy) == []

"""Pieces on their way into a request."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator

import pytest

from dicom_adapter.delivery.pipeline import WHOLE_BYTES, _receive


async def body(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


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
    header = b"h" * 300
    received = await _receive(header, body(pieces))
    assert received.whole
    assert received.size == 300 + sum(sizes)
    assert b"".join(received.pieces) == header + b"".join(pieces)
    assert [len(piece) for piece in received.pieces] == writes
    assert all(any(piece is one for one in pieces) for piece in received.pieces if len(piece) > 100_000)


async def test_above_four_mebibytes_the_rest_is_left_to_be_streamed() -> None:
    source = body([bytes(100_000)] * 50)
    received = await _receive(b"", source)
    assert not received.whole
    assert WHOLE_BYTES < received.size <= WHOLE_BYTES + 100_000
    assert received.size + sum([len(piece) async for piece in source]) == 5_000_000


async def test_an_instance_in_single_bytes_costs_its_bytes_and_not_an_object_each() -> None:
    tracemalloc.start()
    received = await _receive(b"", body([b"x"] * 500_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert received.size == 500_000
    assert peak < 10_000_000  # the list above alone is 4 MB

"""The body of a STOW request as the HTTP client takes it: in how many pieces, and when it counts as gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from dicom_adapter.dicomweb.upload import Part, Upload
from tests.support.multipart import parts


async def given(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def whole(*pieces: bytes) -> Upload:
    return Upload(Part(given(pieces), sum(map(len, pieces))))


async def test_a_small_image_goes_out_in_one_piece() -> None:
    content = [bytes(400), bytes(20_000), bytes(30_000)]
    upload = whole(*content)
    (body,) = [piece async for piece in upload.body()]
    assert upload.length == len(body)
    assert parts(upload.content_type, body) == [b"".join(content)]


async def test_the_large_pieces_of_an_image_go_out_as_they_are_and_the_small_ones_between_them_together() -> None:
    content = [bytes(400), b"1" * 262_144, b"2" * 65_536, bytes(100), bytes(65_000), bytes(1000), b"3" * 262_144, bytes(6_000)]
    upload = whole(*content)
    taken = [piece async for piece in upload.body()]
    assert parts(upload.content_type, b"".join(taken)) == [b"".join(content)]
    assert [piece for piece in taken if any(piece is large for large in content)] == [content[1], content[2], content[6]]
    assert [len(piece) for piece in taken[3:-2]] == [66_100]
    assert len(taken) == 6


async def test_one_that_is_still_arriving_goes_out_piece_by_piece() -> None:
    content = [b"a" * 1000, b"b" * 1000]
    upload = Upload(Part(given(content), None))
    assert [piece async for piece in upload.body()][1:-1] == content


@pytest.mark.parametrize("length", [3, None])
async def test_it_counts_as_finished_when_the_last_piece_has_been_taken_and_not_when_it_is_offered(length: int | None) -> None:
    """An answer that comes while the last piece waits to be sent is an early one."""
    upload = Upload(Part(given([b"one"]), length))
    async for piece in upload.body():
        assert piece
        assert not upload.finished
    assert upload.finished


@pytest.mark.parametrize("length", [6, None])
async def test_what_breaks_off_has_no_tail(length: int | None) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"one"
        raise ConnectionError

    upload, taken = Upload(Part(breaking(), length)), b""
    with pytest.raises(ConnectionError):
        async for piece in upload.body():
            taken += piece
    assert isinstance(upload.interruption, ConnectionError)
    assert not upload.finished
    assert b"--\r\n" not in taken


class Limit:
    """A time limit that only says what it is to be set to."""

    def __init__(self, when: float) -> None:
        self._when = when
        self.moved: list[float] = []

    def when(self) -> float:
        return self._when

    def reschedule(self, when: float) -> None:
        self.moved.append(when)


async def test_a_time_limit_follows_the_pieces_that_are_taken_but_is_not_set_anew_for_each() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for left, moves in ((20.0, 0), (19.0, 1)):
        limit = Limit(began + left)
        (_,) = [piece async for piece in whole(bytes(1000)).paced(cast(asyncio.Timeout, limit), 20.0).body()]
        assert len(limit.moved) == moves
        assert all(moved >= began + 20.0 for moved in limit.moved)

"""The small parts: data set streams, statuses, deadlines."""

import asyncio

import pytest

from dicom_adapter.dimse import DataSetInterrupted, Limits, Status
from dicom_adapter.dimse.body import CHUNK_OVERHEAD, DataSetStream
from dicom_adapter.dimse.deadlines import Deadline, Due, Silence
from dicom_adapter.dimse.status import error_comment


def stream() -> tuple[DataSetStream, list[int]]:
    taken: list[int] = []
    body = DataSetStream(lambda: taken.append(body.queued))
    return body, taken


async def test_chunks_come_out_as_they_went_in_and_give_back_their_room() -> None:
    body, taken = stream()
    body.feed(b"abc", last=False)
    body.feed(b"", last=False)
    body.feed(b"de", last=True)
    assert body.queued == 5 + 2 * CHUNK_OVERHEAD
    assert [chunk async for chunk in body] == [b"abc", b"de"]
    assert taken == [2 + CHUNK_OVERHEAD, 0]
    assert body.complete


async def test_a_reader_waits_for_the_next_chunk() -> None:
    body, _ = stream()
    reading = asyncio.ensure_future(anext(body))
    await asyncio.sleep(0)
    assert not reading.done()
    body.feed(b"a", last=False)
    assert await reading == b"a"


async def test_single_bytes_fill_the_window_long_before_the_memory() -> None:
    body, _ = stream()
    for _ in range(1000):
        body.feed(b"x", last=False)
    assert body.queued > 100_000


async def test_an_interruption_reaches_a_reader_that_waits_and_one_that_comes_later() -> None:
    body, _ = stream()
    body.feed(b"abc", last=False)
    await anext(body)
    reading = asyncio.ensure_future(anext(body))
    await asyncio.sleep(0)
    body.interrupt("gone")
    with pytest.raises(DataSetInterrupted, match="gone"):
        await reading
    with pytest.raises(DataSetInterrupted, match="gone"):
        await anext(body)
    assert body.queued == 0


async def test_what_is_complete_cannot_be_interrupted() -> None:
    body, _ = stream()
    body.feed(b"abc", last=True)
    body.interrupt("gone")
    assert not body.interrupted
    assert [chunk async for chunk in body] == [b"abc"]


async def test_what_nobody_reads_is_dropped() -> None:
    body, taken = stream()
    body.feed(b"abc", last=False)
    body.discard()
    body.feed(b"def", last=True)
    assert body.queued == 0
    assert taken == [0]


async def test_a_reader_that_is_cancelled_leaves_the_stream_usable() -> None:
    body, _ = stream()
    reading = asyncio.ensure_future(anext(body))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    body.feed(b"abc", last=True)
    assert await anext(body) == b"abc"


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("", b""),
        ("Http_404, NOT_FOUND, dicomStore does not exist", b"Http_404, NOT_FOUND, dicomStore does not exist"),
        ("two\r\n lines\tand\\more", b"two lines and?more"),
        ("caf\u00e9 \x07", b"caf? ?"),
        ("x" * 70, b"x" * 64),
        ("word " * 20, (b"word " * 13)[:64].rstrip()),
        ("a" * 60 + " bcd", b"a" * 60 + b" bcd"),
        ("a" * 60 + " bcde", b"a" * 60),
    ],
)
def test_comments_are_made_legal(text: str, comment: bytes) -> None:
    assert error_comment(text) == comment


@pytest.mark.parametrize("code", [-1, 0x10000])
def test_a_status_is_two_bytes(code: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 65535"):
        Status(code)


@pytest.mark.parametrize(
    ("silence", "situation", "deadline"),
    [
        ({}, {}, Deadline(700, Due.IDLE)),
        ({}, {"inside_message": True}, Deadline(160, Due.STALLED)),
        ({}, {"inside_message": True, "working": True}, Deadline(160, Due.STALLED)),
        ({}, {"inside_message": True, "held_back": True}, None),
        ({}, {"working": True}, None),
        ({}, {"established": False}, None),
        ({}, {"awaiting": True}, Deadline(110, Due.UNANSWERED)),
        ({}, {"awaiting": True, "working": True, "inside_message": True}, Deadline(160, Due.STALLED)),
        ({}, {"awaiting": True, "held_back": True}, None),
        ({"answer_by": 120}, {"established": False}, Deadline(120, Due.HANDSHAKE)),
        ({"artim_since": 90}, {"established": False}, Deadline(120, Due.ARTIM)),
        ({"unread_since": 95}, {"held_back": True}, Deadline(155, Due.UNREAD)),
        ({"draining_since": 50}, {}, Deadline(102, Due.DRAINED)),
        ({"draining_since": 150}, {}, Deadline(152, Due.DRAINED)),
        ({"draining_since": 150}, {"inside_message": True}, Deadline(160, Due.STALLED)),
    ],
)
def test_what_a_silent_peer_has_time_for(silence: dict[str, float], situation: dict[str, bool], deadline: Deadline | None) -> None:
    usual = {"established": True, "inside_message": False, "held_back": False, "awaiting": False, "working": False}
    assert Silence(Limits(response_timeout=10), 100, **silence).next_deadline(**usual | situation) == deadline


async def test_a_data_set_that_nobody_wants_any_more_never_looks_complete_to_who_still_reads_it() -> None:
    body, _ = stream()
    body.feed(b"abc", last=False)
    reading = asyncio.ensure_future(anext(body))
    assert await reading == b"abc"
    waiting = asyncio.ensure_future(anext(body))
    await asyncio.sleep(0)
    body.discard()
    with pytest.raises(DataSetInterrupted):
        await asyncio.wait_for(waiting, 60)
    with pytest.raises(DataSetInterrupted):
        await anext(body)
    body.feed(b"def", last=True)
    with pytest.raises(DataSetInterrupted):  # its end is there, its middle is not
        await anext(body)

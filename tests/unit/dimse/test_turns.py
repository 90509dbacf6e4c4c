"""Who reads on when: floods by turns."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import pytest

from dicom_adapter.dimse import transport
from dicom_adapter.dimse.association import Association
from dicom_adapter.dimse.transport import FIRST_READ_BYTES, SLICE_SECONDS, TURNS_A_ROUND, ReceiveBuffer, SocketProtocol, Turns


async def test_a_round_of_the_loop_reads_a_few_floods_and_the_next_round_the_next() -> None:
    turns, read = Turns(), list[int]()
    for number in range(2 * TURNS_A_ROUND + 1):
        turns.wait(partial(read.append, number))
    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(len(read))
    assert seen == [TURNS_A_ROUND, 2 * TURNS_A_ROUND, 2 * TURNS_A_ROUND + 1, 2 * TURNS_A_ROUND + 1]
    assert read == sorted(read)


async def test_who_floods_on_waits_behind_the_others() -> None:
    turns, read = Turns(), list[str]()

    def flood(name: str) -> None:
        read.append(name)
        if len(read) < 20:
            turns.wait(lambda: flood(name))

    for name in "abcdef":
        turns.wait(partial(flood, name))
    for _ in range(4):
        await asyncio.sleep(0)
    assert "".join(read[:12]) == "abcdefabcdef"


class Wire:
    """Of a transport, its association and its socket what a protocol calls; `work` is done for what is read."""

    held_back = False

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self.pauses = 0
        self.protocol = SocketProtocol(lambda *_: cast(Association, self), ReceiveBuffer())
        self.protocol.connection_made(cast(asyncio.Transport, self))

    def read(self) -> int:
        """Fills the buffer that is lent; how large it was."""
        size = len(self.protocol.get_buffer(-1))
        self.protocol.buffer_updated(size)
        return size

    def receive(self, data: memoryview) -> None:
        self._work()

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None: ...
    def start(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return self if name == "socket" else None

    def set_write_buffer_limits(self, high: int) -> None: ...
    def setsockopt(self, *_: object) -> None: ...


async def test_who_makes_us_work_for_long_is_read_in_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    used = 0.0

    def work() -> None:
        nonlocal used
        used += 2 * SLICE_SECONDS

    monkeypatch.setattr(transport, "thread_time", lambda: used)
    wire = Wire(lambda: None)
    assert [wire.read() for _ in range(3)] == [FIRST_READ_BYTES, 2 * FIRST_READ_BYTES, 4 * FIRST_READ_BYTES]
    wire = Wire(work)
    assert [wire.read() for _ in range(2)] == [FIRST_READ_BYTES, FIRST_READ_BYTES]
    assert wire.pauses == 2


async def test_waiting_for_a_processor_or_for_a_thread_of_ours_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "thread_time", lambda: 0.0)
    wire = Wire(partial(time.sleep, 2 * SLICE_SECONDS))
    assert [wire.read() for _ in range(3)] == [FIRST_READ_BYTES, 2 * FIRST_READ_BYTES, 4 * FIRST_READ_BYTES]
    assert not wire.pauses

"""Who reads on when: floods by turns."""

import asyncio
from functools import partial

from dicom_adapter.dimse.transport import TURNS_A_ROUND, Turns


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

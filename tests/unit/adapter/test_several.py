"""AfterStore with several destinations, on a clock that jumps: all at once, each with its own tries, and one verdict for the sender."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from dicom_adapter.delivery.peer import data_set
from dicom_adapter.delivery.replay import Copy, Room
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.several import Ended, Several, worst
from dicom_adapter.delivery.target import Whole
from dicom_adapter.delivery.verdict import Outcome, Verdict
from dicom_adapter.part10 import FileMeta
from tests.support.fakeclock import run
from tests.support.lanes import FAILED, FORBIDDEN, REFUSED, STORED, UNAVAILABLE, FakeTarget

META = FileMeta("1.2.3", "1.2.3.4", "1.2.840.10008.1.2.1", "1.2", "TEST")
BUSY = Verdict(Outcome.TRANSIENT, 0xA700, "the node answered A700", "the node answered A700")
LATE = "Store took longer than 20 s"


def whole(data: bytes = b"data set") -> Whole:
    copy = Copy(Room(tempfile.gettempdir()))
    copy.take(META.encode() + data)
    return Whole(META, copy)


def several(*targets: FakeTarget, retried: Callable[[str], None] = lambda _: None) -> Several:
    policy = RetryPolicy(attempts=4, initial_delay=0.2, maximum_delay=5.0, random=lambda: 1.0)
    return Several({target.name: target for target in targets}, policy, timeout=20.0, retried=retried)


def then(*verdicts: Verdict) -> Callable[[str], Verdict]:
    """One after the other, the last for ever."""
    rest = list(verdicts)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def test_all_destinations_are_asked_at_once() -> None:
    async def main() -> None:
        targets = [FakeTarget(name, latency=3) for name in ("a", "b", "c")]
        loop = asyncio.get_running_loop()
        ended = await several(*targets).deliver(whole(), ["a", "c"])
        assert [(one.name, one.verdict, one.attempts) for one in ended] == [("a", STORED, 1), ("c", STORED, 1)]
        assert loop.time() == pytest.approx(3)
        assert not targets[1].asked

    run(main)


def test_each_is_tried_again_as_the_policy_says_and_only_that_one() -> None:
    async def main() -> None:
        reasons: list[str] = []
        a = FakeTarget("a", judge=then(UNAVAILABLE, FAILED, STORED))
        b, node = FakeTarget("b"), FakeTarget("node", judge=then(BUSY, STORED))
        ended = await several(a, b, node, retried=reasons.append).deliver(whole(), ["a", "b", "node"])
        assert [(one.verdict.outcome, one.attempts) for one in ended] == [(Outcome.STORED, 3), (Outcome.STORED, 1), (Outcome.STORED, 2)]
        assert [at for at, _ in a.asked] == pytest.approx([0, 0.3, 0.8])
        assert sorted(reasons) == ["500", "503", "A700"]

    run(main)


def test_a_refusal_and_a_wrong_destination_are_not_tried_again() -> None:
    async def main() -> None:
        a, b = FakeTarget("a", judge=then(REFUSED)), FakeTarget("b", judge=then(FORBIDDEN))
        ended = await several(a, b).deliver(whole(), ["a", "b"])
        assert [(one.verdict, one.attempts) for one in ended] == [(REFUSED, 1), (FORBIDDEN, 1)]

    run(main)


def test_no_destination_gets_longer_than_there_is_time() -> None:
    async def main() -> None:
        slow, asks = FakeTarget("slow", latency=100), FakeTarget("asks", judge=then(UNAVAILABLE), retry_after=30)
        loop = asyncio.get_running_loop()
        ended = await several(slow, asks).deliver(whole(), ["slow", "asks"])
        assert loop.time() == pytest.approx(20)
        assert [(one.verdict.text, one.verdict.unknown) for one in ended] == [(LATE, True), ("Http_503", False)]
        assert [len(target.asked) for target in (slow, asks)] == [1, 1]

    run(main)


def test_a_large_instance_has_more_time() -> None:
    async def main() -> None:
        slow = FakeTarget("slow", latency=100)
        loop = asyncio.get_running_loop()
        (ended,) = await several(slow).deliver(whole(bytes(14 << 20)), ["slow"])
        assert loop.time() == pytest.approx(30, abs=0.01)
        assert ended.verdict.text == LATE

    run(main)


def test_while_a_destination_is_away_it_is_not_waited_for_and_the_others_are_as_quick_as_ever() -> None:
    """An hour of it: after the first images everybody hears at once what is wrong."""

    async def main() -> None:
        dead, well = FakeTarget("dead", judge=then(UNAVAILABLE)), FakeTarget("well")
        both, loop = several(dead, well), asyncio.get_running_loop()
        quick = 0
        for _ in range(360):
            began = loop.time()
            first, second = await asyncio.gather(both.deliver(whole(), ["dead"]), both.deliver(whole(), ["well"]))
            assert (first[0].verdict.text, second[0].verdict) == ("Http_503", STORED)
            quick += loop.time() - began < 1
            await asyncio.sleep(10 - (loop.time() - began))
        assert [seconds for seconds in (at % 10 for at, _ in well.got) if not 0.09 < seconds < 0.11] == []
        assert len(dead.asked) < 800
        assert quick > 350
        said = await asyncio.gather(*(both.deliver(whole(), ["dead"]) for _ in range(5)))
        assert [ended.verdict.text for (ended,) in said] == ["Http_503"] * 5, "who is not let through hears of the last failure"
        dead.judge = lambda _: STORED
        await asyncio.sleep(10)
        assert (await both.deliver(whole(), ["dead"]))[0].verdict is STORED

    run(main)


def test_an_instance_that_cannot_be_read_again_is_not() -> None:
    async def main() -> None:
        a, instance = FakeTarget("a", judge=then(UNAVAILABLE)), whole()
        assert isinstance(instance.content, Copy)
        instance.content.lost = True
        (ended,) = await several(a).deliver(instance, ["a"])
        assert (ended.verdict, ended.attempts) == (UNAVAILABLE, 1)

    run(main)


def test_what_was_once_perhaps_stored_stays_perhaps_stored() -> None:
    async def main() -> None:
        lost = replace(UNAVAILABLE, unknown=True)
        (ended,) = await several(FakeTarget("a", judge=then(lost, FORBIDDEN))).deliver(whole(), ["a"])
        assert ended.verdict == replace(FORBIDDEN, unknown=True)

    run(main)


WARNING = Verdict(Outcome.STORED, 0xB007, "Stored", "Stored")


@pytest.mark.parametrize(
    ("verdicts", "status", "text"),
    [
        ((STORED, STORED), 0x0000, ""),
        ((STORED, WARNING), 0xB007, "Stored"),
        ((STORED, REFUSED), 0xC000, "'b': 400 INVALID_ARGUMENT: no"),
        ((REFUSED, UNAVAILABLE), 0xA700, "'b': Http_503; 'a': 400 INVALID_ARGUMENT: no"),
        ((FORBIDDEN, REFUSED, STORED), 0x0124, "'a': Http_403; 'b': 400 INVALID_ARGUMENT: no"),
    ],
)
def test_the_verdict_for_the_sender_is_that_which_keeps_the_image_with_it(verdicts: tuple[Verdict, ...], status: int, text: str) -> None:
    found = worst([Ended(name, verdict, 1) for name, verdict in zip("abc", verdicts, strict=False)])
    assert (found.status, found.text) == (status, text)


def test_the_default_store_has_no_name_in_the_log() -> None:
    assert worst([Ended("dicomStore", REFUSED, 1), Ended("a", STORED, 1)]).text == "400 INVALID_ARGUMENT: no"


@pytest.mark.parametrize("piece", [1, 7, 143, 144, 145, 10_000])
async def test_a_node_gets_the_data_set_without_the_file_meta_information(piece: int) -> None:
    class Pieces:
        size, lost = 0, False

        async def read(self) -> AsyncIterator[bytes]:
            stream = META.encode() + bytes(range(256)) * 4
            for start in range(0, len(stream), piece):
                yield stream[start : start + piece]

    assert b"".join([part async for part in data_set(Pieces())]) == bytes(range(256)) * 4  # type: ignore[arg-type]


async def test_what_is_no_part_10_stream_is_no_data_set() -> None:
    copy = Copy(Room(tempfile.gettempdir()))
    copy.take(bytes(500))
    with pytest.raises(ValueError, match="no Part 10 stream"):
        _ = [part async for part in data_set(copy)]

"""From the spool to its destinations: in what order, how fast, and what becomes of an instance that they do not take."""

from __future__ import annotations

import asyncio
import itertools
import json

from dicom_adapter.delivery.target import Most
from dicom_adapter.delivery.verdict import Verdict
from dicom_adapter.spool.entry import FAILED, READY, directory
from dicom_adapter.spool.errors import SpoolFull
from tests.support.fakeclock import run
from tests.support.lanes import FAILED as SERVER_ERROR
from tests.support.lanes import FORBIDDEN, REFUSED, STORED, UNAVAILABLE, FakeTarget, Yard


def uid(number: int) -> str:
    return f"1.2.{number}"


def test_everything_is_delivered_once_and_the_oldest_is_started_first() -> None:
    async def main() -> None:
        target = FakeTarget()
        async with Yard(target) as yard:
            for number in range(40):
                yard.put(uid(number))
            await yard.until_delivered()
            assert [one for _, (one,) in target.asked] == [uid(number) for number in range(40)]
            assert target.most_under_way == 4
            assert list(yard.storage.scan(directory("dicomStore", READY))) == []
            assert yard.spool.used == 0

    run(main)


def test_small_instances_share_a_request_and_each_has_its_verdict() -> None:
    async def main() -> None:
        target = FakeTarget(most=Most(8, 4 << 20), uploads=1, judge=lambda one: REFUSED if one == uid(5) else STORED)
        async with Yard(target) as yard:
            yard.put(uid(100))  # keeps the one permit busy
            await asyncio.sleep(0.05)
            for number in range(16):
                yard.put(uid(number))
            await yard.until_delivered()
            assert [len(batch) for _, batch in target.asked] == [1, 8, 8]
            assert len(yard.observed.delivered_uids) == 16
            assert [refused.whole and refused.whole.uid for refused in yard.observed.refusals] == [uid(5)]

    run(main)


def test_a_refused_instance_goes_to_failed_with_its_story_and_the_rest_goes_on() -> None:
    async def main() -> None:
        target = FakeTarget(judge=lambda one: REFUSED if one == uid(1) else STORED)
        async with Yard(target) as yard:
            entries = [yard.put(uid(number)) for number in range(3)]
            await yard.until_delivered()
            names = sorted(yard.storage.scan(directory("dicomStore", FAILED)))
            assert names == [entries[1].name, f"{entries[1].name}.json"]
            story = json.loads(yard.storage.read(f"dicomStore/failed/{names[1]}", 0, 4096))
            assert {key: story[key] for key in ("sopInstanceUID", "status", "reason", "httpStatus", "attempts")} == {
                "sopInstanceUID": uid(1),
                "status": "C000",
                "reason": "400 INVALID_ARGUMENT: no",
                "httpStatus": 400,
                "attempts": 1,
            }
            assert yard.spool.counts["dicomStore"].failed.instances == 1

    run(main)


def test_an_instance_that_always_fails_blocks_no_other_and_is_tried_for_ever() -> None:
    async def main() -> None:
        poison = uid(0)
        target = FakeTarget(uploads=1, judge=lambda one: SERVER_ERROR if one == poison else STORED)
        async with Yard(target) as yard:
            yard.put(poison)
            for number in range(1, 200):
                yard.put(uid(number))
                await asyncio.sleep(1)
            assert len(yard.observed.delivered_uids) == 199
            assert max(yard.observed.seconds) < 8, "no other waited for it"
            await asyncio.sleep(3 * 3600)
            tries = [at for at, batch in target.asked if batch == (poison,)]
            assert 30 < len(tries) < 150
            assert tries[-1] > 3 * 3600 - 400
            assert not yard.observed.refusals, "a server error is no judgement of the instance"

    run(main)


def test_a_spoiled_batch_is_sent_again_one_by_one() -> None:
    async def main() -> None:
        target = FakeTarget(most=Most(8, 4 << 20), uploads=1)
        async with Yard(target) as yard:
            yard.put(uid(100))
            await asyncio.sleep(0.05)
            bad = uid(3)
            together = Verdict(SERVER_ERROR.outcome, 0xA700, "", "", 400)

            def judge(one: str) -> Verdict:
                if len(target.asked[-1][1]) > 1:
                    return together
                return REFUSED if one == bad else STORED

            target.judge = judge
            for number in range(8):
                yard.put(uid(number))
            await yard.until_delivered()
            assert [len(batch) for _, batch in target.asked] == [1, 8, *([1] * 8)]
            assert len(yard.observed.delivered_uids) == 8
            assert [refused.whole and refused.whole.uid for refused in yard.observed.refusals] == [bad]

    run(main)


def test_while_a_destination_takes_nothing_it_is_asked_seldom_and_nothing_fails() -> None:
    async def main() -> None:
        for verdict in (UNAVAILABLE, FORBIDDEN, SERVER_ERROR):
            target = FakeTarget(latency=0.01, uploads=32)
            loop = asyncio.get_running_loop()
            async with Yard(target) as yard:
                target.judge = lambda _, verdict=verdict: verdict  # type: ignore[misc]
                for number in range(300):
                    yard.put(uid(number))
                began = loop.time()
                await asyncio.sleep(600)
                assert len(target.asked) < 32 + 300, "a first burst, then one every few seconds"
                recent = [at for at, _ in target.asked if at > began + 60]
                assert 60 < len(recent) < 300
                assert yard.spool.counts["dicomStore"].ready.instances == 300
                assert not yard.observed.refusals
                assert yard.lanes["dicomStore"].failing
                target.judge = lambda _: STORED
                again = loop.time()
                await yard.until_delivered()
                assert loop.time() - again < 10, "with the first answer the rest follows, whatever it had to wait for"
                assert not yard.lanes["dicomStore"].failing

    run(main)


def test_two_destinations_one_of_them_dead_for_an_hour() -> None:
    """The other's latency is unchanged, the backlog is bounded, and the end of it is no burst."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        alive, dead = FakeTarget("alive", 0.2, uploads=8), FakeTarget("dead", 0.2, uploads=8)
        async with Yard(alive, dead, max_bytes=1_500_000) as yard:
            dead.judge = lambda _: UNAVAILABLE
            dead.retry_after = 90.0
            refused = 0
            for number in range(1800):
                try:
                    yard.put(uid(number))
                except SpoolFull:
                    refused += 1
                await asyncio.sleep(2)
            await yard.until_delivered("alive")
            taken = 1800 - refused
            assert len(alive.got) == taken
            assert max(seconds for seconds in yard.observed.seconds) < 0.3, "as if the other were not there"
            assert yard.spool.used <= 1_500_000
            assert yard.spool.counts["dead"].ready.instances == taken
            times = [at for at, _ in dead.asked]
            bursts = [at for before, at in itertools.pairwise(times) if at - before > 1]
            assert all(later - earlier >= 90.0 for earlier, later in itertools.pairwise(bursts)), "Retry-After"

            dead.judge, dead.retry_after, dead.most_under_way = (lambda _: STORED), None, 0
            first = len(dead.asked)
            began = loop.time()
            await yard.until_delivered("dead")
            assert len(dead.got) == taken
            assert dead.most_under_way <= 8
            order = [int(one.rpartition(".")[2]) for _, (one,) in dead.asked[first:]]
            rest = order[2:]  # the first ones were trials
            assert rest == sorted(rest), "oldest first"
            assert loop.time() - began < 90 + taken * 0.2 / 4 + 30

    run(main)


async def rush(yard: Yard, images: int, *, pause: float, first: int = 0) -> None:
    for number in range(first, first + images):
        yard.put(uid(number))
        await asyncio.sleep(pause)


def test_in_a_rush_one_request_is_under_way_and_afterwards_as_many_as_may_be() -> None:
    async def main() -> None:
        target = FakeTarget(most=Most(8, 4 << 20))
        async with Yard(target) as yard:
            await rush(yard, 100, pause=0.005)
            target.most_under_way = 0
            await rush(yard, 400, pause=0.005, first=100)
            assert target.most_under_way == 1
            assert len(yard.observed.delivered_uids) > 100, "it goes on"
            await yard.until_delivered()
            assert target.most_under_way == 4

    run(main)


def test_no_image_waits_long_for_the_end_of_a_rush() -> None:
    async def main() -> None:
        target = FakeTarget(most=Most(4, 4 << 20), uploads=8)
        async with Yard(target) as yard:
            await rush(yard, 1000, pause=0.01)
            assert 4.0 < max(yard.observed.seconds) < 6.0

    run(main)


def test_images_that_come_one_by_one_are_no_rush() -> None:
    async def main() -> None:
        target = FakeTarget(latency=0.1, uploads=8)
        async with Yard(target) as yard:
            await rush(yard, 200, pause=0.03)
            await yard.until_delivered()
            assert max(yard.observed.seconds) < 0.15

    run(main)


def test_a_spool_that_fills_is_emptied_in_a_rush_too() -> None:
    async def main() -> None:
        target = FakeTarget(most=Most(8, 4 << 20))
        async with Yard(target, max_bytes=600_000) as yard:  # some hundred images are a quarter of it
            await rush(yard, 250, pause=0.005)
            target.most_under_way = 0
            await rush(yard, 150, pause=0.005, first=250)
            assert target.most_under_way == 4

    run(main)


def test_senders_take_turns() -> None:
    async def main() -> None:
        target = FakeTarget(uploads=1)
        async with Yard(target) as yard:
            for number in range(500):
                yard.put(uid(number), sender="CT1")
            yard.put(uid(9999), sender="MR1")
            await yard.until(lambda: uid(9999) in yard.observed.delivered_uids)
            assert len(yard.observed.delivered_uids) < 5

    run(main)


def test_a_damaged_file_goes_to_failed_and_is_never_sent() -> None:
    async def main() -> None:
        target = FakeTarget()
        yard = Yard(target)
        entries = [yard.put(uid(number)) for number in range(4)]
        inodes = [yard.storage.inodes[yard.storage.names[f"dicomStore/ready/{entry.name}"]] for entry in entries]
        inodes[0].data[700] ^= 1
        del inodes[1].data[-1:]
        inodes[2].data.clear()
        async with yard:
            await yard.until_delivered()
            assert [batch for _, batch in target.asked] == [(uid(3),)]
            size = entries[0].length
            assert sorted(refused.verdict.text for refused in yard.observed.refusals) == [
                f"it has 0 bytes instead of {size}",
                f"it has {size - 1} bytes instead of {size}",
                "its checksum is not the one it had",
            ]

    run(main)


def test_a_file_that_vanishes_is_no_error() -> None:
    async def main() -> None:
        target = FakeTarget()
        yard = Yard(target)
        gone, there = yard.put(uid(0)), yard.put(uid(1))
        yard.storage.unlink(f"dicomStore/ready/{gone.name}")
        async with yard:
            await yard.until(lambda: bool(yard.observed.delivered_uids))
            assert yard.observed.delivered_uids == [uid(1)]
            assert there.name not in yard.storage.names

    run(main)


def test_a_mistake_of_ours_is_no_loop_and_no_loss() -> None:
    async def main() -> None:
        told: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        target = FakeTarget()
        async with Yard(target) as yard:
            wrong = True

            def judge(one: str) -> Verdict:
                if wrong:
                    raise ValueError(one)
                return STORED

            target.judge = judge
            yard.put(uid(1))
            await asyncio.sleep(60)
            assert 3 < len(target.asked) < 20
            assert len(told) == len(target.asked)
            wrong = False
            await yard.until_delivered()

    run(main)


def test_what_was_there_before_the_start_is_delivered_too() -> None:
    async def main() -> None:
        before = Yard(FakeTarget())
        for number in range(50):
            before.put(uid(number))
        target = FakeTarget()
        async with Yard(target, storage=before.storage) as yard:
            await yard.until_delivered()
            assert [one for _, (one,) in target.asked] == [uid(number) for number in range(50)]

    run(main)

"""The flow, by the rows of its table, in a time that jumps."""

import asyncio
import functools
import itertools

import pytest

from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.export.config import Delivery
from dicom_adapter.export.events import TABLE, Action, Event, Reason, Result, Side, Trouble
from tests.support import fakeclock
from tests.unit.export.world import GONE, World, down, path

UID = "1.2.1.1.{}".format
SOURCE_DOWN = Result(Event.SOURCE_UNAVAILABLE, "403", Reason.UNAUTHORIZED)


def test_what_arrives_is_fetched_sent_and_acknowledged_once():
    async def main():
        world = World()
        world.source.add(*(path(number) for number in range(1000)), action="StoreInstances")
        async with world.running():
            await world.settled(1000)
        assert sorted(world.node.stored) == sorted(map(UID, range(1000)))
        assert set(world.source.deliveries.values()) == {1}
        assert world.notes.results == {"exported": 1000}

    fakeclock.run(main)


@pytest.mark.parametrize("event", [row.event for row in TABLE if row.action is Action.SET_ASIDE and row.event is not Event.UNREADABLE])
def test_an_image_that_the_destination_refuses_is_tried_five_times_at_growing_pauses_and_then_a_dead_letter(event):
    async def main():
        world = World(Delivery(dead_letter_topic="projects/p/topics/dead"))
        world.node.results[UID(0)] = [Result(event, "no")]
        world.source.add(*(path(number) for number in range(10)))
        async with world.running():
            await world.settled(10)
        times = world.source.times["m0"]
        pauses = [after - before for before, after in itertools.pairwise(times)]
        assert pauses == pytest.approx([10, 20, 40, 80], abs=0.2)
        assert world.source.published == [("projects/p/topics/dead", "m0", "no")]
        assert world.notes.results == {"exported": 9, "retried": 4, "dead_lettered": 1}
        assert len(world.node.stored) == 9

    fakeclock.run(main)


def _enough(stored: list[str], count: int) -> bool:
    return len(stored) >= count


def test_one_that_is_refused_does_not_hinder_a_thousand_others():
    async def main():
        took = []
        for refused in (False, True):
            world = World(Delivery(dead_letter_topic="projects/p/topics/dead"))
            world.node.seconds = 0.1
            if refused:
                world.node.results[UID(0)] = [Result(Event.REFUSED, "no")]
            world.source.add(*(path(number) for number in range(1000)))
            began = asyncio.get_running_loop().time()
            async with world.running():
                await world.until(functools.partial(_enough, world.node.stored, 999))
                took.append(asyncio.get_running_loop().time() - began)
                await world.settled(1000)
            assert world.source.deliveries["m0"] == (5 if refused else 1)
        assert took[1] == pytest.approx(took[0], rel=0.05)

    fakeclock.run(main)


def test_without_a_place_for_dead_letters_an_image_is_kept_and_tried_every_ten_minutes_until_it_gets_through():
    async def main():
        world = World(Delivery(max_delivery_attempts=2))
        world.node.results[UID(0)] = [Result(Event.REFUSED, "no")] * 4 + [Result(Event.STORED)]
        world.source.add(path(0))
        async with world.running():
            await world.until(lambda: world.notes.kept == 1)
            await world.settled(1)
        times = world.source.times["m0"]
        assert [after - before for before, after in itertools.pairwise(times)] == pytest.approx([10, 600, 600, 600], abs=0.2)
        assert world.notes.kept == 0
        assert "; kept, tried again every 10 minutes: " in world.notes.lines[1][1]

    fakeclock.run(main)


def test_a_topic_that_takes_nothing_loses_nothing():
    async def main():
        world = World(Delivery(max_delivery_attempts=1, dead_letter_topic="projects/p/topics/dead"))
        world.source.publishes = False
        world.node.results[UID(0)] = [Result(Event.REFUSED, "no")]
        world.source.add(path(0))
        async with world.running():
            await world.until(lambda: world.source.postponed)
            assert world.source.postponed == [("m0", 600)]
            assert not world.source.acknowledged
            world.source.publishes = True
            await world.settled(1)

    fakeclock.run(main)


def test_where_pub_sub_has_a_policy_of_its_own_it_decides_and_we_only_pace():
    async def main():
        world = World(Delivery(max_delivery_attempts=2, dead_letter_topic="projects/p/topics/dead"), counts=True)
        world.node.results[UID(0)] = [Result(Event.REFUSED, "no")] * 6 + [Result(Event.STORED)]
        world.source.add(path(0))
        async with world.running():
            await world.settled(1)
        assert [seconds for _, seconds in world.source.postponed] == [10, 20, 40, 80, 160, 320]
        assert not world.source.published

    fakeclock.run(main)


def test_a_node_that_is_down_for_a_day_costs_no_message_an_attempt_and_few_probes():
    async def main():
        world = World(Delivery(max_delivery_attempts=1, dead_letter_topic="projects/p/topics/dead"))
        world.node.trouble = down()
        world.source.add(*(path(number) for number in range(10_000)))
        async with world.running():
            await asyncio.sleep(86_400)
            probes = len(world.node.probes)
            assert not world.node.stored
            most = max(world.source.deliveries.values())
            delivered = sum(world.source.deliveries.values())
            world.node.trouble = None
            began = asyncio.get_running_loop().time()
            await world.settled(10_000)
        assert asyncio.get_running_loop().time() - began < 120
        assert probes < 86_400 / 40
        assert not world.source.published
        assert most <= 2  # delivered, given back after ten minutes; nobody pulls again
        assert delivered <= 2 * 256 + 2
        assert world.notes.results["exported"] == 10_000

    fakeclock.run(main)


def test_what_is_held_for_ten_minutes_is_given_back_once():
    async def main():
        world = World()
        world.node.trouble = down()
        world.source.add(path(0))
        async with world.running():
            await asyncio.sleep(3600)
            assert world.source.postponed == [("m0", 0)]
            assert world.source.times["m0"] == [0]

    fakeclock.run(main)


def test_nothing_more_is_pulled_while_a_side_is_down_and_all_of_it_when_it_is_back():
    async def main():
        world = World()
        world.store.results[UID(0)] = [SOURCE_DOWN, SOURCE_DOWN, Result(Event.STORED)]
        world.store.trouble = Trouble(Reason.UNAUTHORIZED, "403")
        world.source.add(path(0))
        async with world.running():
            await world.until(lambda: world.circuits[Side.SOURCE].open)
            await asyncio.sleep(1)  # a pull that was on its way may still bring something
            world.source.add(*(path(number) for number in range(1, 601)))
            await asyncio.sleep(100)
            assert sum(world.source.deliveries.values()) <= 257
            assert not world.node.stored
            world.store.trouble = None
            await world.settled(601)
        assert set(world.source.deliveries.values()) == {1}
        assert [trouble.reason if trouble else None for _, trouble in world.notes.circuits] == [Reason.UNAUTHORIZED, None]

    fakeclock.run(main)


def test_a_node_that_answers_echoes_and_stores_nothing_is_tried_with_one_image_at_a_time_and_more_and_more_rarely():
    async def main():
        world = World()
        world.node.trouble = down(Reason.FAILING)
        world.node.answers_probes = True
        world.source.add(*(path(number) for number in range(100)))
        async with world.running():
            await asyncio.sleep(590)
            sent = sum(world.node.sent.values())
            world.node.trouble = None
            await world.settled(100)
        assert sent < 32 + 20  # those that were on their way, then one for each probe

    fakeclock.run(main)


@pytest.mark.parametrize("event", [Event.CUT_OFF, Event.FAILED, Event.BROKEN_OFF])
def test_an_image_that_breaks_its_way_each_time_is_set_aside_once_others_get_through(event):
    async def main():
        world = World(Delivery(max_delivery_attempts=3, max_outstanding=8, dead_letter_topic="projects/p/topics/dead"))
        where = world.store if event is Event.BROKEN_OFF else world.node
        where.results[UID(0)] = [Result(event, "aborted")]
        world.source.add(*(path(number) for number in range(100)))
        async with world.running():
            await world.settled(100)
        assert [letter[1] for letter in world.source.published] == ["m0"]
        assert world.notes.results["exported"] == 99

    fakeclock.run(main)


def test_alone_such_an_image_is_no_proof_and_waits():
    async def main():
        world = World(Delivery(max_delivery_attempts=2, dead_letter_topic="projects/p/topics/dead"))
        world.node.results[UID(0)] = [Result(Event.CUT_OFF, "aborted")]
        world.source.add(path(0))
        async with world.running():
            await asyncio.sleep(500)
            assert not world.source.published
            assert not world.source.acknowledged

    fakeclock.run(main)


def test_an_image_that_is_not_there_is_asked_for_a_minute_and_a_half_and_then_done_with():
    async def main():
        world = World()
        world.store.results[UID(0)] = [GONE]
        world.source.add(path(0), path(1))
        async with world.running():
            await world.settled(2)
            assert asyncio.get_running_loop().time() == pytest.approx(95, abs=1)
        assert world.store.fetches[UID(0)] == 4
        assert world.notes.results == {"exported": 1, "retried": 4, "gone": 1}

    fakeclock.run(main)


def test_a_store_that_answers_404_to_everything_is_missing_and_its_messages_are_not_lost():
    async def main():
        world = World()
        world.store.results[UID(0)] = [GONE] * 6 + [Result(Event.STORED)]
        world.store.trouble = Trouble(Reason.NOT_FOUND, "404")
        world.source.add(path(0))
        async with world.running():
            await world.until(lambda: world.circuits[Side.SOURCE].open)
            assert not world.source.acknowledged
            world.store.trouble = None
            await world.settled(1)
        assert world.node.stored == [UID(0)]

    fakeclock.run(main)


def test_the_same_image_is_sent_once_an_hour_and_another_version_of_it_again():
    async def main():
        world = World()
        world.node.seconds = 1.0
        world.source.add(path(0), path(0), versionId="1")
        async with world.running():
            await world.settled(2)
            world.source.add(path(0), versionId="1")
            world.source.add(path(0), versionId="2")
            await world.settled(4)
            await asyncio.sleep(3601)
            world.source.add(path(0), versionId="1")
            await world.settled(5)
        assert world.node.sent[UID(0)] == 3
        assert world.notes.results == {"exported": 3, "deduplicated": 2}

    fakeclock.run(main)


def test_a_copy_of_an_image_that_did_not_get_through_is_tried_itself():
    async def main():
        world = World(Delivery(dead_letter_topic="projects/p/topics/dead"))
        world.node.seconds = 1.0
        world.node.results[UID(0)] = [Result(Event.REFUSED, "no"), Result(Event.STORED)]
        world.source.add(path(0), path(0))
        async with world.running():
            await world.settled(2)
        assert world.node.sent[UID(0)] == 2

    fakeclock.run(main)


def test_a_study_is_looked_up_and_done_when_all_of_it_is():
    async def main():
        world = World(Delivery(max_delivery_attempts=2))
        world.store.studies["1.2.1"] = [InstancePath("1.2.1", "1.2.1.1", UID(number)) for number in range(200)]
        world.node.results[UID(7)] = [Result(Event.REFUSED, "no"), Result(Event.STORED)]
        world.source.add("studies/1.2.1")
        async with world.running():
            await world.until(lambda: world.source.postponed)
            assert world.source.postponed == [("m0", 10)]
            await world.settled(1)
        assert len(world.node.stored) == len(set(world.node.stored)) == 200

    fakeclock.run(main)


def test_deletions_and_changes_of_the_storage_class_are_no_arrivals():
    async def main():
        world = World()
        for action in ("DeleteInstance", "DeleteStudy", "BatchDeleteInstances", "SetBlobSettings"):
            world.source.add(path(0), action=action)
        async with world.running():
            await world.settled(4)
        assert not world.node.sent
        assert world.notes.results == {"ignored": 4}

    fakeclock.run(main)


def test_no_more_is_in_hand_than_the_bound_and_no_more_fetched_at_a_time():
    async def main():
        world = World(Delivery(max_outstanding=10, max_concurrent_fetches=3))
        world.node.seconds = 1.0
        world.source.add(*(path(number) for number in range(40)))
        most = 0
        async with world.running():
            while len(world.source.acknowledged) < 40:
                most = max(most, world.exporter.outstanding)
                assert sum(world.store.fetches.values()) <= len(world.node.stored) + 3
                await asyncio.sleep(0.1)
        assert most == 10

    fakeclock.run(main)


def test_no_more_is_asked_for_in_a_minute_than_is_allowed_and_evenly():
    async def main():
        world = World(Delivery(max_requests_per_minute=120))
        began = asyncio.get_running_loop().time()
        world.source.add(*(path(number) for number in range(10)))
        async with world.running():
            await world.settled(10)
        assert asyncio.get_running_loop().time() - began == pytest.approx(4.5, abs=0.5)  # the first at once, half a second between two
        assert len(world.node.stored) == 10

    fakeclock.run(main)


def test_the_images_of_a_study_wait_for_each_other_and_go_on_an_association_of_their_own():
    async def main():
        world = World(settle=30.0)
        world.source.add(path(0, 1), path(1, 1), path(0, 2))
        async with world.running():
            await asyncio.sleep(20)
            assert not world.node.stored
            world.source.add(path(2, 1))
            await asyncio.sleep(20)
            assert world.node.stored == ["1.2.2.1.0"]
            await world.settled(4)
        assert [sorted(lane) for lane in world.node.lanes] == [["1.2.2.1.0"], ["1.2.1.1.0", "1.2.1.1.1", "1.2.1.1.2"]]

    fakeclock.run(main)


def test_a_study_whose_images_never_end_is_sent_after_ten_minutes_with_what_is_there():
    async def main():
        world = World(settle=30.0)
        async with world.running():
            for number in range(31):
                world.source.add(path(number))
                await asyncio.sleep(20)
            await asyncio.sleep(1)
            assert len(world.node.stored) == 30
            await world.settled(31)

    fakeclock.run(main)


def test_images_that_wait_for_their_study_do_not_keep_others_from_being_pulled():
    async def main():
        world = World(Delivery(max_outstanding=4), settle=30.0)
        world.source.add(*(path(number) for number in range(100)))
        async with world.running():
            await world.settled(100)
        assert len(world.node.lanes) == 1

    fakeclock.run(main)


def test_a_drain_finishes_what_is_on_its_way_and_leaves_the_rest():
    async def main():
        world = World(Delivery(max_concurrent_fetches=2))
        world.node.seconds = 5.0
        world.source.add(*(path(number) for number in range(10)))
        async with world.running():
            await asyncio.sleep(1)
            await world.exporter.drain(asyncio.get_running_loop().time() + 60)
            assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
            assert len(world.source.acknowledged) == 2
            assert world.exporter.outstanding == 0

    fakeclock.run(main)


def test_a_mistake_of_ours_costs_one_message_a_pause_and_nobody_else_anything():
    async def main():
        world = World()
        world.store.studies["1.2.1"] = []
        world.source.add("studies/1.2.9", path(1))  # the made-up store raises a KeyError
        async with world.running():
            await world.settled(1)
            await world.until(lambda: world.source.postponed)
        assert world.source.postponed == [("m0", 10)]
        assert world.notes.lines == [("Mistake", "a message could not be handled (KeyError): it is tried again; please report it")]

    fakeclock.run(main)

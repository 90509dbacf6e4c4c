"""A store that is searched: what is new is found once, whatever happens between two searches."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date

import pytest

from dicom_adapter import attributes
from dicom_adapter.config import AttributeMatch
from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.export.config import EVERY_DAY, Sweep
from dicom_adapter.export.events import Event, Reason, Result
from dicom_adapter.export.fetch import Failed, Image
from dicom_adapter.export.filter import Filter
from dicom_adapter.export.ledger import Ledger
from dicom_adapter.export.sweep import Reconciling, SweepSource
from dicom_adapter.patterns import Pattern
from tests.support.dicom import generated
from tests.support.exporting import part10
from tests.unit.export.world import FakeSource

TODAY = date(2026, 11, 25)


class Searched:
    """A store: UIDs by study. `counts` are told unless the store does not know NumberOfStudyRelatedInstances."""

    def __init__(self) -> None:
        self.content: dict[str, list[str]] = {}
        self.tells = True
        self.dates: list[str] = []
        self.listed: list[str] = []
        self.down = False

    async def studies(self, dates: str) -> AsyncIterator[tuple[str, int | None]]:
        self.dates.append(dates)
        if self.down:
            raise Failed(Result(Event.SOURCE_UNAVAILABLE, "503", Reason.FAILING))
        for study, uids in self.content.items():
            yield study, len(uids) if self.tells else None

    async def instances(self, found):
        self.listed.append(found.study)
        return [InstancePath(found.study, "1.2.3", uid) for uid in self.content[found.study]]


def sweep(store: Searched, ledger: Ledger, **more) -> SweepSource:
    return SweepSource(store, Sweep(60, 2), ledger, told=lambda trouble: None, today=lambda: TODAY, **more)  # type: ignore[arg-type]


async def test_what_is_new_is_found_once_and_a_study_that_has_not_changed_is_not_looked_at():
    store, ledger = Searched(), Ledger()
    store.content = {"1.1": ["1.1.1", "1.1.2"], "1.2": ["1.2.1"]}
    source = sweep(store, ledger)
    await source.once()
    assert store.dates == ["20261123-"]
    found = source.at_once(10)
    assert [one.data.decode() for one in found] == [
        "/studies/1.1/series/1.2.3/instances/1.1.1",
        "/studies/1.1/series/1.2.3/instances/1.1.2",
        "/studies/1.2/series/1.2.3/instances/1.2.1",
    ]
    await source.once()  # in work, so not found again
    assert not source.at_once(10)
    for one in found:
        source.done(one)
    store.content["1.2"].append("1.2.2")
    await source.once()
    assert [one.id for one in source.at_once(10)] == ["1.2.2"]
    store.listed.clear()
    await source.once()
    assert store.listed == ["1.2"]
    await ledger.close()


@pytest.mark.parametrize(("days", "dates"), [(1, "20261124-"), (EVERY_DAY - 1, "19261221-"), (EVERY_DAY, "")])
async def test_the_longest_window_is_every_study_whatever_its_date(days, dates):
    store, ledger = Searched(), Ledger()
    source = SweepSource(store, Sweep(60, days), ledger, told=lambda trouble: None, today=lambda: TODAY)  # type: ignore[arg-type]
    await source.once()
    assert store.dates == [dates]
    await ledger.close()


async def test_a_store_that_does_not_count_is_listed_each_time():
    store, ledger = Searched(), Ledger()
    store.content, store.tells = {"1.1": ["1.1.1"]}, False
    source = sweep(store, ledger)
    for _ in range(2):
        await source.once()
    assert store.listed == ["1.1", "1.1"]
    assert len(source.at_once(10)) == 1
    await ledger.close()


async def test_the_next_process_knows_what_was_done_and_finds_what_was_not(tmp_path):
    store, file = Searched(), str(tmp_path / "exported.db")
    store.content = {"1.1": ["1.1.1", "1.1.2"]}
    source = sweep(store, Ledger(file))
    await source.once()
    first, _ = source.at_once(10)
    source.done(first)
    assert await source.give_back() == 1
    second = sweep(store, Ledger(file))
    await second.once()
    assert [one.id for one in second.at_once(10)] == ["1.1.2"]
    await second.give_back()


async def test_a_store_that_cannot_be_searched_says_so():
    store, ledger = Searched(), Ledger()
    store.down = True
    with pytest.raises(Failed):
        await sweep(store, ledger).once()
    await ledger.close()


async def test_what_is_put_off_comes_again():
    store, ledger = Searched(), Ledger()
    store.content = {"1.1": ["1.1.1"]}
    source = sweep(store, ledger)
    await source.once()
    (one,) = await source.take(1)
    source.later(one, 0)
    assert await asyncio.wait_for(source.take(5), 5) == [one]
    assert not await source.publish("projects/p/topics/t", one, "why")
    await ledger.close()


async def test_beside_a_subscription_only_what_it_did_not_tell_of_is_found():
    store, ledger, told = Searched(), Ledger(), FakeSource()
    store.content = {"1.1": ["1.1.1"]}  # from before
    swept = sweep(store, ledger, adopts=True)
    both = Reconciling(told, swept, ledger, lambda received: received.data.decode().rpartition("/")[2])
    await swept.once()
    assert not swept.at_once(10)
    store.content["1.1"] += ["1.1.2", "1.1.3"]
    told.add("studies/1.1/series/1.2.3/instances/1.1.2")
    (one,) = await both.take(5)
    both.done(one)
    assert told.acknowledged == ["m0"]
    await swept.once()
    (lost,) = await both.take(5)
    assert lost.id == "1.1.3"
    both.done(lost)
    assert told.acknowledged == ["m0"]  # Pub/Sub knows nothing of it
    await swept.once()
    assert not swept.at_once(10)
    assert await both.publish("projects/p/topics/t", lost, "why")
    assert await both.give_back() == 0


# -- spec.filter -----------------------------------------------------------------------------------


def image(content: bytes) -> Image:
    return Image(InstancePath("1", "2", "3"), "1.2", "3", "1.2.840.10008.1.2.1", content, 144 + int.from_bytes(content[140:144], "little"))


def wanted(keyword: str, *values: str) -> Filter:
    return Filter([AttributeMatch(attributes.parse(keyword), tuple(map(Pattern, values)))])


def test_an_image_is_compared_as_routes_compare_it():
    content = part10(generated(300_000))
    assert wanted("Modality", "CT", "O?")(image(content))
    assert not wanted("Modality", "CT")(image(content))
    assert wanted("StudyDate", "2026*")(image(content))
    assert not wanted("BodyPartExamined", "*")(image(content))  # what is not there is like nothing


def test_what_cannot_be_read_is_set_aside():
    meta, rest = part10(generated(100)), b"\x08\x00\x05\x00!!" + bytes(100)
    offset = 144 + int.from_bytes(meta[140:144], "little")
    with pytest.raises(Failed) as failed:
        wanted("StudyDate", "*")(image(meta[:offset] + rest))
    assert failed.value.result == Result(Event.UNREADABLE, "its data set is unreadable at byte 0: no value representation")

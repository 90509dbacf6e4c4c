"""From keys to the store's search: what is asked, what is matched here, and what is learned of a store that does not understand."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from dicom_adapter.dicomweb.client import Answer, Refusal
from dicom_adapter.dicomweb.query import Ends, Page, Parameters, pages
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from dicom_adapter.services.levels import Level
from dicom_adapter.services.query.capabilities import FULL_PAGES, LEAST_PAGE, PAGE, REMEMBERED_SECONDS, Capabilities
from dicom_adapter.services.query.find import extend
from dicom_adapter.services.query.identifier import Identifier, Key
from dicom_adapter.services.query.search import UIDS_IN_A_LIST, Search
from tests.support.rawscu import CT_STORAGE

NAME, PATIENT, DATE, TIME = 0x00100010, 0x00100020, 0x00080020, 0x00080030
DESCRIPTION, MODALITIES, STUDY, SERIES, KIND = 0x00081030, 0x00080061, 0x0020000D, 0x0020000E, 0x00080008
VRS = {NAME: "PN", PATIENT: "LO", DATE: "DA", TIME: "TM", DESCRIPTION: "LO", MODALITIES: "CS", STUDY: "UI", SERIES: "UI", KIND: "CS"}
Study = dict[int, Any]


def key(tag: int, *values: str) -> Key:
    return Key(tag, VRS[tag], values)


@dataclass
class Store:
    """A search that can be limited in every way that stores are met with."""

    studies: list[Study]
    refused: frozenset[int] = frozenset()
    untold: frozenset[int] = frozenset()
    odd: dict[str, str] = field(default_factory=dict)
    lists: bool = True
    wildcards: bool = True
    decodes: bool = True
    listens: bool = True
    together: bool = False
    objects_to: str = ""
    most: int = 5000
    asked: list[tuple[list[tuple[str, str]], int, int]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def ask(self, resource: str, parameters: Parameters, limit: int, offset: int) -> Page:
        self.asked.append((list(parameters), limit, offset))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await asyncio.sleep(0)
            return self._answer(parameters, limit, offset)
        finally:
            self.under_way -= 1

    def _answer(self, parameters: Parameters, limit: int, offset: int) -> Page:
        keys = [(int(name, 16), value) for name, value in parameters if name not in ("includefield", "fuzzymatching")]
        fields = [value for name, value in parameters if name == "includefield"]
        if any(tag in self.refused or value == self.objects_to for tag, value in keys):
            raise Refusal(Answer(400, "application/json", b""))
        found = [study for study in self.studies if not self.listens or all(self._matches(study, tag, value) for tag, value in keys)]
        page = found[offset : offset + min(limit, self.most)]
        if any(self.odd.get(name) == str(study[STUDY]) for name in fields for study in page):
            raise Refusal(Answer(400, "application/json", b""))
        return [self._told(study) for study in page]

    def _told(self, study: Study) -> dict[str, Any]:
        told = {tag: value for tag, value in study.items() if tag not in self.untold}
        return {f"{tag:08X}": {"vr": VRS[tag], "Value": _values(tag, value)} for tag, value in told.items()}

    def _matches(self, study: Study, tag: int, wanted: str) -> bool:
        values = study.get(tag, "")
        values = values if isinstance(values, list) else [values]
        if not self.decodes and (not wanted.isascii() or " " in wanted):
            return False
        if VRS[tag] == "UI":
            return any(value in (wanted.split(",") if self.lists else [wanted]) for value in map(str, values))
        if VRS[tag] in ("DA", "TM") and "-" in wanted:
            low, _, high = wanted.partition("-")
            return any(low <= value <= (high or "~") for value in values)
        if self.together:
            values = ["\\".join(values)]
        return any(fnmatch.fnmatchcase(value, wanted) if self.wildcards else value == wanted for value in values)

    @property
    def searches(self) -> list[list[tuple[str, str]]]:
        """The search keys of each request, without those that only try what the store can do."""
        return [[pair for pair in parameters if pair[0] != "includefield"] for parameters, limit, _ in self.asked if limit > 20]


def _values(tag: int, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [{"Alphabetic": value}] if VRS[tag] == "PN" else [str(value)]


def study(number: int, **changes: Any) -> Study:
    by_name = {"name": NAME, "description": DESCRIPTION, "modalities": MODALITIES, "date": DATE, "time": TIME}
    one: Study = {STUDY: str(number), PATIENT: f"P{number:04}", NAME: f"Doe^{number}", DATE: "20260101", TIME: "120000", MODALITIES: ["CT"]}
    return one | {by_name[name]: value for name, value in changes.items()}


MANY = [study(number) for number in range(1234)]


async def found(store: Store | Capabilities, *keys: Key, level: Level = Level.STUDY, **options: Any) -> tuple[list[str], bool]:
    """The studies that are found, and whether a key was left out of account."""
    capabilities = store if isinstance(store, Capabilities) else Capabilities(store.ask)
    search = Search(Identifier(level, (*keys, key(STUDY))), capabilities, **options)
    uids = []
    async with contextlib.aclosing(search.results()) as results:
        async for page in results:
            uids += [str(match["0020000D"]["Value"][0]) for match in page]
    return uids, search.partial


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [5000, 100, 7])
async def test_all_pages_come_in_order_whatever_the_stores_own_limit_is(most: int) -> None:
    store = Store(MANY, most=most)
    assert await found(store) == ([str(number) for number in range(1234)], False)


async def test_the_next_page_is_asked_for_while_one_is_used_and_no_more_than_that() -> None:
    store = Store(MANY)
    search = Search(Identifier(Level.STUDY, (key(STUDY),)), Capabilities(store.ask))
    async with contextlib.aclosing(search.results()) as results:
        await anext(results)
        await asyncio.sleep(0)
        assert [offset for _, _, offset in store.asked] == [0, PAGE]
    assert store.under_way == 0


async def test_many_searches_at_a_time_have_smaller_pages() -> None:
    store = Store(MANY)
    capabilities = Capabilities(store.ask)
    await found(capabilities)
    assert {limit for _, limit, _ in store.asked} == {PAGE}
    store.asked.clear()
    answers = await asyncio.gather(*(found(capabilities) for _ in range(4 * FULL_PAGES)))
    assert all(uids == [str(number) for number in range(1234)] for uids, _ in answers)
    limits = [limit for _, limit, _ in store.asked]
    assert set(limits[: 4 * FULL_PAGES]) == {PAGE // 4}
    with contextlib.ExitStack() as under_way:
        for _ in range(1000):
            under_way.enter_context(capabilities.searching())
        assert capabilities.page() == LEAST_PAGE
    assert (capabilities.searches, capabilities.page()) == (0, PAGE)


async def test_a_short_page_is_the_last_once_one_as_long_has_proven_to_be() -> None:
    store, ends = Store([study(1), study(2), study(3)]), Ends()

    async def ask() -> int:
        before = len(store.asked)
        assert [page async for page in pages(store.ask, "/studies", [], size=lambda: PAGE, ends=ends)] != []
        return len(store.asked) - before

    assert [await ask(), await ask()] == [2, 1]
    store.studies.append(study(4))
    assert [await ask(), await ask()] == [2, 1]


async def test_a_store_that_knows_no_offset_is_not_read_twice() -> None:
    async def ask(resource: str, parameters: Parameters, limit: int, offset: int) -> Page:
        return [{"0020000D": {"vr": "UI", "Value": ["1"]}}] * limit

    assert [len(page) async for page in pages(ask, "/studies", [], size=lambda: 3, ends=Ends())] == [3]


# -- keys ------------------------------------------------------------------------------------------


async def test_one_question_is_the_rule() -> None:
    store = Store(MANY)
    uids, partial = await found(store, key(PATIENT, "P000*"), key(DATE, "20260101-20260131"), key(NAME))
    assert (len(uids), partial) == (10, False)
    assert store.asked[0][0] == [
        ("00100020", "P000*"),
        ("00080020", "20260101-20260131"),
        ("includefield", "00100020"),
        ("includefield", "00080020"),
        ("includefield", "00100010"),
        ("includefield", "0020000D"),
    ]


async def test_uids_go_in_lists_where_the_store_takes_them_and_one_by_one_where_not() -> None:
    wanted = [str(number) for number in range(200)]
    listing, single = Store(MANY), Store(MANY, lists=False)
    assert (await found(listing, key(STUDY, *wanted)))[0] == wanted
    assert (await found(single, key(STUDY, *wanted)))[0] == wanted
    assert len({tuple(search) for search in listing.searches}) == -(-200 // UIDS_IN_A_LIST)
    assert len({tuple(search) for search in single.searches}) == 200
    assert single.most_under_way <= 8


async def test_several_values_are_several_questions_and_each_result_comes_once() -> None:
    store = Store(
        [study(1, modalities=["CT", "PT"]), study(2, modalities=["MR"]), study(3, modalities=["PT"]), study(4, modalities=["US"])]
    )
    assert sorted((await found(store, key(MODALITIES, "CT", "PT", "MR")))[0]) == ["1", "2", "3"]
    assert sorted({value for search in store.searches for _, value in search}) == ["CT", "MR", "PT"]


async def test_too_many_combinations_are_matched_here() -> None:
    store = Store([study(number, description=f"D{number}") for number in range(40)])
    patients = [f"P{number:04}" for number in range(20)]
    uids, _ = await found(store, key(PATIENT, *patients), key(DESCRIPTION, *(f"D{number}" for number in range(10, 40))))
    assert sorted(map(int, uids)) == list(range(10, 20))
    assert len({tuple(search) for search in store.searches}) == 20


async def test_a_key_of_a_lower_level_is_left_out_of_account_and_that_is_said() -> None:
    assert await found(Store(MANY[:3]), key(SERIES, "1.2.3")) == (["0", "1", "2"], True)
    assert await found(Store(MANY[:3]), key(SERIES)) == (["0", "1", "2"], False)


async def test_dates_with_times_are_one_range_where_that_was_negotiated() -> None:
    first, second = study(1, date="20260101", time="080000"), study(2, date="20260101", time="160000")
    third, fourth = study(3, date="20260102", time="080000"), study(4, date="20260102", time="160000")
    store = Store([first, second, third, fourth])
    keys = key(DATE, "20260101-20260102"), key(TIME, "1200-1300")
    assert (await found(store, *keys, combined=True))[0] == ["2", "3"]
    assert (await found(store, *keys))[0] == []


@pytest.mark.parametrize(
    ("asked", "answer"),
    [(b"", b""), (b"\1", b"\1"), (b"\0\0\0", b"\1\0\0"), (b"\1\1\1\1", b"\1\1\1\0"), (b"\1\1\0\1\1\1", b"\1\1\0\0\0\0")],
)
def test_extended_negotiation_of_queries(asked: bytes, answer: bytes) -> None:
    assert extend(STUDY_ROOT_FIND, asked) == answer
    assert extend(CT_STORAGE, asked) is None


async def test_fuzzy_matching_is_the_stores() -> None:
    store = Store(MANY[:1])
    await found(store, key(NAME, "Doe*"), fuzzy=True)
    assert ("fuzzymatching", "true") in store.asked[0][0]


# -- stores that differ ----------------------------------------------------------------------------


async def test_what_the_store_refuses_is_matched_here_and_remembered_for_an_hour() -> None:
    now = [0.0]
    store = Store([study(1, description="Chest"), study(2, description="Head")], refused=frozenset({DESCRIPTION}))
    capabilities = Capabilities(store.ask, lambda: now[0])
    assert await found(capabilities, key(DESCRIPTION, "Ch*"), key(DATE, "20260101")) == (["1"], False)
    store.asked.clear()
    assert await found(capabilities, key(DESCRIPTION, "Ch*")) == (["1"], False)
    assert all(not search for search in store.searches)
    now[0] += REMEMBERED_SECONDS + 1
    store.refused = frozenset()
    store.asked.clear()
    assert (await found(capabilities, key(DESCRIPTION, "Ch*")))[0] == ["1"]
    assert store.searches[0] == [("00081030", "Ch*")]


async def test_what_the_store_neither_matches_nor_tells_is_left_out_of_account_and_that_is_said() -> None:
    store = Store([study(1, description="Chest"), study(2)], refused=frozenset({DESCRIPTION}), untold=frozenset({DESCRIPTION}))
    assert await found(store, key(DESCRIPTION, "Ch*")) == (["1", "2"], True)


async def test_a_value_that_the_store_objects_to_costs_nobody_else_its_search() -> None:
    store = Store(MANY[:5], objects_to="2026-01-01")
    capabilities = Capabilities(store.ask)
    with pytest.raises(Refusal):
        await found(capabilities, key(DATE, "2026-01-01"), key(PATIENT, "P0003"))
    store.asked.clear()
    assert await found(capabilities, key(DATE, "20260101"), key(PATIENT, "P0003")) == (["3"], False)
    assert store.searches[0] == [(f"{DATE:08X}", "20260101"), (f"{PATIENT:08X}", "P0003")]


async def test_a_store_that_ignores_a_list_of_uids_gives_nothing_that_was_not_asked_for() -> None:
    wanted = [str(number) for number in range(0, 200, 2)]
    uids, _ = await found(Store(MANY[:300], listens=False), key(STUDY, *wanted))
    assert set(uids) == set(wanted)


async def test_what_a_url_does_not_hold_is_matched_here() -> None:
    store = Store([study(number, description=f"{number} {'山' * 900}") for number in range(20)])
    assert await found(store, key(DESCRIPTION, f"7 {'山' * 900}"), key(PATIENT, "P000*")) == (["7"], False)
    for parameters, _, _ in store.asked:
        assert len(urlencode(parameters)) < 8000


async def test_a_refusal_that_no_key_explains_is_passed_on() -> None:
    store = Store(MANY[:2], refused=frozenset({STUDY}))

    async def refuse(*_: Any) -> Page:
        raise Refusal(Answer(400, "application/json", b""))

    with pytest.raises(Refusal):
        await found(Capabilities(refuse), key(DATE, "20260101"))
    assert store.asked == []


async def test_an_attribute_over_which_the_store_stumbles_in_one_result_costs_that_attribute_alone() -> None:
    store = Store(MANY, odd={"00081030": "700"})
    uids, partial = await found(store, key(DESCRIPTION), key(DATE))
    assert uids == [str(number) for number in range(1234)]
    assert partial


async def test_wildcards_that_the_store_does_not_know_are_matched_here() -> None:
    store = Store(MANY[:20], wildcards=False)
    capabilities = Capabilities(store.ask)
    assert (await found(capabilities, key(PATIENT, "P001*")))[0] == [str(number) for number in range(10, 20)]
    store.asked.clear()
    assert (await found(capabilities, key(NAME, "doe^1")))[0] == []
    assert (await found(capabilities, key(NAME, "doe^1*")))[0] == ["1", *(str(number) for number in range(10, 20))]
    assert [search for search in store.searches if search] == [[("00100010", "doe^1")]] * len([s for s in store.searches if s])


async def test_nothing_is_nothing_where_wildcards_are_known() -> None:
    store = Store(MANY[:20])
    assert await found(store, key(PATIENT, "X*")) == ([], False)
    assert (await found(store, key(PATIENT, "X")))[0] == []


async def test_letters_that_the_store_does_not_decode_are_compared_here() -> None:
    store = Store([study(1, name="Müller^Jürgen"), study(2, name="Miller^Jack"), study(3, description="MR Knie links")], decodes=False)
    assert (await found(store, key(NAME, "Müller*")))[0] == ["1"]
    assert (await found(store, key(NAME, "Müller^Jürgen")))[0] == ["1"]
    assert (await found(store, key(DESCRIPTION, "MR Knie links")))[0] == ["3"]
    assert (await found(store, key(NAME, "山田*")))[0] == []


async def test_any_of_an_attributes_values_will_do_though_the_store_compares_them_together() -> None:
    kinds = {1: ["ORIGINAL", "PRIMARY", "AXIAL"], 2: ["DERIVED", "AXIAL 2"], 3: ["AXIAL"]}
    store = Store([study(number) | {KIND: values} for number, values in kinds.items()], together=True)
    assert await found(store, key(KIND, "PRIMARY")) == (["1"], False)
    assert await found(store, key(KIND, "DERIVED")) == (["2"], False)
    store.asked.clear()
    store.objects_to = "*XIAL*"
    assert await found(store, key(KIND, "XIAL")) == ([], False)
    assert {value for search in store.searches for _, value in search} == {"XIAL", "*XIAL*"}
    store.asked.clear()
    assert (await found(store, key(MODALITIES, "PT"), key(PATIENT, "P0001")))[0] == []
    assert len(store.searches) == 1


async def test_private_attributes_and_sequences_are_not_asked_for() -> None:
    store = Store(MANY[:2])
    private, sequence = Key(0x00091003, "LO", ("x",)), Key(0x00400275, "SQ", items=(Key(0x00400009, "SH", ("S",)),))
    assert await found(store, private, sequence) == (["0", "1"], True)
    assert store.searches[0] == []


async def test_an_empty_store_proves_nothing() -> None:
    store = Store([])
    capabilities = Capabilities(store.ask)
    assert await capabilities.lists() is False
    assert await capabilities.wildcards() is True
    store.studies += MANY[:2]
    assert await capabilities.lists() is True


async def test_a_search_that_is_left_leaves_nothing_behind() -> None:
    store = Store(MANY, lists=False)
    search = Search(Identifier(Level.STUDY, (key(STUDY, *map(str, range(50))),)), Capabilities(store.ask))
    async with contextlib.aclosing(search.results()) as results:
        await anext(results)
    assert store.under_way == 0
    assert len(asyncio.all_tasks()) == 1

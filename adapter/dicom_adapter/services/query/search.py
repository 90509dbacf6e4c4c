"""From an identifier to the store's search and back: which keys the store matches, which we match ourselves, and in how many questions.

One question is the rule. It takes more where a key has several values (PS3.18 has lists for UIDs only), where the store refuses an
attribute, and where it finds nothing and may just not have understood: see `Plan`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from pydicom.datadict import dictionary_has_tag, dictionary_VM, keyword_for_tag

from dicom_adapter.dicomweb.client import PLAIN, Refusal
from dicom_adapter.dicomweb.query import Page, pages, text
from dicom_adapter.services.levels import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level
from dicom_adapter.services.query.capabilities import Capabilities
from dicom_adapter.services.query.identifier import (
    INSTANCE_AVAILABILITY,
    ISSUER_OF_PATIENT_ID,
    RETRIEVE_AE_TITLE,
    TIMEZONE_OFFSET,
    WILDCARD_VRS,
    Identifier,
    Key,
)
from dicom_adapter.services.query.matching import Match, known, matcher

UIDS_IN_A_LIST: Final = 64
"""At most 65 characters each: the URL stays below 8 kB."""
_ASKED_AT_A_TIME: Final = 4
_MOST_ALTERNATIVES: Final = 64
_MOST_FIELDS: Final = 150
_MOST_URL: Final = 7700
"""Of the 8 kB that servers and proxies take."""
_FIELD: Final = len("&includefield=00100010")
_RESOURCES: Final = {Level.PATIENT: "/studies", Level.STUDY: "/studies", Level.SERIES: "/series", Level.IMAGE: "/instances"}
_BELOW: Final = {
    Level.PATIENT: frozenset({SERIES_INSTANCE_UID, SOP_INSTANCE_UID}),
    Level.STUDY: frozenset({SERIES_INSTANCE_UID, SOP_INSTANCE_UID}),
    Level.SERIES: frozenset({SOP_INSTANCE_UID}),
    Level.IMAGE: frozenset[int](),
}
_OURS: Final = frozenset({RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY, TIMEZONE_OFFSET})
_MODALITIES_IN_STUDY: Final = 0x00080061
_UNIQUE: Final = frozenset({STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID})
_PATTERN: Final = frozenset("*?")
_CODED: Final = re.compile(f"[^-A-Za-z0-9._{re.escape(PLAIN)}]+")


@dataclass(frozen=True, slots=True)
class Period:
    """A range of dates and one of times that mean one range from a moment to another (PS3.4 C.2.2.2.5.1)."""

    date: Key
    time: Key

    def matches(self, match: Match) -> bool:
        """Whether the moment in a result lies in it."""
        (low_date, _, high_date), (low_time, _, high_time) = (key.values[0].partition("-") for key in (self.date, self.time))
        date, time = (str(_first(match, key.tag)) for key in (self.date, self.time))
        moment = date + time.ljust(6, "0")
        low = low_date + low_time.ljust(6, "0") if low_date else ""
        high = high_date + high_time.ljust(6, "9") if high_date else "~"
        return bool(date) and low <= moment and moment[: len(high)] <= high


@dataclass(frozen=True, slots=True)
class Plan:
    """How an identifier is searched for.

    Attributes:
        asked: keys that the store matches, with the alternatives for each: one question for each combination.
        own: keys that we match, because the store refuses them, or cannot know what is meant.
        periods: dates with times that we match together.
        fields: what the results are to hold.
        ignored: whether a key is matched by nobody, as PS3.4 C.2.2.1.3 has it for optional keys.
        guessed: whether the store may not like it, and need not.
    """

    asked: tuple[tuple[Key, tuple[str, ...]], ...] = ()
    own: tuple[Key, ...] = ()
    periods: tuple[Period, ...] = ()
    fields: tuple[str, ...] = ()
    ignored: bool = False
    guessed: bool = False

    def questions(self) -> Iterator[list[tuple[str, str]]]:
        """The search keys of each question."""
        for values in itertools.product(*(alternatives for _, alternatives in self.asked)):
            yield [(key.name, value) for (key, _), value in zip(self.asked, values, strict=True)]

    @property
    def overlaps(self) -> bool:
        """Whether a result may come by two of the questions."""
        return any(len(alternatives) > 1 and key.vr != "UI" for key, alternatives in self.asked)


@dataclass(slots=True)
class Search:
    """One search. `results` may be iterated once; `partial` is right from its first page on."""

    identifier: Identifier
    store: Capabilities
    fuzzy: bool = False
    combined: bool = False
    most: int | None = None
    partial: bool = False
    _seen: set[int] = field(default_factory=set)

    @property
    def resource(self) -> str:
        """The resource that has the results."""
        return _RESOURCES[self.identifier.level]

    async def results(self) -> AsyncGenerator[Page, None]:
        """The results that match, page by page in the store's order. Raises what a search may raise."""
        with self.store.searching():
            async with contextlib.aclosing(self._results()) as results:
                async for page in results:
                    yield page

    async def _results(self) -> AsyncGenerator[Page, None]:
        plan = await self._plan()
        for attempt in itertools.count():
            found = False
            try:
                async with contextlib.aclosing(self._pages(plan)) as answered:
                    async for page in answered:
                        found = found or bool(page)
                        yield page
            except Refusal as error:
                if plan.guessed and not found and error.answer.status == 400:
                    return  # what was asked before has been answered: nothing
                if found or error.answer.status != 400 or attempt > 1 or not await self._learn(plan):
                    raise
                plan = await self._plan()
                continue
            other = None if found or attempt > 2 else await self._otherwise(plan)
            if other is None:
                return
            plan = other

    # -- the plan ----------------------------------------------------------------------------------

    async def _plan(self) -> Plan:
        level, resource = self.identifier.level, self.resource
        asked: list[tuple[Key, tuple[str, ...]]] = []
        own: list[Key] = []
        periods = tuple(self._periods()) if self.combined else ()
        ignored = False
        names = [f"{ISSUER_OF_PATIENT_ID:08X}"] if level is Level.PATIENT else []
        for key in self.identifier.keys:
            if key.tag in _OURS:
                continue
            if key.tag in _BELOW[level]:
                ignored |= key.matches
                continue
            names.append(key.name)
            if not key.matches or any(key is period.time for period in periods):
                continue
            use = _use(key)
            if (
                key.items
                or key.private
                or self.store.refuses(resource, use, key.name)
                or (key.has_wildcards and self.store.known_to_lack_wildcards)
            ):
                own.append(key)
            else:
                asked.append((key, await self._alternatives(key)))
        asked, more = _bounded(asked, _MOST_URL - len(names) * _FIELD if len(names) <= _MOST_FIELDS else _MOST_URL)
        return Plan(tuple(asked), tuple(own + more), periods, tuple(dict.fromkeys(names)), ignored)

    async def _alternatives(self, key: Key) -> tuple[str, ...]:
        if key.vr != "UI" or len(key.values) == 1 or not await self.store.lists():
            return key.values
        return tuple(",".join(chunk) for chunk in _chunks(key.values, UIDS_IN_A_LIST))

    def _periods(self) -> Iterator[Period]:
        """A date and a time with the same name, such as Study Date and Study Time, both of them ranges."""
        ranges = [key for key in self.identifier.keys if len(key.values) == 1 and "-" in key.values[0] and key.vr in ("DA", "TM")]
        by_name = {name: key for key in ranges if (name := keyword_for_tag(key.tag))}
        for name, key in by_name.items():
            if key.vr == "DA" and (time := by_name.get(name.removesuffix("Date") + "Time")) is not None:
                yield Period(key, time)

    async def _learn(self, plan: Plan) -> bool:
        return await self.store.learn_keys(self.resource, [(_use(key), key.vr, key.name, values[0]) for key, values in plan.asked])

    async def _otherwise(self, plan: Plan) -> Plan | None:
        """Another plan after nothing was found, where that may be for want of understanding; None where it is the answer."""
        beyond = [key for key, values in plan.asked if key.vr in WILDCARD_VRS and any(map(_CODED.search, values))]
        if beyond:
            # Orthanc's older plugins find no blank and no letter beyond ASCII: they are asked for the rest, and we look at these.
            wider = tuple(
                (key, tuple(dict.fromkeys(_CODED.sub("*", value) for value in values)) if key in beyond else values)
                for key, values in plan.asked
            )
            asked = tuple((key, values) for key, values in wider if any(value.strip("*") for value in values))
            return replace(plan, asked=asked, own=(*plan.own, *beyond))
        patterns = [key for key, values in plan.asked if key.vr in WILDCARD_VRS and any("*" in value or "?" in value for value in values)]
        if patterns and not self.store.known_to_lack_wildcards and not await self.store.wildcards():
            rest = tuple((key, values) for key, values in plan.asked if key not in patterns)
            return replace(plan, asked=rest, own=tuple(dict.fromkeys((*plan.own, *patterns))))
        several = [] if plan.guessed else [key for key, _ in plan.asked if _has_several_values(key)]
        if several and not self.store.known_to_lack_wildcards:
            # Orthanc compares all values of an attribute together, and PS3.4 C.2.2.2.1 any of them.
            asked = tuple((key, tuple(f"*{value}*" for value in values) if key in several else values) for key, values in plan.asked)
            return replace(plan, asked=asked, own=tuple(dict.fromkeys((*plan.own, *several))), guessed=True)
        return None

    # -- the questions -----------------------------------------------------------------------------

    async def _pages(self, plan: Plan) -> AsyncGenerator[Page, None]:
        own: tuple[Key, ...] | None = None
        tests: list[Callable[[Match], bool]] = []
        listed = {key.name: frozenset(key.values) for key, _ in plan.asked if key.tag in _UNIQUE and not _PATTERN & {*"".join(key.values)}}
        async with contextlib.aclosing(self._answers(plan)) as answers:
            async for page in answers:
                if own is None:
                    # What no result has, the store does not tell: an optional key that nobody supports.
                    own = tuple(key for key in plan.own if any(known(key, match) for match in page)) if page else plan.own
                    tests = [*(matcher(key) for key in own), *(period.matches for period in plan.periods)]
                refused = any(self.store.refuses(self.resource, "includefield", name) for name in plan.fields)
                self.partial = plan.ignored or refused or len(own) < len(plan.own)
                kept = [match for match in page if self._is_new(match, plan) and _all_match(match, tests, listed)]
                yield kept

    async def _answers(self, plan: Plan) -> AsyncGenerator[Page, None]:
        """The pages of all questions, in order; of those that are not their turn yet the first page is asked for."""
        extra = [("fuzzymatching", "true")] if self.fuzzy else []
        waiting: list[tuple[AsyncGenerator[Page, None], asyncio.Task[Page]]] = []
        questions = plan.questions()
        try:
            while True:
                for keys in itertools.islice(questions, _ASKED_AT_A_TIME - len(waiting)):
                    generator = self._answer([*keys, *extra], plan.fields)
                    waiting.append((generator, asyncio.ensure_future(anext(generator))))
                if not waiting:
                    return
                generator, first = waiting[0]
                yield await first
                async for page in generator:
                    yield page
                del waiting[0]
        finally:
            for generator, first in waiting:
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await first
                await generator.aclose()

    async def _answer(self, keys: list[tuple[str, str]], fields: Sequence[str]) -> AsyncGenerator[Page, None]:
        """The pages of one question. A store that stumbles over an attribute of a result is asked again for that page without it."""
        offset = 0
        while True:
            wanted = [name for name in fields if not self.store.refuses(self.resource, "includefield", name)]
            include = ["all"] if len(wanted) > _MOST_FIELDS else wanted
            question = [*keys, *(("includefield", name) for name in include)]
            try:
                found = pages(self.store.ask, self.resource, question, size=self._size, ends=self.store.ends, offset=offset)
                async with contextlib.aclosing(found) as answered:
                    async for page in answered:
                        yield page
                        offset += len(page)
                return
            except Refusal as error:
                if error.answer.status != 400 or not await self.store.learn_fields(self.resource, keys, include, self._size(), offset):
                    raise

    def _size(self) -> int:
        return self.store.page() if self.most is None else min(self.store.page(), self.most + 1)

    def _is_new(self, match: Match, plan: Plan) -> bool:
        if not plan.overlaps:
            return True
        key = hash(tuple(str(_first(match, tag)) for tag in (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)))
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def _first(match: Match, tag: int) -> object:
    values = (match.get(f"{tag:08X}") or {}).get("Value") or [""]
    return values[0]


def _all_match(match: Match, tests: Sequence[Callable[[Match], bool]], listed: Mapping[str, Collection[str]]) -> bool:
    """Whether it passes all tests, and has one of the UIDs that were asked for, as far as it has any: some stores ignore a list."""
    return all(test(match) for test in tests) and all(not (uid := text(match, name)) or uid in uids for name, uids in listed.items())


def _has_several_values(key: Key) -> bool:
    """Whether the attribute may have several, and the key is none of them with wildcards. What stores count together, they know as such."""
    known = key.vr in WILDCARD_VRS and not key.has_wildcards and key.tag != _MODALITIES_IN_STUDY
    return known and dictionary_has_tag(key.tag) and dictionary_VM(key.tag) != "1"


def _use(key: Key) -> str:
    """How a key is matched: a store may know one and not another."""
    if key.has_wildcards:
        return "wildcards"
    return "range" if key.vr in ("DA", "TM", "DT") and any("-" in text for text in key.values) else "value"


def _chunks(values: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(values), size):
        yield tuple(values[start : start + size])


def _bounded(asked: list[tuple[Key, tuple[str, ...]]], room: int) -> tuple[list[tuple[Key, tuple[str, ...]]], list[Key]]:
    """Keys with too many alternatives to combine are matched by us, as are those for which there is no `room` in a URL; UIDs are asked
    for, however many.
    """
    kept: list[tuple[Key, tuple[str, ...]]] = []
    more: list[Key] = []
    combinations = 1
    for key, alternatives in sorted(asked, key=lambda pair: (pair[0].vr != "UI", len(pair[1]))):
        size = max(len(quote(one, safe=PLAIN)) for one in alternatives) + len("&00100010=")
        if size > room or (len(alternatives) > 1 and key.vr != "UI" and combinations * len(alternatives) > _MOST_ALTERNATIVES):
            more.append(key)
        else:
            room -= size
            kept.append((key, alternatives))
            combinations *= 1 if key.vr == "UI" else len(alternatives)
    return kept, more

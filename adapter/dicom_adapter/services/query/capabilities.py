"""What the store's search can do, found out where it matters and remembered: its stores differ, and none of them tells.

Nothing is asked before a query needs it. What is learned holds for an hour: stores are upgraded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from dicom_adapter.dicomweb.client import Refusal
from dicom_adapter.dicomweb.query import Ask, Ends, Page, Parameters

PAGE: Final = 500
LEAST_PAGE: Final = 50
FULL_PAGES: Final = 8
"""So many searches at a time have pages of full size. Each has two of them in memory, of 5 MB where a store tells much."""
REMEMBERED_SECONDS = 3600.0
_STUDIES = "/studies"
_SAMPLE = 20
_HARMLESS: Mapping[tuple[str, str], str] = {
    **dict.fromkeys((("value", vr) for vr in ("IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV")), "1"),
    ("value", "UI"): "1.2.3",
    ("value", "DA"): "20000101",
    ("value", "TM"): "120000",
    ("value", "DT"): "20000101120000",
    ("value", "AS"): "001Y",
    ("value", "AT"): "00080018",
    ("value", ""): "A",
    ("wildcards", ""): "A*",
    ("range", "TM"): "120000-130000",
    ("range", "DT"): "20000101120000-20000101130000",
    ("range", ""): "20000101-20000102",
}
"""Values that no store can object to, by how they are matched and VR."""
_PLAIN = re.compile(r"[-A-Za-z0-9._]{2,}")


@dataclass(slots=True)
class Capabilities:
    """Of one store. `lists`: it takes several UIDs in one parameter. `wildcards`: it takes patterns. None: not known yet."""

    ask: Ask
    now: Callable[[], float] = time.monotonic
    ends: Ends = field(default_factory=Ends)
    _refused: dict[tuple[str, str, str], float] = field(default_factory=dict)
    searches: int = 0
    _lists: tuple[bool, float] | None = None
    _wildcards: tuple[bool, float] | None = None

    @contextmanager
    def searching(self) -> Iterator[None]:
        """A search is under way inside."""
        self.searches += 1
        try:
            yield
        finally:
            self.searches -= 1

    def page(self) -> int:
        """How many results to ask for at once: the memory that they take is bounded for all searches together."""
        return max(LEAST_PAGE, min(PAGE, PAGE * FULL_PAGES // max(1, self.searches)))

    # -- attributes that it refuses ----------------------------------------------------------------

    def refuses(self, resource: str, use: str, name: str) -> bool:
        """Whether it has answered 400 to this attribute as a search key (`use` is how it is matched) or as an includefield."""
        until = self._refused.get((resource, use, name))
        if until is not None and until < self.now():
            del self._refused[resource, use, name]
            return False
        return until is not None

    async def learn_keys(self, resource: str, uses: Sequence[tuple[str, str, str, str]]) -> bool:
        """Finds out which search keys it refuses, after it has refused all of them together; whether that is any.

        Of each: how it is matched, its VR, its name, its value. One that it takes with a harmless value is not refused: what one requestor
        has misspelt must not cost the others the store's search.
        """
        news = False
        for use, vr, name, value in uses:
            harmless = _HARMLESS.get((use, vr), _HARMLESS[use, ""])
            if not await self._takes(resource, [(name, value)], 1, 0) and not await self._takes(resource, [(name, harmless)], 1, 0):
                self._refuse(resource, use, name)
                news = True
        return news

    async def learn_fields(self, resource: str, keys: Parameters, fields: Sequence[str], limit: int, offset: int) -> bool:
        """The same for includefields: those without which this very page can be had. Halving finds few among many."""
        if not fields or not await self._takes(resource, keys, limit, offset):
            return False
        suspects = [list(fields)]
        news = False
        while suspects:
            some = suspects.pop()
            if await self._takes(resource, [*keys, *(("includefield", name) for name in some)], limit, offset):
                continue
            if len(some) == 1:
                self._refuse(resource, "includefield", some[0])
                news = True
            else:
                half = len(some) // 2
                suspects += [some[:half], some[half:]]
        return news

    def _refuse(self, resource: str, use: str, name: str) -> None:
        self._refused[resource, use, name] = self.now() + REMEMBERED_SECONDS

    async def _takes(self, resource: str, parameters: Parameters, limit: int, offset: int) -> bool:
        try:
            await self.ask(resource, parameters, limit, offset)
        except Refusal as error:
            if error.answer.status != 400:
                raise
            return False
        return True

    # -- what it matches ---------------------------------------------------------------------------

    async def lists(self) -> bool:
        """Whether it finds what is in a list of UIDs: two of its studies have been asked for in one question, and came."""
        if self._lists is None or self._lists[1] < self.now():
            uids = await self._sample("0020000D", 2)
            if len(uids) < 2:
                return False  # nothing to try it on yet
            proven = len(await self._found([("0020000D", ",".join(uids[:2]))], 2)) == 2
            self._lists = proven, self.now() + REMEMBERED_SECONDS
        return self._lists[0]

    async def wildcards(self) -> bool:
        """Whether it finds one of its patients by the beginning of the Patient ID and a star."""
        if self._wildcards is None or self._wildcards[1] < self.now():
            known = [name for name in await self._sample("00100020", _SAMPLE) if _PLAIN.fullmatch(name)]
            if not known:
                return True  # nothing to try it on yet
            proven = bool(await self._found([("00100020", f"{known[0][:-1]}*")], 1))
            self._wildcards = proven, self.now() + REMEMBERED_SECONDS
        return self._wildcards[0]

    @property
    def known_to_lack_wildcards(self) -> bool:
        """Whether it has been tried and failed."""
        return self._wildcards is not None and not self._wildcards[0] and self._wildcards[1] >= self.now()

    async def _sample(self, name: str, size: int) -> list[str]:
        found = await self._found([("includefield", name)], size)
        values = [(match.get(name) or {}).get("Value") or [] for match in found]
        return [str(value[0]) for value in values if value and isinstance(value[0], str)]

    async def _found(self, parameters: list[tuple[str, str]], size: int) -> Page:
        try:
            return await self.ask(_STUDIES, parameters, size, 0)
        except Refusal as error:
            if error.answer.status != 400:
                raise
            return []

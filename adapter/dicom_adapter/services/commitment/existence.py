"""Which of many instances the store has, in few searches (PS3.18 10.6).

Three ways, the cheapest first. A list of UIDs in one search, where the store has shown that it takes them: an answer with two instances of
a list has shown it. Else an instance is searched for by itself, its answer names the study, and the list of the study's instances answers
for the others. What belongs to no study that was seen is searched for one by one, several at the same time.

Nothing is believed but a match that names the instance: a store that ignores a parameter, or understands it otherwise, proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from dicom_adapter.dicomweb.client import DicomwebClient, Refusal
from dicom_adapter.dicomweb.query import text
from dicom_adapter.services.asking import at_once, trouble

MOST_URL: Final = 7700
"""Of the 8 kB that servers and proxies take, for the list of UIDs."""

_PAGE: Final = 2000
_MOST_TOGETHER: Final = 8
_LISTED_FROM: Final = 2
_INSTANCE, _SOP_CLASS, _STUDY = "00080018", "00080016", "0020000D"

Found = dict[str, set[str]]
"""By SOP Instance UID the SOP classes that the store has it as; the empty string where it does not say."""


class Existence:
    """Asks one store, and remembers what kind of searches it takes."""

    def __init__(self, client: DicomwebClient) -> None:
        self._client = client
        self._takes_lists: bool | None = None
        self._largest_page = 0

    async def find(self, uids: Iterable[str]) -> Found:
        """Those that are there. Raises what searches raise."""
        found: Found = {}
        missing = dict.fromkeys(uids)
        if self._takes_lists is not False and len(missing) > 1:
            missing = await self._by_lists(missing, found)
        if missing:
            await self._by_study(missing, found)
        return found

    # -- lists -------------------------------------------------------------------------------------

    async def _by_lists(self, missing: dict[str, None], found: Found) -> dict[str, None]:
        """Searches for lists; returns those of which nothing is known yet."""
        first, *others = _batches(list(missing))
        hits = await self._list(first, found)
        if self._takes_lists is None and len(hits) < 2:
            return {uid: None for uid in missing if uid not in found}
        self._takes_lists = self._takes_lists is not False
        if not self._takes_lists:
            return {uid: None for uid in missing if uid not in found}
        for start in range(0, len(others), _MOST_TOGETHER):
            await at_once(self._list(batch, found) for batch in others[start : start + _MOST_TOGETHER])
        return {}

    async def _list(self, uids: Sequence[str], found: Found) -> set[str]:
        """Searches for some at once; returns those that were found."""
        asked, hits = set(uids), set[str]()
        matches = self._client.find("/instances", [("SOPInstanceUID", ",".join(uids))], page=_PAGE, last=self._is_last)
        try:
            async with aclosing(matches):
                async for match in matches:
                    uid = _note(match, found, asked)
                    if uid is None:  # it lists what it likes
                        self._takes_lists = False
                        break
                    hits.add(uid)
                    if len(hits) == len(asked):
                        break
        except Refusal as error:
            about = trouble(error)
            if about.passing or about.denied:
                raise
            self._takes_lists = False
        return hits

    def _is_last(self, size: int) -> bool:
        """Whether there is no page after one of this size: the store has given larger ones."""
        largest, self._largest_page = self._largest_page, max(size, self._largest_page)
        return size < largest

    # -- one that names the study, and the study ---------------------------------------------------

    async def _by_study(self, missing: dict[str, None], found: Found) -> None:
        together, by_list = 1, 0
        pending = dict(missing)
        while pending:
            some = list(pending)[:together]
            studies = {study for study in await at_once(self._one(uid, found) for uid in some) if study}
            for uid in some:
                del pending[uid]
            before = len(pending)
            if len(pending) >= _LISTED_FROM:
                await at_once(self._study(study, missing, found) for study in sorted(studies))
                for uid in [uid for uid in pending if uid in found]:
                    del pending[uid]
            by_list += before - len(pending)
            together = 1 if before > len(pending) else min(2 * together, _MOST_TOGETHER)
        if by_list and self._takes_lists is None:
            self._takes_lists = False  # a list would have found several of them

    async def _one(self, uid: str, found: Found) -> str:
        """Searches for one; returns its study."""
        study = ""
        matches = self._client.find("/instances", [("SOPInstanceUID", uid)], page=10)
        async with aclosing(matches):
            async for match in matches:
                if _note(match, found, {uid}) is None:
                    break
                study = text(match, _STUDY) or study
                break
        return study

    async def _study(self, study: str, wanted: Mapping[str, None], found: Found) -> None:
        """Lists a study until everything that is wanted has been seen, or to its end."""
        left = {uid for uid in wanted if uid not in found}
        matches = self._client.find(f"/studies/{study}/instances", [], page=_PAGE, last=self._is_last)
        async with aclosing(matches):
            async for match in matches:
                left.discard(_note(match, found, wanted) or "")
                if not left:
                    return


def _note(match: Mapping[str, Any], found: Found, asked: Iterable[str]) -> str | None:
    """Keeps a match that was asked for, and says which."""
    uid = text(match, _INSTANCE)
    if not uid or uid not in asked:
        return None
    found.setdefault(uid, set()).add(text(match, _SOP_CLASS))
    return uid


def _batches(uids: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    for uid in uids:
        size += len(uid) + 3  # a comma, percent-encoded
        if size > MOST_URL and batches[-1]:
            batches.append([])
            size = len(uid) + 3
        batches[-1].append(uid)
    return batches

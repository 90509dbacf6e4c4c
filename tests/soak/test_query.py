"""Queries with tens of thousands of results: all of them, in the store's order, and never more than a few pages in memory."""

from __future__ import annotations

import time

import pytest

from dicom_adapter.dimse import PeerAddress, PresentationContext, Response, Status, connect
from dicom_adapter.dimse.sopclasses import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from dicom_adapter.services.query.capabilities import PAGE
from tests.support.catalogue import UID, Catalogue
from tests.support.rawscu import EXPLICIT
from tests.support.retrieving import identifier
from tests.support.vitals import MEGABYTE, WatchedAdapter

COUNT = 50_000
KEYS = {"PatientName": "", "PatientID": "", "StudyDate": "", "StudyDescription": "", "ModalitiesInStudy": "", "StudyInstanceUID": ""}


async def ask(adapter: WatchedAdapter, model: str, level: str) -> tuple[list[str], set[int], Response]:
    """The studies in the order in which they come, the statuses that they come with, and the last response."""
    found, statuses = [], set()
    contexts = [PresentationContext(model, (EXPLICIT,))]
    async with await connect(PeerAddress("GATE", "127.0.0.1", adapter.port), calling_ae_title="WS1", contexts=contexts) as association:
        async for response in association.find(model, identifier(level, **KEYS)):
            if response.pending:
                assert response.data_set is not None
                start = response.data_set.rindex(UID.encode())  # the last element
                found.append(response.data_set[start:].rstrip(b"\0").decode())
                statuses.add(response.status.code)
    return found, statuses, response


@pytest.mark.parametrize(("model", "level"), [(STUDY_ROOT_FIND, "STUDY"), (PATIENT_ROOT_FIND, "PATIENT")])
async def test_fifty_thousand_results_pass_in_the_memory_of_a_few_pages(long: bool, model: str, level: str) -> None:
    count = COUNT if long or level == "STUDY" else COUNT // 5
    async with Catalogue(count) as store, WatchedAdapter(store.url) as adapter:
        before = await adapter.vitals()
        began = time.monotonic()
        found, statuses, last = await ask(adapter, model, level)
        seconds, after = time.monotonic() - began, await adapter.vitals()
        grown = after.peak - before.resident
        print(f"{count} results in {seconds:.1f} s: {grown / MEGABYTE:+.1f} MB; {after}")
        assert found == [f"{UID}.{number}" for number in range(count)]
        assert (last, statuses) == (Response(Status(0)), {0xFF00})
        assert grown < 32 * MEGABYTE  # all of them at once are 400


async def test_a_limit_in_the_middle_of_them_is_told_and_ends_the_searches() -> None:
    limit = 10 * PAGE + 1
    async with Catalogue(COUNT) as store, WatchedAdapter(store.url, spec={"query": {"maxResults": limit}}) as adapter:
        found, _, last = await ask(adapter, STUDY_ROOT_FIND, "STUDY")
        assert found == [f"{UID}.{number}" for number in range(limit)]
        assert last == Response(Status(0xA700, f"More than {limit} matches, the first are sent; search narrower"))
        assert len(store.searches) <= 12  # the page that it ended in, and the one that was asked for meanwhile
        store.count = limit
        found, _, last = await ask(adapter, STUDY_ROOT_FIND, "STUDY")
        assert (len(found), last) == (limit, Response(Status(0)))

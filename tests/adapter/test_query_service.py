"""C-FIND as its requestor sees it: statuses, comments, cancellation, many results, character sets, negotiation, other stores."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from tests.adapter.test_faults import put_token
from tests.support import catalogue, collection
from tests.support.adapter import Adapter
from tests.support.catalogue import Catalogue
from tests.support.google import GoogleIdentity
from tests.support.healthcare import HealthcareApi
from tests.support.querying import Query, findscu
from tests.support.store import FaultStore, Reply, google_error

STUDY_ROOT, PATIENT_ROOT = StudyRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelFind
JSON = "application/json"
UNAVAILABLE = google_error(503, "UNAVAILABLE", "The service is currently unavailable")
ONCE = {"delivery": {"retry": {"maxAttempts": 1}}}
Answered = list[tuple[int, str, Dataset | None]]


def query(level: str | None = "STUDY", **keys: Any) -> Dataset:
    one = Dataset()
    if level is not None:
        one.QueryRetrieveLevel = level
    for keyword, value in {"StudyInstanceUID": "", **keys}.items():
        setattr(one, keyword, value)
    return one


def ask(
    port: int,
    asked: Dataset,
    *,
    model: UID = STUDY_ROOT,
    syntax: UID = ImplicitVRLittleEndian,
    extended: bytes = b"",
    cancel_after: int = 0,
) -> Answered:
    """With pynetdicom: status, comment and identifier of each response."""
    entity = AE("WS1")
    entity.add_requested_context(model, syntax)
    entity.add_requested_context(Verification)
    items: list[Any] = []
    if extended:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = model, extended
        items.append(item)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        association = entity.associate("127.0.0.1", port, ae_title="GATE", ext_neg=items)
        assert association.is_established
        found: Answered = []
        for status, identifier in association.send_c_find(asked, model, msg_id=7):
            found.append((int(status.Status), str(status.get("ErrorComment", "")), identifier))
            if len(found) == cancel_after:
                association.send_c_cancel(7, query_model=model)
        assert association.send_c_echo().Status == 0, "the association is usable"
        association.release()
    return found


async def asking(adapter: Adapter, asked: Dataset, **options: Any) -> Answered:
    return await asyncio.to_thread(lambda: ask(adapter.port, asked, **options))


def last(found: Answered) -> tuple[int, str]:
    return found[-1][:2]


# -- statuses --------------------------------------------------------------------------------------


async def test_a_query_without_a_level_and_one_while_the_store_is_unavailable() -> None:
    async with FaultStore() as store, Adapter(store.url, spec=ONCE) as adapter:
        assert last(await asking(adapter, query(None))) == (0xA900, "No QueryRetrieveLevel specified")
        line = await adapter.line("C-FIND from 'WS1' failed: A900 No QueryRetrieveLevel specified")
        assert line["severity"] == "WARNING"
        assert last(await asking(adapter, query("PATIENT"))) == (0xA900, "Invalid QueryRetrieveLevel specified")
        store.search_reply = Reply(503, UNAVAILABLE, JSON)
        assert last(await asking(adapter, query(PatientName="CANARY*"))) == (
            0xA700,
            "Http_503, UNAVAILABLE, The service is currently unavailable",
        )
        line = await adapter.line("C-FIND from 'WS1' failed: A700 Http_503, UNAVAILABLE, The service is currently unavailable")
        assert line["severity"] == "WARNING"
        await adapter.store_becomes("Unreachable")
        assert "CANARY" not in str(adapter.lines)


REFUSALS = {
    (0x0124, "Http_401, UNAUTHENTICATED, Request had invalid credentials"): Reply(
        401, google_error(401, "UNAUTHENTICATED", "Request had invalid credentials"), JSON
    ),
    (0x0124, "Http_403, PERMISSION_DENIED, no"): Reply(403, google_error(403, "PERMISSION_DENIED", "no"), JSON),
    (0xA700, "Http_429, Too Many Requests, slow down"): Reply(429, "slow down", "text/plain"),
    (0xC000, "Http_400, INVALID_ARGUMENT, what?"): Reply(400, google_error(400, "INVALID_ARGUMENT", "what?"), JSON),
    (0xC000, "Http_404, NOT_FOUND, dicomStore not found"): Reply(404, google_error(404, "NOT_FOUND", "dicomStore not found"), JSON),
    (0xA700, "The store sends a search result that is no list of data sets"): Reply(200, "{}", JSON),
}


async def test_what_the_store_answers_instead_of_a_result() -> None:
    async with FaultStore() as store, Adapter(store.url, spec=ONCE) as adapter:
        for (status, comment), reply in REFUSALS.items():
            store.search_reply = reply
            assert await asking(adapter, query(StudyDate="20260101-")) == [(status, comment, None)]


async def test_a_store_that_stumbles_is_asked_again() -> None:
    quick = {"delivery": {"retry": {"initialDelayMilliseconds": 10, "maxDelayMilliseconds": 20}}}
    async with Catalogue(3) as store, Adapter(store.url, spec=quick) as adapter:
        store.script.extend([Reply(503, UNAVAILABLE, JSON), Reply(429, "", JSON)])
        assert [status for status, _, _ in await asking(adapter, query())] == [0xFF00] * 3 + [0]
        assert not store.script


async def test_a_store_that_is_not_there() -> None:
    async with Adapter("http://127.0.0.1:9/dicom-web", spec=ONCE) as adapter:
        assert last(await asking(adapter, query())) == (0xA700, "Unreachable, 127.0.0.1:9 refused the connection")


# -- many results ----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [5000, 300])
async def test_thousands_of_results_come_in_the_stores_order_to_the_end(most: int) -> None:
    async with Catalogue(6001, most=most) as store, Adapter(store.url) as adapter:
        found = await asking(adapter, query(PatientID=""), syntax=ExplicitVRLittleEndian)
        assert last(found) == (0, "")
        assert [one.PatientID for _, _, one in found if one] == [f"P{number:06}" for number in range(6001)]


async def test_a_limit_is_told_and_never_silent() -> None:
    async with Catalogue(12) as store, Adapter(store.url, spec={"query": {"maxResults": 10}}) as adapter:
        found = await asking(adapter, query())
        assert [status for status, _, _ in found] == [0xFF00] * 10 + [0xA700]
        assert found[-1][1] == "More than 10 matches, the first are sent; search narrower"
        store.count = 10
        assert last(await asking(adapter, query())) == (0, "")


async def test_a_cancelled_query_ends_its_request_to_the_store_and_nothing_else() -> None:
    async with Catalogue(5000, stuck=1) as store, Adapter(store.url) as adapter:
        found = await asking(adapter, query(), cancel_after=2)
        assert last(found) == (0xFE00, "")
        await store.until(lambda: store.given_up > 0 and store.under_way == 0)
        store.stuck = None
        store.count = 3
        assert [status for status, _, _ in await asking(adapter, query())] == [0xFF00] * 3 + [0]
        assert not [line for line in adapter.lines if "failed" in line["message"]]


async def test_a_requestor_that_goes_away_ends_the_request_as_well() -> None:
    async with Catalogue(5000, stuck=0) as store, Adapter(store.url) as adapter:
        command = ("findscu", "-S", "-aet", "WS1", "-aec", "GATE", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1", str(adapter.port))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        await store.until(lambda: store.under_way > 0)
        process.kill()
        await process.wait()
        await store.until(lambda: store.given_up > 0 and store.under_way == 0)


# -- how it is asked, and answered -----------------------------------------------------------------


async def test_every_transfer_syntax() -> None:
    async with Catalogue(2) as store, Adapter(store.url) as adapter:
        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            asked = query(PatientName="", NumberOfStudyRelatedInstances="", ModalitiesInStudy="")
            found = await asking(adapter, asked, syntax=syntax)
            assert last(found) == (0, "")
            first = found[0][2]
            assert first is not None
            assert (first.StudyInstanceUID, first.PatientName) == (f"{catalogue.UID}.0", "Doe^Jane^0")
            assert (first.NumberOfStudyRelatedInstances, list(first.ModalitiesInStudy)) == (512, ["CT", "SR"])
            assert (first.QueryRetrieveLevel, first.RetrieveAETitle) == ("STUDY", "GATE")


async def test_names_come_in_the_requestors_character_set_when_it_holds_them() -> None:
    async with Catalogue(1) as store, Adapter(store.url) as adapter:
        for asked, answered in {"": "ISO_IR 192", "ISO_IR 100": "ISO_IR 100", "ISO_IR 138": "ISO_IR 192"}.items():
            keys = {"SpecificCharacterSet": asked} if asked else {}
            first = (await asking(adapter, query(ReferringPhysicianName="", **keys)))[0][2]
            assert first is not None
            assert (first.SpecificCharacterSet, str(first.ReferringPhysicianName)) == (answered, "Größer^Änne")


async def test_only_what_was_asked_for_is_answered() -> None:
    async with Catalogue(1) as store, Adapter(store.url) as adapter:
        first = (await asking(adapter, query(PatientComments="", InstanceAvailability="")))[0][2]
        assert first is not None
        names = {element.keyword: element.value for element in first}
        assert names == {
            "QueryRetrieveLevel": "STUDY",
            "RetrieveAETitle": "GATE",
            "InstanceAvailability": "ONLINE",
            "PatientComments": "",
            "StudyInstanceUID": f"{catalogue.UID}.0",
        }


async def test_fuzzy_names_are_asked_for_when_configured_and_when_negotiated() -> None:
    async with Catalogue(1) as store:
        async with Adapter(store.url) as adapter:
            await asking(adapter, query(PatientName="Doe"))
            assert not any("fuzzymatching" in path for _, path, _ in store.requests)
            await asking(adapter, query(PatientName="Doe"), extended=b"\1\1\1")
            assert any("fuzzymatching=true" in path for _, path, _ in store.requests)
        store.requests.clear()
        async with Adapter(store.url, spec={"query": {"fuzzyMatching": True}}) as adapter:
            await asking(adapter, query(PatientName="Doe"))
            assert any("fuzzymatching=true" in path for _, path, _ in store.requests)


# -- a store of Cloud Healthcare -------------------------------------------------------------------


@asynccontextmanager
async def healthcare(**spec: Any) -> AsyncIterator[tuple[HealthcareApi, Adapter]]:
    """The double, which matches exactly and refuses what it does not match by, with all instances of the collection."""
    token = {"credentials": {"bearerTokenSecret": {"name": "token"}, "allowInsecure": True}}
    async with GoogleIdentity() as identity, HealthcareApi(identity) as api:
        for content in collection.instances():
            api.instances.take(content)
        async with Adapter(api.url, spec={**token, **spec}, wait=False) as adapter:
            put_token(adapter, identity)
            await adapter.ready()
            yield api, adapter


def expected(keyword: str, matches: Callable[[Dataset], bool]) -> list[str]:
    """What is in the collection."""
    return sorted({str(one.get(keyword, "")) for one in collection.data_sets() if matches(one)})


HEALTHCARE: Mapping[str, tuple[Query, Callable[[Dataset], bool]]] = {
    "an attribute that it refuses to search by": (
        Query("-S", "STUDY", ("StudyInstanceUID", "StudyDescription=*hest*")),
        lambda one: "hest" in one.get("StudyDescription", ""),
    ),
    "the same beside one that it takes": (
        Query("-S", "STUDY", ("StudyInstanceUID", "StudyDescription=C*", "StudyDate=20260101-20260110")),
        lambda one: one.get("StudyDescription", "").startswith("C") and "20260101" <= one.StudyDate <= "20260110",
    ),
    "a name with a wildcard": (
        Query("-S", "STUDY", ("StudyInstanceUID", "PatientName=doe^*")),
        lambda one: str(one.PatientName).lower().startswith("doe^"),
    ),
    "a list of UIDs": (
        Query("-S", "STUDY", (f"StudyInstanceUID={collection.study_uid(1)}\\{collection.study_uid(4)}",)),
        lambda one: one.StudyInstanceUID in (collection.study_uid(1), collection.study_uid(4)),
    ),
    "patients": (Query("-P", "PATIENT", ("PatientID", "PatientName")), lambda one: True),
    "series with a sequence": (
        Query("-S", "SERIES", ("SeriesInstanceUID", "RequestAttributesSequence[0].ScheduledProcedureStepID=STEP-2")),
        lambda one: "RequestAttributesSequence" in one and one.RequestAttributesSequence[0].ScheduledProcedureStepID == "STEP-2",
    ),
    "every image": (Query("-S", "IMAGE", ("SOPInstanceUID", "InstanceNumber")), lambda one: True),
    "images by a number": (
        Query("-S", "IMAGE", ("SOPInstanceUID", "InstanceNumber=59")),
        lambda one: str(one.InstanceNumber) == "59",
    ),
    "two modalities": (
        Query("-S", "SERIES", ("SeriesInstanceUID", "Modality=US\\PT")),
        lambda one: one.Modality in ("US", "PT"),
    ),
}


async def test_a_store_that_matches_exactly_and_refuses_the_rest_finds_what_is_there() -> None:
    async with healthcare() as (_, adapter):
        for name, (asked, matches) in HEALTHCARE.items():
            found = await asyncio.to_thread(findscu, adapter.port, asked)
            assert (found.status, found.partial) == ("Success", 0), (name, found.text)
            keyword = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
            unique = keyword[asked.level]
            assert sorted({str(one.get(unique)) for one in found.data_sets}) == expected(unique, matches), name


async def test_what_such_a_store_neither_matches_nor_tells_is_said_to_be_left_out() -> None:
    async with healthcare() as (_, adapter):
        asked = Query("-S", "STUDY", ("StudyInstanceUID", "ModalitiesInStudy=PT"))
        found = await asyncio.to_thread(findscu, adapter.port, asked)
        assert (found.status, len(found.data_sets), found.partial) == ("Success", len(collection.STUDIES), len(collection.STUDIES))

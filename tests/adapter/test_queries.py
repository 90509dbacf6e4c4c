"""C-FIND over the wire, on a store with 302 instances: each query is also put to Orthanc's own C-FIND and to dcmtk's archive, dcmqrscp, and
compared key by key.

What differs is in tables of docs/query-retrieve.md, which are read here: a difference that they do not list fails, and so does a row that
is none any more. dcmqrscp has a second table, of the attributes that it never tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.adapter.dimse.peers import data_set_of, dcmtk, storescp
from tests.adapter.test_query_service import asking
from tests.adapter.test_query_service import query as identifier
from tests.support import collection
from tests.support.adapter import Adapter, run
from tests.support.dcmqrscp import TITLE, Dcmqrscp
from tests.support.dicom import split
from tests.support.orthanc import Orthanc
from tests.support.querying import UNIQUE, Found, Query, asked, findscu, shown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "query-retrieve.md"
UTF_8 = "SpecificCharacterSet=ISO_IR 192"
STUDY = (
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyDescription",
    "ModalitiesInStudy",
)
SERIES = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined")
IMAGE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber")
FIRST, JAPAN, MULTI, BINARY = (collection.study_uid(number) for number in (0, 3, 6, 8))


def study(*keys: str, model: str = "-S") -> Query:
    """At STUDY level, with the usual return keys."""
    named = {key.partition("=")[0] for key in keys}
    return Query(model, "STUDY", (*keys, *(key for key in STUDY if key not in named)))


def series(*keys: str, model: str = "-S") -> Query:
    named = {key.partition("=")[0].partition("[")[0] for key in keys}
    return Query(model, "SERIES", (*keys, *(key for key in SERIES if key not in named)))


def image(*keys: str, model: str = "-S") -> Query:
    named = {key.partition("=")[0] for key in keys}
    return Query(model, "IMAGE", (*keys, *(key for key in IMAGE if key not in named)))


QUERIES = {
    # universal matching, every level and model
    "all studies": study(UTF_8, "ReferringPhysicianName", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyID"),
    "all studies, patient root": study(UTF_8, "PatientBirthDate", "PatientSex", model="-P"),
    "all patients": Query("-P", "PATIENT", (UTF_8, "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")),
    "all patients, patient/study only": Query("-O", "PATIENT", (UTF_8, "PatientID", "PatientName")),
    "all studies, patient/study only": study(UTF_8, model="-O"),
    "counts of a patient": Query("-P", "PATIENT", ("PatientID=JP-1", "NumberOfPatientRelatedStudies")),
    "all series": series(UTF_8, "NumberOfSeriesRelatedInstances"),
    "all instances": image(),
    "a star is universal matching": study("PatientName=*", "AccessionNumber=*", UTF_8),
    # hierarchical
    "series of a study": series(f"StudyInstanceUID={MULTI}"),
    "series of a study, patient root": series("PatientID=MULTI-1", f"StudyInstanceUID={MULTI}", model="-P"),
    "instances of a series": image(f"StudyInstanceUID={FIRST}", f"SeriesInstanceUID={FIRST}.2"),
    "one instance": image(f"StudyInstanceUID={FIRST}", f"SeriesInstanceUID={FIRST}.2", f"SOPInstanceUID={FIRST}.2.7", "ImageType", "Rows"),
    "one instance, patient root": image(
        "PatientID=LATIN-1", f"StudyInstanceUID={FIRST}", f"SeriesInstanceUID={FIRST}.1", f"SOPInstanceUID={FIRST}.1.40", model="-P"
    ),
    # relational
    "instances of a patient": image("PatientID=KR-1", "PatientName", UTF_8),
    "series by a date of the study": series("StudyDate=20260212", "StudyDescription", UTF_8),
    "instances of a modality": image("Modality=PT"),
    # single value
    "a patient by ID": study("PatientID=EMPTY-1"),
    "an accession number": study("AccessionNumber=A-1002"),
    "a name in full": study("PatientName=Hong^Gildong", UTF_8),
    "a name in other letters": study("PatientName=doe^jane*"),
    "a name beyond ASCII, in Latin-1": study("SpecificCharacterSet=ISO_IR 100", "PatientName=M\udcfcller*"),
    "a name beyond ASCII, in UTF-8": study(UTF_8, "PatientName=Müller^Jürgen"),
    "a name beyond Latin-1": study(UTF_8, "PatientName=Łukasiewicz*"),
    "an ideographic name": study(UTF_8, "PatientName=*山田*"),
    "a phonetic name": study(UTF_8, "PatientName=*홍^길동*"),
    "a description with blanks": study("StudyDescription=MR Knie links"),
    "a number": image(f"StudyInstanceUID={FIRST}", "InstanceNumber=7"),
    "no such patient": study("PatientID=NOBODY"),
    "a value that the study has in two series": study("ModalitiesInStudy=PT"),
    "a patient of one issuer": Query("-P", "PATIENT", ("PatientID=LATIN-1", "IssuerOfPatientID=Haus A", "PatientName")),
    "a modality at study level": study("Modality=CT"),
    "one of several values": image("ImageType=AXIAL", f"SeriesInstanceUID={FIRST}.2"),
    # lists
    "a list of studies": study(f"StudyInstanceUID={FIRST}\\{JAPAN}\\1.2.3", UTF_8),
    "a list of instances": image("SOPInstanceUID=" + "\\".join(f"{FIRST}.1.{number}" for number in range(1, 31))),
    "a list of series in two studies": series(f"SeriesInstanceUID={FIRST}.1\\{MULTI}.2"),
    "two modalities": study("ModalitiesInStudy=CT\\MR", UTF_8),
    "two accession numbers": study("AccessionNumber=A-1001\\J-1"),
    # wildcards
    "a beginning": study("PatientID=MULTI*"),
    "an end": study("PatientID=*-1", UTF_8),
    "in the middle": study("AccessionNumber=A?1002"),
    "one letter": study("StudyDescription=Ches?"),
    "a star within a value": study("StudyDescription=PET/CT *"),
    # ranges
    "a range of dates": study("StudyDate=20260101-20260212", UTF_8),
    "from a date on": study("StudyDate=20260302-", UTF_8),
    "up to a date": study("StudyDate=-20251231"),
    "a range of times": study("StudyTime=080000-100000", UTF_8),
    "a range of dates and one of times": study("StudyDate=20260212-20260301", "StudyTime=090000-100000", UTF_8),
    "a birthday": study("PatientBirthDate=19620315", UTF_8),
    # sequences, private and binary attributes
    "a sequence": series(f"StudyInstanceUID={MULTI}", "RequestAttributesSequence[0].ScheduledProcedureStepID=STEP-1"),
    "a sequence to return": series(f"StudyInstanceUID={MULTI}", "RequestAttributesSequence"),
    "a code": study("ProcedureCodeSequence[0].CodeValue=44139-4"),
    "binary attributes": image("PatientID=BIN-1", "SelectorFDValue", "RedPaletteColorLookupTableData"),
    "a retired attribute": image("PatientID=BIN-1", "RETIRED_ImageDimensions"),
    "a private attribute": image("PatientID=BIN-1", "(0009,1003)"),
}


@dataclass(frozen=True)
class Nodes:
    """The archives with the collection, the adapter before one of them, and a workstation that takes images into a directory."""

    orthanc: Orthanc
    dcmqrscp: Dcmqrscp
    adapter: Adapter
    directory: Path


@pytest.fixture(scope="module")
def workstation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    directory = tmp_path_factory.mktemp("workstation") / "got"
    with storescp(directory) as port:
        yield port, directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(workstation: tuple[int, Path]) -> AsyncIterator[Nodes]:
    port, directory = workstation
    peers = {"peers": [{"aeTitle": "WS1", "host": "127.0.0.1", "port": port}]}
    with (
        Orthanc(dicom=True, peers={"WS1": 4000}, encoding="Utf8") as orthanc,
        Dcmqrscp(collection.instances(), {"WS1": port}) as dcmqrscp,
    ):
        for instance in collection.instances():
            orthanc.take(instance)
        async with Adapter(orthanc.dicomweb_url, spec=peers) as adapter:
            yield Nodes(orthanc, dcmqrscp, adapter, directory)


def differences(name: str, query: Query, ours: Found, theirs: Found) -> set[tuple[str, str, str, str]]:
    """Query, attribute (or `results`), what the other says and what we say."""
    unique = UNIQUE[query.level]
    if query.level == "PATIENT":
        mine, its = ours.data_sets, theirs.data_sets
        if len(mine) != len(its):
            return {(name, "results", str(len(its)), str(len(mine)))}
    here, there = ours.by(unique), theirs.by(unique)
    if len(ours.data_sets) != len(theirs.data_sets) or set(here) != set(there):
        return {(name, "results", str(len(theirs.data_sets)), str(len(ours.data_sets)))}
    found = set()
    for keyword in asked(query):
        if keyword == "SpecificCharacterSet":
            continue
        for key in here:
            one, other = shown(here[key], keyword), shown(there[key], keyword)
            if one != other:
                found.add((name, keyword, "with a value" if other else "empty", "with a value" if one else "empty"))
    return found


def table(heading: str) -> list[list[str]]:
    """The rows of the table in a section of the page."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n#")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("| ").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return rows[2:]


def documented(heading: str) -> set[tuple[str, str, str, str]]:
    """Its differences."""
    return {(row[0], row[1], row[2], row[3]) for row in table(heading)}


def compare(found: set[tuple[str, str, str, str]], listed: set[tuple[str, str, str, str]]) -> None:
    """They are the same."""
    assert not found - listed, "not in docs/query-retrieve.md: " + "; ".join(" | ".join(row) for row in sorted(found - listed))
    assert not listed - found, f"in docs/query-retrieve.md, and no difference any more: {sorted(listed - found)}"


@pytest.mark.asyncio(loop_scope="module")
async def test_every_query_is_answered_as_the_others_answer_it_but_for_what_the_documentation_lists(nodes: Nodes) -> None:
    orthancs, dcmtks, untold = set(), set(), {row[0] for row in table("What dcmqrscp never tells")}
    seen = set()
    for name, query in QUERIES.items():
        known = replace(query, model="-P") if query.model == "-O" else query  # Orthanc has no Patient/Study Only
        ours, orthanc, dcmqrscp = await asyncio.gather(
            asyncio.to_thread(findscu, nodes.adapter.port, query),
            asyncio.to_thread(findscu, nodes.orthanc.dicom_port, known, called="ORTHANC"),
            asyncio.to_thread(findscu, nodes.dcmqrscp.port, query, called=TITLE),
        )
        for answered in (ours, orthanc, dcmqrscp):
            assert answered.status == "Success", (name, answered.text)
        orthancs |= differences(name, query, ours, orthanc)
        for difference in differences(name, query, ours, dcmqrscp):
            if difference[1] in untold and difference[2:] == ("empty", "with a value"):
                seen.add(difference[1])
            else:
                dcmtks.add(difference)
    compare(orthancs, documented("Where Orthanc's own C-FIND answers otherwise"))
    compare(dcmtks, documented("Where dcmtk's archive answers otherwise"))
    assert seen == untold


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("character_set", "pattern", "number"),
    [
        ("ISO_IR 100", "Mü*", 0),
        ("ISO_IR 192", "Łuk*", 2),
        (["", "ISO 2022 IR 87"], "*山田*", 3),
        (["", "ISO 2022 IR 149"], "*洪*", 4),
    ],
)
async def test_names_are_asked_for_and_answered_in_the_workstations_character_set(
    nodes: Nodes, character_set: str | list[str], pattern: str, number: int
) -> None:
    asked = identifier(SpecificCharacterSet=character_set, PatientName=pattern)
    *found, (status, _, _) = await asking(nodes.adapter, asked)
    studies = {str(one.StudyInstanceUID): one for _, _, one in found if one is not None}
    name = collection.STUDIES[number].attributes["PatientName"]
    assert status == 0
    assert studies[collection.study_uid(number)].SpecificCharacterSet == character_set
    assert {str(one.PatientName) for one in studies.values()} == {name}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("combined", [False, True])
async def test_a_range_of_dates_with_one_of_times_is_one_range_where_that_was_negotiated(nodes: Nodes, combined: bool) -> None:
    asked = identifier(StudyDate="20260105-20260212", StudyTime="0900-1000")
    *found, (status, _, _) = await asking(nodes.adapter, asked, extended=b"\1\1" if combined else b"\1\0")
    moments = [(one.attributes["StudyDate"], one.attributes["StudyTime"]) for one in collection.STUDIES]
    if combined:
        wanted = [("20260105", "090000") <= moment <= ("20260212", "100000") for moment in moments]
    else:
        wanted = ["20260105" <= date <= "20260212" and "090000" <= time <= "100000" for date, time in moments]
    assert status == 0
    assert {str(one.StudyInstanceUID) for _, _, one in found if one} == {collection.study_uid(n) for n, is_in in enumerate(wanted) if is_in}
    assert sum(wanted) > 0


# -- retrieving ------------------------------------------------------------------------------------

CHOSEN = {"PatientID": "LATIN-1", "StudyInstanceUID": FIRST, "SeriesInstanceUID": f"{FIRST}.2", "SOPInstanceUID": f"{FIRST}.2.7"}
LEVELS = {"PATIENT": 102, "STUDY": 60, "SERIES": 20, "IMAGE": 1}
MODELS = {"-P": tuple(LEVELS), "-S": tuple(LEVELS)[1:], "-O": tuple(LEVELS)[:2]}


def keys(model: str, level: str) -> list[str]:
    """The unique keys down to a level, as dcmtk's tools take them."""
    depth = list(LEVELS).index(level)
    chosen = [f"{keyword}={value}" for number, (keyword, value) in enumerate(CHOSEN.items()) if (model == "-S") <= number <= depth]
    return [word for key in (f"QueryRetrieveLevel={level}", *chosen) for word in ("-k", key)]


async def scu(tool: str, port: int, called: str, *words: str) -> str:
    """What movescu or getscu prints."""
    _, out, err = await run(
        dcmtk(tool), "-v", *words, "-aet", "WS1", "-aec", called, "127.0.0.1", str(port), environment={"TCP_NODELAY": "1"}
    )
    return out + err


def taken(directory: Path) -> dict[str, bytes]:
    """The data sets of the files in a directory, which go."""
    found = {}
    for file in directory.iterdir():
        found[str(split(file.read_bytes())[0].MediaStorageSOPInstanceUID)] = data_set_of(file)
        file.unlink()
    return found


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("model", "level"), [(model, level) for model, levels in MODELS.items() for level in levels])
async def test_movescu_and_getscu_bring_what_they_bring_from_dcmtks_archive(nodes: Nodes, tmp_path: Path, model: str, level: str) -> None:
    stored = {str(split(content)[0].MediaStorageSOPInstanceUID): split(content)[1] for content in collection.instances()}
    for tool, directory, options in (("movescu", nodes.directory, ["-aem", "WS1"]), ("getscu", tmp_path, ["+B", "-od", str(tmp_path)])):
        words = (model, *keys(model, level), *options)
        printed = await scu(tool, nodes.dcmqrscp.port, TITLE, *words)
        theirs = taken(directory)
        assert len(theirs) == LEVELS[level], (tool, printed[-2000:])
        printed = await scu(tool, nodes.adapter.port, "GATE", *words)
        ours = taken(directory)
        assert set(ours) == set(theirs), (tool, printed[-2000:])
        if tool == "movescu":
            assert ours == {uid: stored[uid] for uid in theirs}

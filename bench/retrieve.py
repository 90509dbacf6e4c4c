"""Queries beside what they are made of: C-FIND of many studies, and the bare search (QIDO-RS) of the same pages.

    python -m bench.retrieve [--only find] [--studies 5000] [--rounds 3]

(find) asks for every study with twelve return keys, of Orthanc and of a store that answers at once, or after 50 ms. The bare search is a
loop over the same pages with the same parameters, which reads the answers and looks at nothing. Beside the time: the adapter's peak of
memory.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from bench.load import receivers
from bench.load.process import Process, python
from dicom_adapter.dimse import Limits, PeerAddress, PresentationContext, connect
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from dicom_adapter.services.query.capabilities import PAGE
from tests.support import catalogue, collection
from tests.support.orthanc import Orthanc

RETURNED = (
    "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "StudyDescription", "PatientName", "PatientID", "PatientBirthDate",
    "PatientSex", "StudyInstanceUID", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip
AIM, MEMORY_AIM = 1.5, 150


@dataclass(frozen=True, slots=True)
class Store:
    """Something to search in."""

    name: str
    url: str


@contextmanager
def started(process: Process) -> Iterator[int]:
    """Its port, while it runs."""
    try:
        yield int(process.answer())
    finally:
        process.end()


@contextmanager
def orthanc(studies: int) -> Iterator[Store]:
    """Orthanc with so many studies of one image each."""
    with Orthanc(encoding="Utf8") as archive:
        one = next(collection.data_sets())
        for number in range(studies):
            told = catalogue.study(number)
            one.StudyInstanceUID, one.SeriesInstanceUID = (UID(f"{catalogue.UID}.{number}{end}") for end in ("", ".1"))
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"{catalogue.UID}.{number}.1.1")
            one.PatientID, one.AccessionNumber = told["00100020"]["Value"][0], told["00080050"]["Value"][0]
            one.PatientName, one.StudyDate = told["00100010"]["Value"][0]["Alphabetic"], told["00080020"]["Value"][0]
            archive.take(collection.part10(one))
        yield Store("Orthanc", archive.dicomweb_url)


@contextmanager
def made_up(studies: int, milliseconds: int) -> Iterator[Store]:
    """A store that answers after so many milliseconds."""
    with started(Process(python("bench.load.catalogue", str(studies), str(milliseconds)))) as port:
        yield Store(f"answers in {milliseconds} ms", f"http://127.0.0.1:{port}/dicom-web")


def bare(store: Store, tags: Sequence[str]) -> tuple[float, int]:
    """Seconds for all pages one after the other, and their bytes."""
    parts = urlsplit(store.url)
    connection = http.client.HTTPConnection(parts.netloc)
    fields = "&".join(f"includefield={tag}" for tag in tags)
    began, size, offset = time.monotonic(), 0, 0
    while True:
        connection.request("GET", f"{parts.path}/studies?{fields}&limit={PAGE}&offset={offset}")
        body = connection.getresponse().read()
        if body.strip() in (b"[]", b""):
            return time.monotonic() - began, size
        size, offset = size + len(body), offset + PAGE


def identifier() -> tuple[bytes, list[str]]:
    """The query, and the tags that it asks for."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword in RETURNED:
        setattr(query, keyword, "")
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, query)
    return bytes(buffer.getvalue()), [f"{element.tag:08X}" for element in query if element.keyword != "QueryRetrieveLevel"]


async def query(port: int, asked: bytes) -> tuple[float, int, float]:
    """Seconds to the last response, how many there were, and seconds to the first."""
    context = PresentationContext(STUDY_ROOT_FIND, (ExplicitVRLittleEndian, ImplicitVRLittleEndian))
    address = PeerAddress("SINK", "127.0.0.1", port)
    async with await connect(address, calling_ae_title="WS1", contexts=[context], limits=Limits()) as association:
        began, count, first = time.monotonic(), 0, 0.0
        async for response in association.find(STUDY_ROOT_FIND, asked):
            first = first or time.monotonic() - began
            count += response.pending
        return time.monotonic() - began, count, first


def find(arguments: argparse.Namespace) -> None:
    """C-FIND beside the bare search."""
    asked, tags = identifier()
    print(f"\n(find) C-FIND of {arguments.studies} studies, {len(RETURNED)} return keys, pages of {PAGE}")
    print(f"{'store':<20} {'bare QIDO s':>12} {'C-FIND s':>10} {'ratio':>7} {'first ms':>9} {'results':>8} {'peak MB':>8}")
    stores: Sequence[Callable[[], object]] = (
        lambda: orthanc(arguments.studies), lambda: made_up(arguments.studies, 0), lambda: made_up(arguments.studies, 50),
    )  # fmt: skip
    for start in stores:
        with start() as store, tempfile.TemporaryDirectory() as directory:  # type: ignore[attr-defined]
            adapter, port = receivers.adapter(Path(directory), store.url)
            try:
                rounds = []
                for _ in range(arguments.rounds + 1):  # the first warms up
                    seconds, _ = bare(store, tags)
                    taken, count, first = asyncio.run(query(port, asked))
                    rounds.append((seconds, taken, first))
                peak = adapter.peak_bytes() / 1e6
            finally:
                adapter.end()
            plain, taken, first = (statistics.median(values) for values in zip(*rounds[1:], strict=True))
            print(f"{store.name:<20} {plain:>12.2f} {taken:>10.2f} {taken / plain:>7.2f} {first * 1000:>9.0f} {count:>8} {peak:>8.0f}")
    print(f"aims: at most {AIM} times the bare search, and {MEMORY_AIM} MB")


PARTS = {"find": find}


def main(words: Sequence[str]) -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(words)
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])

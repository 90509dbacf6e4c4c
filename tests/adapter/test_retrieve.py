"""C-MOVE and C-GET through the adapter's process, asked for by dcmtk's movescu and getscu and by pynetdicom, from both kinds of store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # type: ignore[attr-defined]

from tests.adapter.dimse.peers import data_set_of, dcmtk, storescp
from tests.adapter.test_faults import put_token
from tests.support import canaries
from tests.support.adapter import Adapter, run
from tests.support.dicom import split, write_samples
from tests.support.google import GoogleIdentity
from tests.support.healthcare import HealthcareApi
from tests.support.orthanc import Orthanc, free_port

ROOTS = {"patient": "-P", "study": "-S"}
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
GOOGLE = {"credentials": {"bearerTokenSecret": {"name": "token"}, "allowInsecure": True}, "logLevel": "Debug"}


@dataclass(frozen=True)
class Image:
    """What the store holds."""

    patient: str
    study: str
    series: str
    uid: str
    syntax: str
    data_set: bytes

    @property
    def keys(self) -> dict[str, str]:
        return {"PATIENT": self.patient, "STUDY": self.study, "SERIES": self.series, "IMAGE": self.uid}


def image(content: bytes) -> Image:
    """What a Part 10 file holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
    meta, data_set = split(content)
    patient, study, series, uid = (str(head[keyword].value) for keyword in KEYS)
    return Image(patient, study, series, uid, meta.TransferSyntaxUID, data_set)


def images(directory: Path) -> list[bytes]:
    """One of each kind that a hospital sends, each in a study of its own, and a study of two CT series."""
    found = [path.read_bytes() for path in write_samples(directory)]
    study = pydicom.uid.generate_uid()
    for series in (pydicom.uid.generate_uid(), pydicom.uid.generate_uid()):
        found += [ct(study, series) for _ in range(6)]
    return found


def ct(study: str, series: str, pixels: int = 2048) -> bytes:
    """A small CT image, explicit VR little endian."""
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.Modality, image.PatientName, image.PatientID = "CT", canaries.PATIENT["PatientName"], canaries.PATIENT["PatientID"]
    image.Rows, image.Columns, image.BitsAllocated, image.BitsStored, image.HighBit = 1, pixels // 2, 16, 16, 15
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.PixelData = os.urandom(pixels)
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def orthanc(contents: list[bytes]) -> Iterator[Orthanc]:
    with Orthanc() as server:
        for content in contents:
            server.take(content)
        yield server


@contextlib.asynccontextmanager
async def healthcare(contents: list[bytes], **spec: Any) -> AsyncIterator[tuple[Adapter, HealthcareApi]]:
    """An adapter in front of a store of Google's that holds these images."""
    async with GoogleIdentity() as identity, HealthcareApi(identity) as api:
        for content in contents:
            api.instances.take(content)
        async with Adapter(api.url, spec=GOOGLE | spec, wait=False) as adapter:
            put_token(adapter, identity)
            await adapter.ready()
            yield adapter, api


@contextlib.asynccontextmanager
async def in_front_of(store: str, orthanc: Orthanc, contents: list[bytes], **spec: Any) -> AsyncIterator[Adapter]:
    """An adapter in front of either store."""
    if store == "orthanc":
        async with Adapter(orthanc.dicomweb_url, spec=spec) as adapter:
            yield adapter
    else:
        async with healthcare(contents, **spec) as (adapter, _):
            yield adapter


def peer(port: int, title: str = "WS1") -> dict[str, Any]:
    return {"peers": [{"aeTitle": title, "host": "127.0.0.1", "port": port}]}


async def movescu(adapter: Adapter, root: str, level: str, keys: dict[str, str], to: str = "WS1") -> str:
    return await _scu("movescu", adapter, root, level, keys, "-aem", to)


async def _scu(tool: str, adapter: Adapter, root: str, level: str, keys: dict[str, str], *options: str) -> str:
    asked = [part for keyword, value in {"QueryRetrieveLevel": level, **keys}.items() for part in ("-k", f"{keyword}={value}")]
    arguments = (dcmtk(tool), "-d", ROOTS[root], *asked, *options, "-aet", "CALLER", "-aec", "GATE", "127.0.0.1", str(adapter.port))
    _, out, err = await run(*arguments, environment={"TCP_NODELAY": "1"})
    return out + err


def keys_of(level: str, root: str, one: Image) -> dict[str, str]:
    """The unique keys of a level and those above it."""
    every = {"PatientID": one.patient, "StudyInstanceUID": one.study, "SeriesInstanceUID": one.series, "SOPInstanceUID": one.uid}
    depth = LEVELS.index(level)
    return {keyword: value for number, (keyword, value) in enumerate(every.items()) if (root == "study") <= number <= depth}


def below(level: str, one: Image, every: Sequence[Image]) -> dict[str, bytes]:
    """The data sets that a retrieval of a level has to bring."""
    return {other.uid: other.data_set for other in every if other.keys[level] == one.keys[level]}


def received(directory: Path) -> dict[str, bytes]:
    """The data sets of the files in a directory, by SOP Instance UID."""
    return {image(path.read_bytes()).uid: data_set_of(path) for path in directory.iterdir()}


CASES = [(root, level) for root in ROOTS for level in LEVELS if (root, level) != ("study", "PATIENT")]


@pytest.mark.parametrize("store", ["healthcare", "orthanc"])
async def test_movescu_brings_what_the_store_has(store: str, orthanc: Orthanc, contents: list[bytes], tmp_path: Path) -> None:
    every = [image(content) for content in contents]
    with storescp(tmp_path / "got", "+xa") as port:
        async with in_front_of(store, orthanc, contents, **peer(port)) as adapter:
            for root, level in CASES:
                wanted = below(level, every[-1], every)
                printed = await movescu(adapter, root, level, keys_of(level, root, every[-1]))
                files = list((tmp_path / "got").iterdir())
                got = received(tmp_path / "got")
                assert len(files) == len(got) == len(wanted), (root, level, printed[-3000:])
                assert got == wanted, (root, level)
                for file in files:
                    file.unlink()
            assert [line for line in adapter.lines if line["severity"] not in ("INFO", "DEBUG")] == []


@pytest.mark.parametrize("store", ["healthcare", "orthanc"])
async def test_getscu_brings_what_the_store_has(store: str, orthanc: Orthanc, contents: list[bytes], tmp_path: Path) -> None:
    every = [image(content) for content in contents]
    async with in_front_of(store, orthanc, contents) as adapter:
        for root, level in CASES[1:]:
            directory = tmp_path / f"{root}-{level}"
            directory.mkdir()
            printed = await _scu("getscu", adapter, root, level, keys_of(level, root, every[-1]), "+B", "-od", str(directory))
            assert received(directory) == below(level, every[-1], every), (root, level, printed[-3000:])


async def test_a_destination_that_takes_only_uncompressed_images_gets_them_uncompressed(
    orthanc: Orthanc, contents: list[bytes], tmp_path: Path
) -> None:
    every = {image(content).uid: content for content in contents}
    with storescp(tmp_path / "got", "+xi") as port:  # implicit VR little endian alone
        async with Adapter(orthanc.dicomweb_url, spec=peer(port)) as adapter:
            one = image(contents[-1])
            printed = await movescu(adapter, "patient", "PATIENT", {"PatientID": one.patient})
    assert "0x0000: Success" in printed, printed[-2000:]
    got = {str(one.SOPInstanceUID): one for one in map(quiet, (tmp_path / "got").iterdir())}
    assert set(got) == set(every)
    for uid, after in got.items():
        before = quiet(BytesIO(every[uid]))
        assert after.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
        if before.file_meta.TransferSyntaxUID == pydicom.uid.JPEGExtended12Bit:
            (tmp_path / "compressed").write_bytes(every[uid])
            assert (await run("dcmdjpeg", str(tmp_path / "compressed"), str(tmp_path / "dcmtk")))[0] == 0
            before = quiet(tmp_path / "dcmtk")
        if before.file_meta.TransferSyntaxUID != pydicom.uid.JPEGBaseline8Bit:
            assert numpy.array_equal(after.pixel_array, before.pixel_array)


def quiet(source: Path | BytesIO) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pydicom.dcmread(source)
        found.decode()
        return found


async def test_an_unknown_destination_and_one_that_is_down(orthanc: Orthanc, contents: list[bytes]) -> None:
    nobody, one = free_port(), image(contents[-1])
    keys = {"StudyInstanceUID": one.study}
    async with Adapter(orthanc.dicomweb_url, spec=peer(nobody)) as adapter:
        printed = await movescu(adapter, "study", "STUDY", keys, to="WS9")
        assert "0xa801" in printed.lower(), printed
        assert "Unknown AET: WS9" in printed
        line = await adapter.line("C-MOVE from 'CALLER' failed: 'WS9' is not in spec.peers; add it with host and port")
        assert (line["severity"], line["status"], line["peer"]) == ("WARNING", "A801", "CALLER")
        printed = await movescu(adapter, "study", "STUDY", keys)
        assert "0xa702" in printed.lower(), printed
        assert f"WS1 at 127.0.0.1:{nobody}: connection refused" in printed
        assert "Failed Suboperations          : 12" in printed
        line = await adapter.line(f"C-MOVE to 'WS1': 0 of 12 sent: 127.0.0.1:{nobody} refused the connection")
        assert (line["severity"], line["status"], line["peer"]) == ("WARNING", "A702", "CALLER")
        assert (await adapter.status())["lastError"]["message"] == line["message"]
        _, metrics = await adapter.get("/metrics")
        assert 'dicom_suboperations_total{outcome="failed",service="C-MOVE"} 12.0' in metrics
        assert not [line for line in adapter.lines if line["message"].startswith("C-MOVE from 'CALLER' failed: A")]


# -- storage commitment ----------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["healthcare", "orthanc"])
async def test_a_modality_stores_commits_and_is_told(store: str, orthanc: Orthanc, contents: list[bytes]) -> None:
    every, missing = [image(content) for content in contents], pydicom.uid.generate_uid()
    wanted = [(str(quiet(BytesIO(content)).SOPClassUID), image(content).uid) for content in contents]
    told: asyncio.Queue[tuple[int | None, pydicom.Dataset]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(event: evt.Event) -> tuple[int, None]:
        loop.call_soon_threadsafe(told.put_nowait, (event.event_type, event.event_information))
        return 0, None

    modality = AE("CT1")
    modality.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    listening: Any = modality.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        async with in_front_of(store, orthanc, contents, **peer(listening.server_address[1], "CT1")) as adapter:
            assert await asyncio.to_thread(commit, adapter.port, [*wanted, (wanted[0][0], missing)]) == 0
            event, information = await asyncio.wait_for(told.get(), 60)
            assert {one.ReferencedSOPInstanceUID for one in information.ReferencedSOPSequence} == {one.uid for one in every}
            assert [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in information.FailedSOPSequence] == [(missing, 0x0112)]
            assert (event, information.RetrieveAETitle) == (2, "GATE")
            assert await asyncio.to_thread(commit, adapter.port, wanted) == 0
            event, information = await asyncio.wait_for(told.get(), 60)
            assert (event, len(information.ReferencedSOPSequence)) == (1, len(every))

            async def counted() -> bool:
                return 'dicom_commitment_reports_total{outcome="delivered"} 2.0' in (await adapter.get("/metrics"))[1]

            await adapter.poll(counted)
    finally:
        listening.shutdown()


def commit(port: int, wanted: Sequence[tuple[str, str]], calling: str = "CT1") -> int:
    """Asks for the commitment of instances, as pynetdicom does; gives the status."""
    information = pydicom.Dataset()
    information.TransactionUID = pydicom.uid.generate_uid()
    information.ReferencedSOPSequence = pydicom.Sequence()
    for sop_class, uid in wanted:
        one = pydicom.Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = sop_class, uid
        information.ReferencedSOPSequence.append(one)
    modality = AE(calling)
    modality.add_requested_context(StorageCommitmentPushModel)
    association = modality.associate("127.0.0.1", port, ae_title="GATE")
    assert association.is_established
    status, _ = association.send_n_action(information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    association.release()
    return int(status.Status)


async def test_a_report_that_cannot_be_delivered_is_said_and_survives_a_restart(
    orthanc: Orthanc, contents: list[bytes], tmp_path: Path
) -> None:
    nobody, one = free_port(), image(contents[-1])
    spec = peer(nobody, "CT1") | {"delivery": {"acknowledge": "AfterSpool"}}
    arguments = [f"--spool_directory={tmp_path / 'spool'}"]
    (tmp_path / "spool").mkdir()
    async with Adapter(orthanc.dicomweb_url, spec=spec, arguments=arguments) as adapter:
        assert await asyncio.to_thread(commit, adapter.port, [(pydicom.uid.CTImageStorage, one.uid)]) == 0
        until = datetime.now(UTC) + timedelta(days=1)
        await adapter.poll_lines(lambda message: message.startswith("commitment report"))
        (line,) = [line for line in adapter.lines if line["message"].startswith("commitment report")]
        expected = f"commitment report to 'CT1' (127.0.0.1:{nobody}) not delivered: connection refused; try 1, next in 1 min, until "
        said = datetime.strptime(line["message"].removeprefix(expected), "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
        assert abs(said - until) < timedelta(minutes=3)
        assert line["severity"] == "WARNING"
    told = threading.Event()

    def report(_: evt.Event) -> tuple[int, None]:
        told.set()
        return 0, None

    modality = AE("CT1")
    modality.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    listening: Any = modality.start_server(("127.0.0.1", nobody), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        async with Adapter(orthanc.dicomweb_url, spec=spec, arguments=arguments):
            assert await asyncio.to_thread(told.wait, 30)
    finally:
        listening.shutdown()


async def test_a_commitment_of_an_unknown_caller_is_refused(orthanc: Orthanc, contents: list[bytes]) -> None:
    async with Adapter(orthanc.dicomweb_url, spec=peer(free_port(), "CT1")) as adapter:
        assert await asyncio.to_thread(commit, adapter.port, [("1.2", "1.3")], "CT9") == 0x0110
        line = await adapter.line("N-ACTION from 'CT9' failed: 'CT9' is not in spec.peers; add it with host and port")
        assert (line["severity"], line["status"]) == ("WARNING", "0110")


async def test_orthanc_as_the_modality_is_told_what_the_store_has(contents: list[bytes]) -> None:
    gate = free_port()
    with Orthanc(dicom=True, peers={"GATE": gate}) as both:  # the modality, and the store behind the adapter
        names = [both.take(content) for content in contents[-6:]]
        async with Adapter(both.dicomweb_url, spec={"port": gate} | peer(both.dicom_port, "ORTHANC")) as adapter:
            asked = await asyncio.to_thread(both.ask, "/modalities/GATE/storage-commitment", {"Resources": names})
            report: dict[str, Any] = {}

            async def told() -> bool:
                report.update(await asyncio.to_thread(both.answer, asked["Path"]))
                return bool(report["Status"] != "Pending")

            await adapter.poll(told, 30)
    assert (report["Status"], len(report["Success"]), report["Failures"]) == ("Success", 6, [])

"""A workstation's day through the Service: echo, store a study, commit it, find it, move it to a second node, get one series of it."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance  # type: ignore[attr-defined]

from tests.pods.conftest import Adapters
from tests.support import canaries, collection, dicom
from tests.support.orthanc import free_port
from tests.support.querying import Query, findscu

NODE = "10.10.0.1"
NAME = canaries.PATIENT["PatientName"]


@contextlib.contextmanager
def reports() -> Iterator[tuple[int, queue.Queue[Dataset]]]:
    """The workstation's own port, where reports of storage commitment arrive."""
    found: queue.Queue[Dataset] = queue.Queue()

    def take(event: evt.Event) -> tuple[int, None]:
        information = event.event_information
        information.EventTypeID = event.event_type
        found.put(information)
        return 0x0000, None

    entity = AE("WS1")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    port = free_port()
    server = entity.start_server((NODE, port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    assert server
    try:
        yield port, found
    finally:
        server.shutdown()


@contextlib.contextmanager
def second_node(directory: Path) -> Iterator[int]:
    """Another DICOM node in the cluster: dcmtk's storescp, which keeps what it gets in a directory."""
    port = free_port()
    process = subprocess.Popen(["storescp", "-aet", "WS2", "+B", "-od", str(directory), str(port)])
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def a_study(directory: Path) -> list[Path]:
    """Two series of the collection as files, under UIDs that no other run has."""
    study = generate_uid()
    series = {0: generate_uid(), 2: generate_uid()}
    files = []
    for one in collection.data_sets():
        position = int(one.SeriesInstanceUID.rpartition(".")[2]) - 1
        if one.StudyInstanceUID != collection.study_uid(6) or position not in series or int(one.InstanceNumber) > 8:
            continue
        one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID = study, series[position], generate_uid()
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.PatientName = NAME
        files.append(directory / f"{one.SOPInstanceUID}.dcm")
        files[-1].write_bytes(collection.part10(one))
    return files


def commit(address: str, port: int, instances: list[pydicom.FileDataset], transaction: str) -> int:
    """Asks for the commitment of these instances; the status of the answer."""
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = Sequence()
    for one in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        asked.ReferencedSOPSequence.append(item)
    entity = AE("WS1")
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate(address, port, ae_title="GATE")
    assert association.is_established
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    association.release()
    return int(status.Status)


def received(directory: Path) -> dict[str, bytes]:
    """Data sets by SOP Instance UID."""
    files = [file.read_bytes() for file in directory.iterdir()]
    return {str(dicom.split(content)[0].MediaStorageSOPInstanceUID): dicom.split(content)[1] for content in files}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pynetdicom's own
def test_a_workstation_s_day(adapters: Adapters, tmp_path: Path) -> None:
    directories = {name: tmp_path / name for name in ("own", "moved", "got")}
    for directory in directories.values():
        directory.mkdir()
    files = a_study(directories["own"])
    instances = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    study, last = str(instances[0].StudyInstanceUID), str(instances[-1].SeriesInstanceUID)
    began = time.monotonic()
    with reports() as (own_port, told), second_node(directories["moved"]) as second_port:
        peers: list[dict[str, Any]] = [
            {"aeTitle": "WS1", "host": NODE, "port": own_port},
            {"aeTitle": "WS2", "host": NODE, "port": second_port},
        ]
        status = adapters.apply(peers=peers)["status"]
        address, port = status["address"], status["port"]
        titles = ("-aet", "WS1", "-aec", "GATE")

        def tool(name: str, *arguments: str) -> str:
            done = subprocess.run([name, *titles, *arguments], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout + done.stderr

        tool("echoscu", address, str(port))
        tool("dcmsend", address, str(port), *map(str, files))

        transaction = generate_uid()
        assert commit(address, port, instances, transaction) == 0x0000
        report = told.get(timeout=60)
        assert (report.EventTypeID, report.TransactionUID) == (1, transaction)
        assert {item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence} == {one.SOPInstanceUID for one in instances}

        found = findscu(
            port, Query("-S", "STUDY", (f"PatientName={NAME}", f"StudyInstanceUID={study}", "NumberOfStudyRelatedInstances")), host=address
        )
        assert [int(one.NumberOfStudyRelatedInstances) for one in found.data_sets] == [len(files)], found.text
        found = findscu(port, Query("-S", "SERIES", (f"StudyInstanceUID={study}", "SeriesInstanceUID", "Modality")), host=address)
        assert sorted(one.Modality for one in found.data_sets) == ["CT", "OT"], found.text

        whole = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        tool("movescu", "-S", "-aem", "WS2", *whole, address, str(port))
        assert received(directories["moved"]).keys() == {str(one.SOPInstanceUID) for one in instances}

        one_series = ("-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={study}", "-k", f"SeriesInstanceUID={last}")
        tool("getscu", "-S", "+B", "-od", str(directories["got"]), *one_series, address, str(port))
        wanted = {str(one.SOPInstanceUID): file for one, file in zip(instances, files, strict=True) if one.SeriesInstanceUID == last}
        got = received(directories["got"])
        assert got.keys() == wanted.keys()
        for uid, file in wanted.items():
            assert got[uid] == dicom.split(file.read_bytes())[1]
    print(f"a workstation's day: {len(files)} images stored, committed, found, moved and got in {time.monotonic() - began:.0f} s")

"""The client with the peers of real life as acceptors: dcmtk's storescp and dcmqrscp, pynetdicom and Orthanc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_adapter.dimse import (
    AssociationAborted,
    AssociationEnded,
    AssociationRejected,
    ClientAssociation,
    Extras,
    Handlers,
    Limits,
    MoveOriginator,
    PeerAddress,
    PeerUnreachable,
    PresentationContext,
    Response,
    RoleProposal,
    SopInstance,
    Status,
    connect,
)
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from tests.adapter.dimse import peers
from tests.adapter.dimse.nodes import Node, node
from tests.adapter.dimse.peers import dcmtk, read, run_at, storescp
from tests.adapter.dimse.serving import Keeper, eventually
from tests.support.orthanc import Orthanc, free_port
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION

QUERY = [PresentationContext(uid, (EXPLICIT, IMPLICIT)) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE)]
CONTEXTS = [PresentationContext(VERIFICATION, (IMPLICIT,)), PresentationContext(CT_STORAGE, (EXPLICIT,)), *QUERY]
ROLES = Extras(roles={CT_STORAGE: RoleProposal(scu=True, scp=True)})


def encoded(**values: str) -> bytes:
    """An identifier in explicit VR little endian."""
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def decoded(response: Response) -> Dataset:
    assert response.data_set is not None
    return dcmread(BytesIO(response.data_set), force=True)


async def dial(port: int, title: str, *, contexts: list[PresentationContext] | None = None, **others: Any) -> ClientAssociation:
    return await connect(PeerAddress(title, "127.0.0.1", port), calling_ae_title="WS1", contexts=contexts or CONTEXTS, **others)


async def in_pieces(path: Path, size: int = 10_000) -> AsyncIterator[bytes]:
    data = peers.data_set_of(path)
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Study:
    """A study of CT images in files."""

    def __init__(self, directory: Path, count: int) -> None:
        directory.mkdir()
        self.files = [directory / f"{number}.dcm" for number in range(count)]
        written = [peers.write_ct(file, 30_000 + 2 * number) for number, file in enumerate(self.files)]
        self.data = dict(written)
        self.uid = str(peers.ct_image().StudyInstanceUID)

    async def store(self, association: ClientAssociation) -> list[Status]:
        return [
            await association.store(SopInstance(CT_STORAGE, uid, EXPLICIT, in_pieces(file)))
            for uid, file in zip(self.data, self.files, strict=True)
        ]


@pytest.mark.parametrize("maximum", ["4096", "16384", "131072"])
async def test_storescp_gets_every_byte(tmp_path: Path, maximum: str) -> None:
    study = Study(tmp_path / "sent", 20)
    with storescp(tmp_path / "received", "--max-pdu", maximum) as port:
        async with await dial(port, "STORESCP") as association:
            assert association.acceptance.maximum_length == int(maximum)
            assert association.acceptance.implementation_version_name.startswith("OFFIS_DCMTK")
            assert await study.store(association) == [Status(0)] * 20
    received = [peers.data_set_of(path) for path in (tmp_path / "received").iterdir()]
    assert Counter(received) == Counter(study.data.values())


async def test_every_file_of_pydicom_reaches_storescp_as_it_is(tmp_path: Path) -> None:
    files = peers.files_of_pydicom()
    instances = []
    for file in files:
        if len(peers.data_set_of(file)) % 2:
            continue  # an odd length is no data set (PS3.5 7.1.1), and dcmtk aborts
        meta = pydicom.filereader.read_file_meta_info(file)
        instances.append((str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID), file))
    pairs = list(dict.fromkeys((sop_class, syntax) for sop_class, _, syntax, _ in instances))
    contexts = [PresentationContext(sop_class, (syntax,)) for sop_class, syntax in pairs]
    statuses: Counter[int] = Counter()
    with storescp(tmp_path / "received", "--promiscuous", "+xa") as port:
        async with await dial(port, "STORESCP", contexts=contexts) as association:
            sent = []
            for sop_class, sop_instance, syntax, file in instances:
                if syntax in association.transfer_syntaxes(sop_class):
                    status = await association.store(SopInstance(sop_class, sop_instance, syntax, in_pieces(file, 4095)))
                    statuses[status.code] += 1
                    sent.append(read(file))
    assert statuses == {0: len(sent)}
    assert len(sent) > 140
    received = [read(path) for path in (tmp_path / "received").iterdir()]
    assert Counter(received) == Counter(sent)


@pytest.mark.parametrize(
    ("option", "error"), [("--refuse", AssociationRejected), ("--abort-after", AssociationAborted), ("--abort-during", AssociationEnded)]
)
async def test_storescp_refuses_or_aborts(tmp_path: Path, option: str, error: type[Exception]) -> None:
    study = Study(tmp_path / "sent", 1)
    port = free_port()
    command = [dcmtk("storescp"), option, "--output-directory", str(tmp_path), str(port)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        with pytest.raises(error):
            async with await dialed(port) as association:
                await study.store(association)
    finally:
        process.kill()
        await process.wait()


async def dialed(port: int) -> ClientAssociation:
    """Dial until somebody listens."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await dial(port, "STORESCP", limits=Limits(response_timeout=5, dimse_timeout=5))
            except PeerUnreachable:
                await asyncio.sleep(0.02)


@contextlib.contextmanager
def dcmqrscp(directory: Path, mover_port: int) -> Iterator[int]:
    """dcmtk's archive, with us as a destination of C-MOVE; gives its port."""
    port = free_port()
    storage = directory / "archive"
    storage.mkdir()
    configuration = directory / "dcmqrscp.cfg"
    configuration.write_text(
        f"""NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
gate = (GATE, 127.0.0.1, {mover_port})
all = gate
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ARCHIVE {storage} RW (200, 1024mb) ANY
AETable END
"""
    )
    process = subprocess.Popen([dcmtk("dcmqrscp"), "-c", str(configuration)], env=os.environ | {"TCP_NODELAY": "1"})
    try:
        eventually(lambda: run_at(port, "echoscu", called="ARCHIVE").returncode == 0)
        yield port
    finally:
        process.kill()
        process.wait()


def images_of(study: Study) -> bytes:
    return encoded(QueryRetrieveLevel="IMAGE", StudyInstanceUID=study.uid, SeriesInstanceUID="", SOPInstanceUID="")


async def query(association: ClientAssociation, study: Study) -> None:
    """Find the images, and the study, and nothing."""
    responses = [response async for response in association.find(STUDY_ROOT_FIND, images_of(study))]
    assert responses[-1].status == Status(0)
    assert {decoded(response).SOPInstanceUID for response in responses[:-1]} == set(study.data)
    nothing = [
        response async for response in association.find(STUDY_ROOT_FIND, encoded(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3.4.5"))
    ]
    assert [response.status.code for response in nothing] == [0]


async def retrieve(association: ClientAssociation, study: Study, gate: Node, kept: Keeper, got: Keeper) -> None:
    """C-MOVE to our server, then C-GET over this association: every byte comes back."""
    identifier = encoded(QueryRetrieveLevel="STUDY", StudyInstanceUID=study.uid)
    moved = [response async for response in association.move(STUDY_ROOT_MOVE, identifier, "GATE")]
    count = len(study.data)
    assert moved[-1].status.code == 0
    assert moved[-1].sub_operations is not None
    assert (moved[-1].sub_operations.completed, moved[-1].sub_operations.failed) == (count, 0)
    assert kept.stored.keys() == study.data.keys()
    assert {request.move_originator.ae_title for request in kept.requests if request.move_originator} <= {"WS1"}
    taken = [response async for response in association.get(STUDY_ROOT_GET, identifier)]
    assert taken[-1].status.code == 0
    assert taken[-1].sub_operations is not None
    assert taken[-1].sub_operations.completed == count
    assert got.stored.keys() == study.data.keys()


async def test_dcmqrscp_stores_finds_moves_and_gets(tmp_path: Path) -> None:
    study, kept, got = Study(tmp_path / "sent", 12), Keeper(), Keeper()
    async with node(Handlers(store=kept)) as gate:
        with dcmqrscp(tmp_path, gate.server.port) as port:
            async with await dial(port, "ARCHIVE", handlers=Handlers(store=got), extras=ROLES) as association:
                assert await study.store(association) == [Status(0)] * 12
                await query(association, study)
                await retrieve(association, study, gate, kept, got)
                assert kept.requests[0].move_originator == MoveOriginator("WS1", kept.requests[0].move_originator.message_id)  # type: ignore[union-attr]
                # A search that is broken off: the archive answers FE00, or was faster, and the association goes on.
                async for _ in association.find(STUDY_ROOT_FIND, images_of(study)):
                    break
                assert await association.echo() == Status(0)
    assert kept.stored == got.stored == study.data


async def test_orthanc_stores_finds_moves_and_gets(tmp_path: Path) -> None:
    study, kept, got = Study(tmp_path / "sent", 6), Keeper(), Keeper()
    async with node(Handlers(store=kept)) as gate:
        with Orthanc(dicom=True, peers={"GATE": gate.server.port, "WS1": free_port()}) as orthanc:
            association = await dial(orthanc.dicom_port, "ORTHANC", handlers=Handlers(store=got), extras=ROLES)
            async with association:
                assert await association.echo() == Status(0)
                assert await study.store(association) == [Status(0)] * 6
                await query(association, study)
                await retrieve(association, study, gate, kept, got)
    assert kept.stored == got.stored == study.data


@contextlib.contextmanager
def pynetdicom_scp(handlers: list[Any]) -> Iterator[int]:
    entity = AE("PYNETDICOM")
    for uid in (VERIFICATION, CT_STORAGE, STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET, STORAGE_COMMITMENT):
        entity.add_supported_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian], scu_role=True, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    assert server.socket is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


async def test_pynetdicom_stores_finds_gets_and_commits(tmp_path: Path) -> None:
    study, got = Study(tmp_path / "sent", 4), Keeper()
    stored: dict[str, bytes] = {}
    actions: list[tuple[int, str]] = []
    cancelled = threading.Event()

    def store(event: Any) -> int:
        stored[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return 0

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for _ in range(20):
            found = Dataset()
            found.QueryRetrieveLevel, found.StudyInstanceUID = "STUDY", event.identifier.StudyInstanceUID
            yield 0xFF00, found
        eventually(lambda: event.is_cancelled)
        cancelled.set()
        yield 0xFE00, None

    def get(event: Any) -> Iterator[Any]:
        yield len(study.files)
        for file in study.files:
            yield 0xFF00, pydicom.dcmread(file)

    def act(event: Any) -> tuple[int, Dataset | None]:
        actions.append((event.action_type, event.action_information.TransactionUID))
        return 0, None

    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_N_ACTION, act)]
    contexts = [*CONTEXTS, PresentationContext(STORAGE_COMMITMENT, (EXPLICIT,))]
    with pynetdicom_scp(handlers) as port:
        async with await dial(port, "PYNETDICOM", contexts=contexts, handlers=Handlers(store=got), extras=ROLES) as association:
            assert await study.store(association) == [Status(0)] * 4
            assert stored == study.data
            identifier = encoded(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.3")
            count = 0
            async for response in association.find(STUDY_ROOT_FIND, identifier):
                assert decoded(response).StudyInstanceUID == "1.2.3"
                count += 1
                if count == 3:
                    break
            assert await association.echo() == Status(0)
            assert cancelled.is_set()
            taken = [response async for response in association.get(STUDY_ROOT_GET, identifier)]
            assert taken[-1].status.code == 0
            assert got.stored.keys() == study.data.keys()
            response = await association.n_action(STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", 1, encoded(TransactionUID="1.2.9"))
            assert response.status == Status(0)
            assert actions == [(1, "1.2.9")]

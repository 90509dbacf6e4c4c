"""Every service of the acceptor, asked for by somebody else than ourselves: dcmtk's findscu, getscu and movescu, and pynetdicom."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt

from dicom_adapter.dimse import (
    GetRequest,
    Handlers,
    MoveRequest,
    NormalizedRequest,
    QueryRequest,
    Response,
    SopInstance,
    Status,
    SubOperations,
)
from dicom_adapter.dimse.acceptor import AcceptedAssociation
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from tests.adapter.dimse import peers
from tests.adapter.dimse.peers import run_at
from tests.adapter.dimse.serving import eventually, serving
from tests.support.rawscu import (
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    LAST,
    AssociationAborted,
    RawScu,
    associate_rq,
    command_set,
    context,
    item,
    pdata,
    pdv,
    short,
    uid,
)

PENDING = Status(0xFF00)


def encoded(data_set: Dataset, *, implicit: bool = False) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, data_set)
    return buffer.getvalue()


class Archive:
    """Handlers of an archive with `count` images of one study."""

    def __init__(self, directory: Path, count: int) -> None:
        written = [peers.write_ct(directory / f"{number}.dcm", 20_000 + 2 * number) for number in range(count)]
        self.images = dict(written)
        self.destinations: list[str] = []
        self.actions: list[NormalizedRequest] = []

    def handlers(self) -> Handlers:
        return Handlers(find=self.find, get=self.get, move=self.move, n_action=self.act)

    async def find(self, request: QueryRequest) -> AsyncGenerator[Response, None]:
        implicit = request.transfer_syntax_uid != EXPLICIT
        asked = dcmread(BytesIO(request.identifier), force=True)
        for instance_uid in self.images:
            found = Dataset()
            found.QueryRetrieveLevel, found.SOPInstanceUID, found.PatientID = asked.QueryRetrieveLevel, instance_uid, asked.PatientID
            yield Response(PENDING, encoded(found, implicit=implicit))

    async def get(self, request: GetRequest) -> AsyncGenerator[Response, None]:
        for done, (instance_uid, data) in enumerate(self.images.items(), 1):
            status = await request.requestor.store(SopInstance(CT_STORAGE, instance_uid, EXPLICIT, data))
            assert status == Status(0)
            yield Response(PENDING, sub_operations=SubOperations(len(self.images) - done, done))

    async def move(self, request: MoveRequest) -> AsyncGenerator[Response, None]:
        self.destinations.append(request.destination)
        if request.destination != "KNOWN":
            yield Response(Status(0xA801, f"Unknown AET: {request.destination}"))
            return
        yield Response(PENDING, sub_operations=SubOperations(1, 1))
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = ["1.2.3"]
        yield Response(
            Status(0xB000, "1 failed"), encoded(failed, implicit=request.transfer_syntax_uid != EXPLICIT), SubOperations(None, 1, 1)
        )

    async def act(self, request: NormalizedRequest) -> Response:
        self.actions.append(request)
        return Response(Status(0))


def test_findscu(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 30)
    with serving(handlers=archive.handlers()) as server:
        done = run_at(server.port, "findscu", "-S", "-v", "-k", "QueryRetrieveLevel=IMAGE", "-k", "PatientID=P1", "-k", "SOPInstanceUID")
        assert done.returncode == 0, done.stderr
        output = done.stdout + done.stderr
        assert all(uid in output for uid in archive.images)
        assert "Received Final Find Response (Success)" in output
        assert server.recorder.end().operations == {("C-FIND", 0): 1}


def test_findscu_that_cancels(tmp_path: Path) -> None:
    asked: list[int] = []

    async def find(request: QueryRequest) -> AsyncGenerator[Response, None]:
        for number in range(1_000_000):
            asked.append(number)
            found = Dataset()
            found.QueryRetrieveLevel, found.PatientID = "STUDY", str(number)
            yield Response(PENDING, encoded(found, implicit=request.transfer_syntax_uid != EXPLICIT))
            await asyncio.sleep(0)

    with serving(handlers=Handlers(find=find)) as server:
        done = run_at(server.port, "findscu", "-S", "-v", "--cancel", "5", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
        assert done.returncode == 0, done.stderr
        assert "Cancel" in done.stdout + done.stderr
        assert server.recorder.end().operations == {("C-FIND", 0xFE00): 1}
    assert len(asked) < 1_000_000


def test_getscu(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "got").mkdir()
    archive = Archive(tmp_path / "archive", 10)
    with serving(handlers=archive.handlers()) as server:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")
        done = run_at(server.port, "getscu", "-S", "-v", "+B", "-od", str(tmp_path / "got"), *keys)
        assert done.returncode == 0, done.stderr
        assert server.recorder.end().operations == {("C-GET", 0): 1}
    got = [peers.data_set_of(path) for path in (tmp_path / "got").iterdir()]
    assert sorted(got) == sorted(archive.images.values())


def test_movescu(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 1)
    with serving(handlers=archive.handlers()) as server:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")
        done = run_at(server.port, "movescu", "-S", "-d", "-aem", "KNOWN", *keys)
        assert "0xb000" in done.stderr
        assert "Completed Suboperations       : 1" in done.stderr
        assert "Failed Suboperations          : 1" in done.stderr
        done = run_at(server.port, "movescu", "-S", "-d", "-aem", "WS9", *keys)
        assert "0xa801" in done.stderr
        assert "[Unknown AET: WS9]" in done.stderr
    assert archive.destinations == ["KNOWN", "WS9"]


def test_pynetdicom_asks_for_everything(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 4)
    stored: dict[str, bytes] = {}

    def store(event: Any) -> int:
        stored[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return 0

    with serving(handlers=archive.handlers()) as server:
        entity = AE("PYNETDICOM")
        for uid in (CT_STORAGE, STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET, STORAGE_COMMITMENT):
            entity.add_requested_context(uid, ExplicitVRLittleEndian)
        handlers: list[tuple[Any, Callable[..., Any]]] = [(evt.EVT_C_STORE, store)]
        role = build_role(CT_STORAGE, scp_role=True)
        association = entity.associate("127.0.0.1", server.port, ae_title="GATE", ext_neg=[role], evt_handlers=handlers)  # type: ignore[arg-type]
        assert association.is_established
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.PatientID, identifier.StudyInstanceUID = "STUDY", "P1", "1.2.3"
        found = [(status.Status, data) for status, data in association.send_c_find(identifier, STUDY_ROOT_FIND)]
        assert [code for code, _ in found] == [0xFF00] * 4 + [0]
        assert [data.SOPInstanceUID for _, data in found if data] == list(archive.images)
        got = [status for status, _ in association.send_c_get(identifier, STUDY_ROOT_GET)]
        assert [status.Status for status in got] == [0xFF00] * 4 + [0]
        assert got[1].NumberOfRemainingSuboperations == 2
        assert stored == archive.images
        moved = list(association.send_c_move(identifier, "KNOWN", STUDY_ROOT_MOVE))
        assert [status.Status for status, _ in moved] == [0xFF00, 0xB000]
        assert moved[1][1] is not None
        assert moved[1][1].FailedSOPInstanceUIDList == "1.2.3"
        assert moved[1][0].NumberOfFailedSuboperations == 1
        information = Dataset()
        information.TransactionUID = "1.2.9"
        status, _ = association.send_n_action(information, 1, STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1")
        assert status.Status == 0
        assert archive.actions[0].information == encoded(information)
        association.release()
        assert server.recorder.end().outcome == "released"


def test_getscu_that_does_not_come_back() -> None:
    """A requestor that is killed in the middle of a C-GET leaves nothing behind: `serving` looks."""
    sent: list[int] = []

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        for number in range(1_000_000):
            await request.requestor.store(SopInstance(CT_STORAGE, f"1.2.{number}", EXPLICIT, bytes(2_000_000)))
            sent.append(number)
            yield Response(PENDING, sub_operations=SubOperations(1_000_000 - number, number))

    with serving(handlers=Handlers(get=get)) as server:
        keys = ("-k", "QueryRetrieveLevel=STUDY")
        command = [peers.dcmtk("getscu"), "-S", "--ignore", *keys, "-aec", "GATE", "127.0.0.1", str(server.port)]
        process = subprocess.Popen(command)
        eventually(lambda: len(sent) > 3)
        process.kill()
        process.wait()
        assert server.recorder.end().outcome == "lost"
        assert server.recorder.end().operations == {}
    assert len(sent) < 1_000_000


def test_a_release_in_the_middle_of_a_get_ends_it() -> None:
    """The peer cannot answer a sub-operation any more: to wait for that would be to wait for ever."""
    ended: list[bool] = []

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        try:
            await request.requestor.store(SopInstance(CT_STORAGE, "1.2.3", EXPLICIT, b"ab"))
            yield Response(PENDING)
        finally:
            ended.append(True)

    with serving(handlers=Handlers(get=get)) as server, RawScu("127.0.0.1", server.port) as scu:
        role = item(0x54, len(CT_STORAGE).to_bytes(2, "big") + CT_STORAGE.encode() + b"\0\1")
        contexts = [context(1, STUDY_ROOT_GET, EXPLICIT), context(3, CT_STORAGE, EXPLICIT)]
        scu.associate(associate_rq("GATE", "CT1", contexts, user_items=role))
        elements = [(0x0002, uid(STUDY_ROOT_GET)), (0x0100, short(0x10)), (0x0110, short(1)), (0x0700, short(0)), (0x0800, short(1))]
        scu.send_message(1, command_set(elements), b"")
        assert scu.expect(4)
        assert scu.expect(4)
        scu.release()
        assert ended
        scu.close()
        assert server.recorder.end().outcome == "released"


def test_a_cancel_that_comes_with_its_request() -> None:
    """In one segment: the handler's task has not taken its first step when it is cancelled."""
    started: list[bool] = []

    async def find(request: QueryRequest) -> AsyncGenerator[Response, None]:
        started.append(True)
        await asyncio.Event().wait()
        yield Response(PENDING)

    with serving(handlers=Handlers(find=find)) as server, RawScu("127.0.0.1", server.port) as scu:
        scu.associate(associate_rq("GATE", "CT1", [context(1, STUDY_ROOT_FIND, EXPLICIT)]))
        request = [(0x0002, uid(STUDY_ROOT_FIND)), (0x0100, short(0x20)), (0x0110, short(7)), (0x0700, short(0)), (0x0800, short(1))]
        cancel = [(0x0100, short(0x0FFF)), (0x0120, short(7)), (0x0800, short(0x0101))]
        for _ in range(3):
            scu.send(
                pdata(pdv(1, COMMAND | LAST, command_set(request)), pdv(1, DATA | LAST, b"ab"))
                + pdata(pdv(1, COMMAND | LAST, command_set(cancel)))
            )
            assert scu.response().status == 0xFE00
        scu.release()
        scu.close()
        assert server.recorder.end().operations == {("C-FIND", 0xFE00): 3}


def test_a_shutdown_ends_handlers_that_have_not_begun() -> None:
    async def find(request: QueryRequest) -> AsyncGenerator[Response, None]:
        await asyncio.Event().wait()
        yield Response(PENDING)

    with serving(handlers=Handlers(find=find)) as server, RawScu("127.0.0.1", server.port) as scu:
        scu.associate(associate_rq("GATE", "CT1", [context(1, STUDY_ROOT_FIND, EXPLICIT)]))
        receive = AcceptedAssociation.receive

        def then_abort(self: AcceptedAssociation, data: memoryview) -> None:
            receive(self, data)
            server.server.abort()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AcceptedAssociation, "receive", then_abort)
            request = [(0x0002, uid(STUDY_ROOT_FIND)), (0x0100, short(0x20)), (0x0110, short(7)), (0x0700, short(0)), (0x0800, short(1))]
            scu.send(pdata(pdv(1, COMMAND | LAST, command_set(request)), pdv(1, DATA | LAST, b"ab")))
            with pytest.raises(AssociationAborted):
                scu.response()
        assert server.recorder.end().reason == "shutting down"

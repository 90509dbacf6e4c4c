"""Retrievals and commitments that fail, as each person reads of it: the requestor, the log, /status and the metrics."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dicom_adapter.dimse import (
    DimseServer,
    Handlers,
    Limits,
    PeerAddress,
    PresentationContext,
    Response,
    Status,
    StoreRequest,
    SubOperations,
)
from dicom_adapter.dimse import connect as call
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_MOVE
from dicom_adapter.services.datasets import decode
from tests.adapter.dimse.serving import Recorder
from tests.adapter.test_retrieve import commit, peer
from tests.support.adapter import Adapter
from tests.support.dicom import Instance, generated
from tests.support.orthanc import free_port
from tests.support.rawscu import EXPLICIT
from tests.support.retrieving import identifier, last
from tests.support.wado import Archive

STUDY, SERIES = "1.2", "1.2.3"


class Workstation:
    """A node that takes one association at a time, and goes away with the instance after the first `most`."""

    def __init__(self, most: int, answer: int = 0) -> None:
        self.port = free_port()
        self.taken: list[str] = []
        self._most = most
        self._answer = answer
        limits = Limits(max_associations=1)
        self._server = DimseServer(ae_titles=["WS1"], handlers=Handlers(store=self._store), limits=limits, observer=Recorder())

    async def _store(self, request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        if len(self.taken) == self._most:
            self._server.abort()
            await asyncio.Event().wait()
        self.taken.append(request.sop_instance_uid)
        return Status(self._answer)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Until it goes away."""
        await self._server.start("127.0.0.1", self.port)
        try:
            yield
        finally:
            self._server.abort()
            await self._server.wait_closed()


async def move(adapter: Adapter) -> Response:
    """Asks for the study; gives the last response."""
    address = PeerAddress("GATE", "127.0.0.1", adapter.port)
    contexts = [PresentationContext(STUDY_ROOT_MOVE, (EXPLICIT,))]
    async with await call(address, calling_ae_title="CALLER", contexts=contexts) as association:
        return await last(association.move(STUDY_ROOT_MOVE, identifier(StudyInstanceUID=STUDY), "WS1"))


def twelve(archive: Archive) -> list[str]:
    """Instances in a study; their UIDs."""
    instances: list[Instance] = [generated(1024) for _ in range(12)]
    archive.add(STUDY, SERIES, instances)
    return [one.sop_instance_uid for one in instances]


async def test_a_destination_that_goes_away_after_five_of_twelve() -> None:
    workstation = Workstation(5)
    async with Archive() as archive, workstation.listening(), Adapter(archive.url, spec=peer(workstation.port)) as adapter:
        wanted = twelve(archive)
        response = await move(adapter)
        assert response.status == Status(0xB000, f"WS1 at 127.0.0.1:{workstation.port}: connection refused")
        assert response.sub_operations == SubOperations(None, 5, 7, 0)
        assert response.data_set is not None
        assert sorted([*workstation.taken, *decode(response.data_set, EXPLICIT).FailedSOPInstanceUIDList]) == sorted(wanted)
        line = await adapter.line(f"C-MOVE to 'WS1': 5 of 12 sent: 127.0.0.1:{workstation.port} refused the connection")
        assert (line["severity"], line["event"], line["status"], line["peer"]) == ("WARNING", "OperationFailed", "B000", "CALLER")
        await said_nowhere_else(adapter, line["message"])
        await counted(adapter, 'dicom_suboperations_total{outcome="completed",service="C-MOVE"} 5.0')
        await counted(adapter, 'dicom_suboperations_total{outcome="failed",service="C-MOVE"} 7.0')
        await counted(adapter, 'dicom_operations_total{service="C-MOVE",status="B000"} 1.0')


async def test_a_destination_that_answers_warnings() -> None:
    workstation = Workstation(12, 0xB007)
    async with Archive() as archive, workstation.listening(), Adapter(archive.url, spec=peer(workstation.port)) as adapter:
        twelve(archive)
        response = await move(adapter)
        assert response == Response(Status(0xB000, "WS1 answers B007"), None, SubOperations(None, 0, 0, 12))
        line = await adapter.line("C-MOVE to 'WS1': 12 of 12 sent, 12 of them with a warning of the receiver")
        assert (line["severity"], line["event"], line["status"], line["peer"]) == ("WARNING", "RetrievedWithWarning", "B000", "CALLER")
        assert (await adapter.status())["lastError"] is None
        await counted(adapter, 'dicom_suboperations_total{outcome="warning",service="C-MOVE"} 12.0')


async def test_a_report_that_is_given_up_after_a_day(tmp_path: Path) -> None:
    nobody, spool = free_port(), tmp_path / "spool"
    spool.mkdir()
    spec = peer(nobody, "CT1") | {"delivery": {"acknowledge": "AfterSpool"}}
    arguments = [f"--spool_directory={spool}"]
    async with Archive() as archive:
        (uid, *_) = twelve(archive)
        async with Adapter(archive.url, spec=spec, arguments=arguments) as adapter:
            assert await asyncio.to_thread(commit, adapter.port, [("1.2.840.10008.5.1.4.1.1.2", uid)]) == 0
            await adapter.poll_lines(lambda message: message.startswith(f"commitment report to 'CT1' (127.0.0.1:{nobody}) not delivered"))
            (line,) = [line for line in adapter.lines if line["event"] == "ReportDelayed"]
            await said_nowhere_else(adapter, line["message"])
            await counted(adapter, 'dicom_commitment_reports_total{outcome="delayed"} 1.0')
        (file,) = (spool / ".commitments").iterdir()
        commitment = json.loads(file.read_text())
        file.write_text(json.dumps(commitment | {"accepted": time.time() - 86400 + 30}))  # the day ends before the next try
        async with Adapter(archive.url, spec=spec, arguments=arguments) as adapter:
            line = await adapter.line(
                f"commitment report to 'CT1' (127.0.0.1:{nobody}) given up after a day: connection refused; have 'CT1' ask again"
            )
            assert (line["severity"], line["event"], line["peer"]) == ("ERROR", "ReportGivenUp", "CT1")
            await said_nowhere_else(adapter, line["message"])
            await counted(adapter, 'dicom_commitment_reports_total{outcome="given_up"} 1.0')

            async def forgotten() -> bool:
                return list((spool / ".commitments").iterdir()) == []

            await adapter.poll(forgotten)


async def counted(adapter: Adapter, sample: str) -> None:
    """Waits until the metrics say so: an operation is counted when its last response has gone out."""

    async def told() -> bool:
        return sample in (await adapter.get("/metrics"))[1]

    await adapter.poll(told)


async def said_nowhere_else(adapter: Adapter, message: str) -> None:
    """The failures' row has the log's sentence; the store, and with it every condition, is as it was."""
    status = await adapter.store_becomes("Reachable")
    assert status["lastError"]["message"] == message
    assert [line["message"] for line in adapter.lines if line["severity"] not in ("INFO", "DEBUG")] == [message]

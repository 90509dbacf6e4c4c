"""Storage commitment: what the store is asked, what the peer is told, and what becomes of a report that cannot be delivered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from dicom_adapter.auth.tls import StoreTls
from dicom_adapter.dicomweb.client import DicomwebClient, Refusal
from dicom_adapter.dimse import (
    ClientAssociation,
    DimseServer,
    Handlers,
    Limits,
    NormalizedRequest,
    PeerAddress,
    PresentationContext,
    Response,
    Status,
    connect,
)
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT
from dicom_adapter.services.commitment import reports
from dicom_adapter.services.commitment import service as commitment
from dicom_adapter.services.commitment.existence import Existence
from dicom_adapter.services.commitment.journal import DirectoryJournal, NoJournal
from dicom_adapter.services.commitment.reports import Reports, Surroundings
from dicom_adapter.services.commitment.service import Commitment, CommitmentService
from dicom_adapter.services.datasets import decode, encode
from tests.adapter.dimse.nodes import until
from tests.adapter.dimse.serving import Recorder
from tests.support.dicom import PRIVATE_SOP_CLASS, generated
from tests.support.orthanc import free_port
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT
from tests.support.retrieving import tasks
from tests.support.wado import Archive

PUSH = "1.2.840.10008.1.20.1.1"


def kept(archive: Archive, count: int, study: str = "1.2") -> list[str]:
    return [one.sop_instance_uid for one in archive.add(study, f"{study}.1", [generated(16) for _ in range(count)])]


def unknown(count: int) -> list[str]:
    return [generate_uid() for _ in range(count)]


# -- what the store is asked -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def asking(archive: Archive) -> AsyncIterator[Existence]:
    async def headers() -> Mapping[str, str]:
        return {}

    class Requests:
        def request_ended(self, method: str, code: str, seconds: float) -> None:
            pass

    tls = StoreTls(None).context
    async with DicomwebClient(archive.url, headers=headers, tls=tls, observer=Requests(), connections=8, user_agent="test") as client:
        yield Existence(client)


@pytest.mark.parametrize(("takes_lists", "most"), [(True, 10), (False, 4)])
async def test_a_thousand_instances_of_a_study_are_few_searches(takes_lists: bool, most: int) -> None:
    async with Archive(takes_lists=takes_lists) as archive, asking(archive) as existence:
        there, not_there = kept(archive, 995), unknown(5) if takes_lists else []
        kept(archive, 300, "1.9")
        for _ in range(2):
            archive.requests.clear()
            found = await existence.find([*not_there, *there])
            assert set(found) == set(there)
            assert set().union(*found.values()) == {PRIVATE_SOP_CLASS}
            assert len(archive.requests) <= most, archive.requests
            assert max(map(len, archive.requests)) < 8000
        if not takes_lists:
            assert not [path for path in archive.requests if "%2C" in path]  # it was asked once whether it does


async def test_instances_of_several_studies_and_some_of_none() -> None:
    async with Archive(takes_lists=False) as archive, asking(archive) as existence:
        groups = [kept(archive, 20, f"1.{number}") for number in range(1, 6)]
        nowhere = unknown(12)
        asked = [uid for together in zip(*groups, strict=True) for uid in together] + nowhere
        found = await existence.find(asked)
        assert set(found) == {uid for group in groups for uid in group}
        assert len(archive.requests) <= 32


async def test_nothing_of_it_is_there() -> None:
    async with Archive() as archive, asking(archive) as existence:
        assert await existence.find(unknown(30)) == {}
        assert len(archive.requests) == 31
        assert archive.most <= 8


async def test_a_store_that_ignores_the_parameter_proves_nothing() -> None:
    async with Archive(ignores_parameters=True) as archive, asking(archive) as existence:
        kept(archive, 3)
        assert await existence.find(unknown(3)) == {}


async def test_one_instance_is_one_search() -> None:
    async with Archive() as archive, asking(archive) as existence:
        (uid,) = kept(archive, 1)
        assert await existence.find([uid]) == {uid: {PRIVATE_SOP_CLASS}}
        assert await existence.find([*unknown(1)]) == {}
        assert len(archive.requests) == 2


async def test_a_store_that_refuses_lists_is_asked_otherwise() -> None:
    async with Archive(takes_lists=False) as archive, asking(archive) as existence:
        there = kept(archive, 5)
        archive.refuses_lists = 400
        assert set(await existence.find(there)) == set(there)
        archive.refuses_lists = 503
        other = Existence(existence._client)
        with pytest.raises(Refusal):
            await other.find(there)


# -- what the peer is told -------------------------------------------------------------------------


@dataclass
class Told:
    """What the observer was told."""

    refused: list[tuple[Status, str]] = field(default_factory=list)
    delays: list[tuple[str, str, int, float]] = field(default_factory=list)
    given_up: list[tuple[str, str, str]] = field(default_factory=list)
    delivered: list[tuple[str, int, int]] = field(default_factory=list)

    def commitment_refused(self, request: NormalizedRequest, status: Status, text: str) -> None:
        self.refused.append((status, text))

    def report_delayed(self, ae_title: str, where: str, why: str, *, tries: int, pause: float, until: float) -> None:
        self.delays.append((where, why, tries, pause))

    def verdict_delayed(self, ae_title: str, why: str, *, tries: int, pause: float, until: float) -> None:
        self.delays.append(("store", why, tries, pause))

    def report_given_up(self, ae_title: str, where: str, why: str) -> None:
        self.given_up.append((ae_title, where, why))

    def reported(self, ae_title: str, stored: int, failed: int) -> None:
        self.delivered.append((ae_title, stored, failed))


class Clock:
    """Time that goes on when somebody sleeps; `rest` is awaited there."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []
        self.rest: Callable[[], Any] = lambda: asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await self.rest()


class Modality:
    """A node that takes reports, and answers them with `statuses`, then with success."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, Dataset, str]] = []
        self.statuses: list[int] = []
        self.recorder = Recorder()
        self.port = free_port()

    async def take(self, request: NormalizedRequest) -> Response:
        self.reports.append((request.type_id, decode(request.information, request.transfer_syntax_uid), request.peer.ae_title))
        return Response(Status(self.statuses.pop(0) if self.statuses else 0))

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = DimseServer(ae_titles=["CT1"], handlers=Handlers(n_event_report=self.take), limits=Limits(), observer=self.recorder)
        await server.start("127.0.0.1", self.port)
        try:
            yield
        finally:
            server.abort()
            await server.wait_closed()


class Gateway:
    def __init__(self, port: int, told: Told, kept: Reports, clock: Clock) -> None:
        self.port, self.told, self.reports, self.clock = port, told, kept, clock

    @contextlib.asynccontextmanager
    async def asked(
        self, *, calling: str = "CT1", handlers: Handlers | None = None, syntax: str = EXPLICIT
    ) -> AsyncIterator[ClientAssociation]:
        contexts = [PresentationContext(STORAGE_COMMITMENT, (syntax,))]
        address = PeerAddress("GATE", "127.0.0.1", self.port)
        async with await connect(address, calling_ae_title=calling, contexts=contexts, handlers=handlers) as found:
            yield found

    async def commit(self, uids: list[str], **others: Any) -> Status:
        async with self.asked(**others) as association:
            response = await association.n_action(STORAGE_COMMITMENT, PUSH, 1, action(uids, syntax=others.get("syntax", EXPLICIT)))
        return response.status


@contextlib.asynccontextmanager
async def gateway(
    archive: Archive,
    modality: Modality,
    *,
    journal: Any = None,
    oldest: Callable[[], float | None] = lambda: None,
    clock: Clock | None = None,
) -> AsyncIterator[Gateway]:
    """The service in front of an archive; at the end no task is left."""
    told, clock = Told(), clock or Clock()
    known = {"CT1": PeerAddress("CT1", "127.0.0.1", modality.port)}
    async with asking(archive) as existence:
        where = Surroundings("GATE", "CALLS", Limits(), known.get, lambda: clock.now, clock.sleep, oldest)
        kept = Reports(existence, journal or NoJournal(), where, told)
        await kept.start()
        service = CommitmentService(kept, known.get, lambda: clock.now, told)
        server = DimseServer(ae_titles=["GATE"], handlers=Handlers(n_action=service), limits=Limits(), observer=Recorder())
        await server.start("127.0.0.1", 0)
        try:
            yield Gateway(server.port, told, kept, clock)
        finally:
            await kept.stop()
            server.abort()
            await server.wait_closed()
    assert tasks() == []


def action(uids: list[str], sop_class: str = PRIVATE_SOP_CLASS, *, transaction: str = "1.2.3.4", syntax: str = EXPLICIT) -> bytes:
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = Sequence([item(sop_class, uid) for uid in uids])
    return encode(information, syntax)


def item(sop_class: str, uid: str) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = sop_class, uid
    return found


def named(sequence: Any) -> list[str]:
    return [one.ReferencedSOPInstanceUID for one in sequence]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_what_is_there_is_committed_and_what_is_not_is_named(syntax: str) -> None:
    modality = Modality()
    async with Archive() as archive, modality.listening(), gateway(archive, modality) as gate:
        there, missing = kept(archive, 4), unknown(2)
        assert await gate.commit(there, syntax=syntax) == Status(0)
        await until(lambda: gate.told.delivered)
        assert await gate.commit([*there, *missing], syntax=syntax) == Status(0)
        await until(lambda: len(gate.told.delivered) == 2)
        assert gate.told.delivered == [("CT1", 4, 0), ("CT1", 4, 2)]
    (first, all_there, calling), (second, some, _) = modality.reports
    assert (first, second, calling) == (1, 2, "CALLS")
    assert (all_there.TransactionUID, all_there.RetrieveAETitle) == ("1.2.3.4", "GATE")
    assert "FailedSOPSequence" not in all_there
    assert named(all_there.ReferencedSOPSequence) == named(some.ReferencedSOPSequence) == there
    assert [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in some.FailedSOPSequence] == [(uid, 0x0112) for uid in missing]


async def test_a_long_list_is_read_beside_everything_else() -> None:
    modality = Modality()
    async with Archive() as archive, modality.listening(), gateway(archive, modality) as gate:
        there = kept(archive, 600)
        assert len(action(there)) > commitment.AT_ONCE_BYTES
        assert await gate.commit([*there, *unknown(1)]) == Status(0)
        await until(lambda: gate.told.delivered)
        assert gate.told.delivered == [("CT1", 600, 1)]
    ((event, report, _),) = modality.reports
    assert (event, named(report.ReferencedSOPSequence)) == (2, there)


async def test_an_instance_of_another_class_is_not_what_was_asked_for() -> None:
    modality = Modality()
    async with Archive() as archive, modality.listening(), gateway(archive, modality) as gate:
        there = kept(archive, 2)
        async with gate.asked() as association:
            response = await association.n_action(STORAGE_COMMITMENT, PUSH, 1, action(there, CT_STORAGE))
        assert response.status.code == 0
        await until(lambda: gate.told.delivered)
    ((event, report, _),) = modality.reports
    assert (event, "ReferencedSOPSequence" in report) == (2, False)
    assert [one.FailureReason for one in report.FailedSOPSequence] == [0x0119, 0x0119]
    assert [one.ReferencedSOPClassUID for one in report.FailedSOPSequence] == [CT_STORAGE] * 2


def without(keyword: str) -> bytes:
    information = decode(action(["1.2"]), EXPLICIT)
    delattr(information, keyword)
    return encode(information, EXPLICIT)


@pytest.mark.parametrize(
    ("instance", "type_id", "information", "status"),
    [
        ("1.2.3", 1, action(["1.2"]), Status(0x0112, "Not the Storage Commitment Push Model SOP Instance")),
        (PUSH, 2, action(["1.2"]), Status(0x0123, "No such action: 2")),
        (PUSH, 1, None, Status(0x0115, "Mandatory tag empty: TransactionUID")),
        (PUSH, 1, without("TransactionUID"), Status(0x0115, "Mandatory tag empty: TransactionUID")),
        (PUSH, 1, without("ReferencedSOPSequence"), Status(0x0115, "Mandatory tag empty: ReferencedSOPSequence")),
        (PUSH, 1, action([]), Status(0x0115, "Mandatory tag empty: ReferencedSOPSequence")),
        (PUSH, 1, action([""]), Status(0x0115, "Mandatory tag empty: ReferencedSOPClassUID or")),
        (PUSH, 1, b"\x08\x00\x52\x00ZZ\x02\x00AB", Status(0x0115, "Action Information unreadable")),
    ],
)
async def test_requests_that_ask_for_nothing_are_refused(instance: str, type_id: int, information: bytes, status: Status) -> None:
    async with Archive() as archive, gateway(archive, Modality()) as gate, gate.asked() as association:
        response = await association.n_action(STORAGE_COMMITMENT, instance, type_id, information)
        assert response.status == status
        assert gate.reports.pending == 0
        ((_, text),) = gate.told.refused
        assert text.startswith(f"N-ACTION from 'CT1' failed: {status.code:04X} {status.comment}")


async def test_whoever_cannot_be_told_is_refused() -> None:
    async with Archive() as archive, gateway(archive, Modality()) as gate:
        assert await gate.commit(["1.2"], calling="CT9") == Status(0x0110, "Unknown AET: CT9")
        assert gate.told.refused[0][1] == "N-ACTION from 'CT9' failed: 'CT9' is not in spec.peers; add it with host and port"


async def test_more_than_can_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_REFERENCES", 5)
    async with Archive(delay=30) as archive, gateway(archive, Modality()) as gate:
        assert await gate.commit(unknown(4)) == Status(0)
        assert (await gate.commit(unknown(2))).code == 0x0213


# -- when it cannot be told ------------------------------------------------------------------------


async def test_a_report_is_tried_again_until_the_peer_takes_it() -> None:
    modality, clock = Modality(), Clock()
    gone_on = asyncio.Event()
    clock.rest = gone_on.wait
    async with Archive() as archive, gateway(archive, modality, clock=clock) as gate:
        there = kept(archive, 2)
        assert await gate.commit(there) == Status(0)
        where = f"127.0.0.1:{modality.port}"
        await until(lambda: gate.told.delays == [(where, "connection refused", 1, 60.0)])
        modality.statuses = [0x0110]
        async with modality.listening():
            gone_on.set()
            await until(lambda: gate.told.delivered)
        assert gate.told.delays[1:] == [(where, "it answers 0110", 2, 120.0)]
        assert [event for event, _, _ in modality.reports] == [1, 1]
        await until(lambda: gate.reports.pending == 0)


async def test_after_a_day_it_is_given_up() -> None:
    modality = Modality()
    async with Archive() as archive, gateway(archive, modality) as gate:
        assert await gate.commit(kept(archive, 1)) == Status(0)
        await until(lambda: gate.told.given_up)
        assert gate.told.given_up == [("CT1", f"127.0.0.1:{modality.port}", "connection refused")]
        assert gate.clock.slept[:7] == [60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0]
        assert 84_000 < sum(gate.clock.slept) <= 86_400


async def test_the_store_is_waited_for_too() -> None:
    modality = Modality()
    async with Archive(search_fault=503) as archive, modality.listening(), gateway(archive, modality) as gate:

        async def heal() -> None:
            archive.search_fault = 0

        gate.clock.rest = heal
        assert await gate.commit(kept(archive, 1)) == Status(0)
        await until(lambda: gate.told.delivered)
        assert gate.told.delays == [("store", "Http_503, Service Unavailable", 1, 60.0)]
    assert [event for event, _, _ in modality.reports] == [1]


async def test_a_modality_that_cannot_be_called_hears_it_on_its_own_association() -> None:
    modality = Modality()
    async with Archive() as archive, gateway(archive, modality) as gate:
        handlers = Handlers(n_event_report=modality.take)
        async with gate.asked(handlers=handlers) as association:
            response = await association.n_action(STORAGE_COMMITMENT, PUSH, 1, action(kept(archive, 3)))
            assert response.status.code == 0
            await until(lambda: gate.told.delivered)
        assert gate.told.delays == []
    ((event, report, _),) = modality.reports
    assert (event, len(report.ReferencedSOPSequence)) == (1, 3)


# -- what waits in the spool, and restarts ---------------------------------------------------------


async def test_what_may_still_be_in_the_spool_is_not_called_missing() -> None:
    modality, clock = Modality(), Clock()
    oldest: list[float | None] = [clock.now - 5]
    async with Archive() as archive, modality.listening(), gateway(archive, modality, oldest=lambda: oldest[0], clock=clock) as gate:
        spooled = [generated(16) for _ in range(3)]

        async def deliver() -> None:
            if clock.slept.count(2.0) == 3:
                archive.add("1.2", "1.2.1", spooled)
                oldest[0] = clock.now  # something newer waits now

        clock.rest = deliver
        assert await gate.commit([*kept(archive, 2), *(one.sop_instance_uid for one in spooled), *unknown(1)]) == Status(0)
        await until(lambda: gate.told.delivered)
        assert gate.told.delivered == [("CT1", 5, 1)]


async def test_what_is_in_the_store_does_not_wait_for_the_spool() -> None:
    modality, clock = Modality(), Clock()
    async with Archive() as archive, modality.listening(), gateway(archive, modality, oldest=lambda: 0.0, clock=clock) as gate:
        assert await gate.commit(kept(archive, 2)) == Status(0)
        await until(lambda: gate.told.delivered)
        assert clock.slept == []


async def test_a_commitment_survives_a_restart_where_there_is_a_spool(tmp_path: Path) -> None:
    modality = Modality()
    journal = DirectoryJournal(tmp_path / "commitments")
    async with Archive() as archive:
        there = kept(archive, 3)
        clock = Clock()
        clock.rest = asyncio.Event().wait
        async with gateway(archive, modality, journal=journal, clock=clock) as gate:
            assert await gate.commit(there) == Status(0)
            await until(lambda: gate.told.delays)
        (file,) = journal._directory.iterdir()
        assert "Patient" not in file.read_text()
        async with modality.listening(), gateway(archive, modality, journal=journal) as gate:
            await until(lambda: gate.told.delivered)
            await until(lambda: not list(journal._directory.iterdir()))
    ((event, report, _),) = modality.reports
    assert (event, named(report.ReferencedSOPSequence), report.TransactionUID) == (1, there, "1.2.3.4")


def test_a_journal_reads_what_it_wrote_and_passes_by_what_it_did_not(tmp_path: Path) -> None:
    journal = DirectoryJournal(tmp_path / "new")
    assert journal.load() == {}
    one = Commitment("CT1", "1.2", (("1.3", "1.4"), ("1.3", "1.5")), 12.5)
    name = journal.add(one)
    (tmp_path / "new" / "broken.json").write_text("{")
    (tmp_path / "new" / "other.json").write_text('{"references": 1}')
    (tmp_path / "new" / f".{name}").write_text("half")
    assert journal.load() == {name: one}
    assert not (tmp_path / "new" / f".{name}").exists()
    journal.remove(name)
    journal.remove(name)
    assert journal.load() == {}


async def test_a_request_that_cannot_be_written_down_is_not_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with Archive() as archive, gateway(archive, Modality(), journal=DirectoryJournal(tmp_path / "file")) as gate:
        assert (await gate.commit(["1.2"])).code == 0x0213
        assert gate.reports.pending == 0


def test_the_constants_are_those_of_the_standard() -> None:
    assert (commitment.STORAGE_COMMITMENT, commitment.PUSH_MODEL_INSTANCE) == (STORAGE_COMMITMENT, PUSH)

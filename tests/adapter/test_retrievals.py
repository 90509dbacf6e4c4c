"""C-MOVE and C-GET between an archive and nodes on loopback, in the test's own process: what goes wrong on either side, and when."""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from pynetdicom import AE, evt

from dicom_adapter.dimse import DataSetInterrupted, PeerAddress, Response, Status, StoreRequest, SubOperations
from dicom_adapter.dimse.sopclasses import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_adapter.services.datasets import decode
from dicom_adapter.services.retrieval import arrival
from dicom_adapter.services.retrieval import move as move_service
from tests.adapter.dimse.nodes import until
from tests.support.dicom import PRIVATE_SOP_CLASS, Instance, generated
from tests.support.orthanc import free_port
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT
from tests.support.retrieving import Destination, Gateway, destination, gateway, identifier, last, tasks
from tests.support.wado import Archive, Fault

STUDY, SERIES = "1.2", "1.2.3"
ALL = identifier(StudyInstanceUID=STUDY)
MANY = [f"1.2.{number}" for number in range(4097)]


def some(count: int, size: int = 1024) -> list[Instance]:
    return [generated(size) for _ in range(count)]


def uids(instances: list[Instance]) -> list[str]:
    return [one.sop_instance_uid for one in instances]


async def move(gate: Gateway, keys: bytes = ALL, model: str = STUDY_ROOT_MOVE, to: str = "WS1") -> Response:
    async with gate.asked() as association:
        return await last(association.move(model, keys, to))


def failures(response: Response) -> list[str]:
    assert response.data_set is not None
    listed = decode(response.data_set, EXPLICIT).FailedSOPInstanceUIDList
    return [listed] if isinstance(listed, str) else list(listed)


# -- all is well -----------------------------------------------------------------------------------


async def test_what_arrives_is_what_the_store_has_and_the_destination_learns_who_asked() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        sent = archive.add(STUDY, SERIES, some(20))
        archive.add("9.9", "9.9.9", some(3))
        async with gate.asked() as association:
            responses = [one async for one in association.move(STUDY_ROOT_MOVE, ALL, "WS1", priority=1)]
    assert responses[-1] == Response(Status(0), None, SubOperations(None, 20, 0, 0))
    assert responses[0].sub_operations == SubOperations(20, 0, 0, 0)
    for one in responses[:-1]:
        numbers = one.sub_operations
        assert numbers is not None
        assert one.pending
        assert (numbers.remaining or 0) + numbers.completed == 20
    assert ws.received == {one.sop_instance_uid: one.data_set for one in sent}
    assert {(one.priority, one.move_originator) for one in ws.requests} == {(1, ("CALLER", 1))}
    assert {one.peer.ae_title for one in ws.requests} == {"GATE"}


async def test_a_whole_series_is_one_request_and_single_instances_are_one_each() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        series, few = archive.add(STUDY, SERIES, some(20)), archive.add(STUDY, "1.2.4", some(2))
        assert (await move(gate)).sub_operations == SubOperations(None, 22, 0, 0)
        assert sorted(archive.retrievals()) == sorted(
            [f"/studies/{STUDY}/series/{SERIES}", *(f"/studies/{STUDY}/series/1.2.4/instances/{uid}" for uid in uids(few))]
        )
        archive.requests.clear()
        chosen = uids(series)[3:9]
        keys = identifier("IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=chosen)
        assert (await move(gate, keys)).sub_operations == SubOperations(None, 6, 0, 0)
        assert len(archive.retrievals()) == 6


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
@pytest.mark.parametrize("service", ["move", "get"])
async def test_every_level_retrieves_what_is_below_it(level: str, service: str) -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        first, _, other = archive.add(STUDY, SERIES, some(2)), archive.add(STUDY, "1.2.4", some(2)), archive.add("1.3", "1.3.3", some(2))
        keys = {"PatientID": "P1", "StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": uids(first)[0]}
        depth = ("PATIENT", "STUDY", "SERIES", "IMAGE").index(level)
        asked = identifier(level, **dict(list(keys.items())[: depth + 1]))
        if service == "move":
            response = await move(gate, asked, PATIENT_ROOT_MOVE)
        else:
            async with gate.asked(store=ws.store, classes={other[0].sop_class_uid: [EXPLICIT]}) as association:
                response = await last(association.get(PATIENT_ROOT_GET, asked))
        assert response == Response(Status(0), None, SubOperations(None, (6, 4, 2, 1)[depth], 0, 0))
        assert len(ws.received) == (6, 4, 2, 1)[depth]


async def test_lists_of_unique_keys() -> None:
    async with Archive(per_page=3) as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        groups = [archive.add(f"1.{number}", f"1.{number}.1", some(4)) for number in range(5)]
        assert (await move(gate, identifier(StudyInstanceUID=["1.0", "1.3"]))).sub_operations == SubOperations(None, 8, 0, 0)
        assert (await move(gate, identifier("SERIES", SeriesInstanceUID=["1.1.1", "1.4.1"]))).sub_operations == SubOperations(None, 8, 0, 0)
        wanted = [uid for group in groups for uid in uids(group)[:3]]
        assert (await move(gate, identifier("IMAGE", SOPInstanceUID=wanted))).sub_operations == SubOperations(None, 15, 0, 0)
        assert len(ws.received) == 19


async def test_no_match_is_a_success_with_nothing_in_it() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        assert await move(gate) == Response(Status(0), None, SubOperations(None, 0, 0, 0))
        assert archive.retrievals() == []


# -- what is asked for -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "level", "keys", "comment"),
    [
        (STUDY_ROOT_MOVE, "", {"StudyInstanceUID": STUDY}, "No QueryRetrieveLevel specified"),
        (STUDY_ROOT_MOVE, "PATIENT", {"PatientID": "P1"}, "Invalid QueryRetrieveLevel specified"),
        (STUDY_ROOT_MOVE, "FRAME", {"StudyInstanceUID": STUDY}, "Invalid QueryRetrieveLevel specified"),
        ("1.2.840.10008.5.1.4.1.2.3.2", "SERIES", {"SeriesInstanceUID": SERIES}, "Invalid QueryRetrieveLevel specified"),
        (PATIENT_ROOT_MOVE, "PATIENT", {}, "Unique key missing: PatientID"),
        (STUDY_ROOT_MOVE, "STUDY", {"StudyInstanceUID": ""}, "Unique key missing: StudyInstanceUID"),
        (STUDY_ROOT_MOVE, "SERIES", {"StudyInstanceUID": STUDY}, "Unique key missing: SeriesInstanceUID"),
        (STUDY_ROOT_MOVE, "IMAGE", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}, "Unique key missing: SOPInstanceUID"),
        (PATIENT_ROOT_MOVE, "PATIENT", {"PatientID": "P*"}, "PatientID must be one value, without wildcards"),
        (PATIENT_ROOT_MOVE, "PATIENT", {"PatientID": ["P1", "P2"]}, "PatientID must be one value, without wildcards"),
        (PATIENT_ROOT_MOVE, "STUDY", {"PatientID": "?", "StudyInstanceUID": STUDY}, "PatientID must be one value, without wildcards"),
        (STUDY_ROOT_MOVE, "STUDY", {"StudyInstanceUID": "1.2*"}, "StudyInstanceUID is no UID"),
        (STUDY_ROOT_MOVE, "STUDY", {"StudyInstanceUID": "../series"}, "StudyInstanceUID is no UID"),
        (STUDY_ROOT_MOVE, "STUDY", {"StudyInstanceUID": MANY}, "More than 4096 values in one key"),
        (STUDY_ROOT_MOVE, "SERIES", {"StudyInstanceUID": MANY[:99], "SeriesInstanceUID": MANY[:99]}, "More than 4096 values in one key"),
        (STUDY_ROOT_MOVE, "IMAGE", {"SOPInstanceUID": MANY}, "More than 4096 values in one key"),
    ],
)
async def test_a_request_that_does_not_say_what_to_retrieve_is_refused(model: str, level: str, keys: dict[str, Any], comment: str) -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        archive.add(STUDY, SERIES, some(1))
        async with gate.asked(models=[model]) as association:
            assert (await last(association.move(model, identifier(level, **keys), "WS1"))).status == Status(0xA900, comment)
        assert archive.requests == []


async def test_an_identifier_that_cannot_be_read() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        assert (await move(gate, b"\x08\x00\x52\x00ZZ\x02\x00AB")).status == Status(0xA900, "Identifier unreadable")


async def test_a_store_that_ignores_parameters_does_not_widen_the_request() -> None:
    async with Archive(ignores_parameters=True) as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        images = archive.add(STUDY, SERIES, some(5))
        archive.add("1.9", "1.9.9", some(5))
        assert (await move(gate, identifier("IMAGE", SOPInstanceUID=uids(images)[:2]))).sub_operations == SubOperations(None, 2, 0, 0)
        assert (await move(gate, identifier("SERIES", SeriesInstanceUID="1.9.9"))).sub_operations == SubOperations(None, 5, 0, 0)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (503, Status(0xA701, "Http_503, Service Unavailable")),
        (403, Status(0x0124, "Http_403, Forbidden")),
        (401, Status(0x0124, "Http_401, Unauthorized")),
        (400, Status(0xA701, "Http_400, Bad Request")),
    ],
)
async def test_a_search_that_fails(code: int, status: Status) -> None:
    async with Archive(search_fault=code) as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        assert await move(gate) == Response(status)
        (told,) = gate.told.refused
        assert told == (status, f"C-MOVE from 'CALLER' failed: {status.code:04X} {status.comment}")


async def test_a_store_that_is_down() -> None:
    nobody = free_port()
    async with destination() as ws, gateway(f"http://127.0.0.1:{nobody}/dicom-web", ws.address) as gate:
        assert (await move(gate)).status == Status(0xA701, f"Unreachable, 127.0.0.1:{nobody} refused the connection")


async def test_more_than_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from dicom_adapter.services.retrieval import instances

    monkeypatch.setattr(instances, "MOST_INSTANCES", 3)
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        archive.add(STUDY, SERIES, some(4))
        assert (await move(gate)).status == Status(0xA701, "More than 3 images match: retrieve in parts")


# -- the store's side ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["503", "break off", "garbage", "other instance"])
async def test_what_fails_in_passing_is_fetched_again(fault: Fault) -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        series, few = archive.add(STUDY, SERIES, some(9)), archive.add(STUDY, "1.2.4", some(2))
        archive.fail(SERIES, fault)
        archive.fail(uids(few)[0], fault, fault)
        assert await move(gate) == Response(Status(0), None, SubOperations(None, 11, 0, 0))
        assert ws.received == {one.sop_instance_uid: one.data_set for one in series + few}


async def test_one_that_cannot_be_had_does_not_end_the_move() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        images = archive.add(STUDY, SERIES, some(9))
        archive.fail(SERIES, "503")
        archive.fail(uids(images)[4], "404")
        archive.fail(uids(images)[6], "503", "503", "503")
        response = await move(gate)
        assert (response.status.code, response.sub_operations) == (0xB000, SubOperations(None, 7, 2, 0))
        assert response.status.comment in ("Http_404, Not Found", "Http_503, Service Unavailable")
        assert sorted(failures(response)) == sorted([uids(images)[4], uids(images)[6]])
        assert len(ws.received) == 7


async def test_an_instance_that_breaks_off_while_it_is_sent_is_sent_again() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        (large,) = archive.add(STUDY, SERIES, some(1, 20 << 20))
        archive.fail(large.sop_instance_uid, "break off")
        assert (await move(gate)).sub_operations == SubOperations(None, 1, 0, 0)
        assert ws.received == {large.sop_instance_uid: large.data_set}


# -- the destination's side ------------------------------------------------------------------------


async def test_warnings_and_failures_of_the_destination_are_counted_and_end_nothing() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        images = archive.add(STUDY, SERIES, some(10))
        names = uids(images)
        ws.statuses = {names[0]: 0xB000, names[1]: 0xB007, names[2]: 0xA700, names[3]: 0xC000, names[4]: 0xA700}
        response = await move(gate)
        assert (response.status, response.sub_operations) == (Status(0xB000, "WS1 answers A700"), SubOperations(None, 5, 3, 2))
        assert sorted(failures(response)) == sorted(names[2:5])
        assert len(ws.received) == 10
        ws.statuses = dict.fromkeys(names, 0xB000)
        response = await move(gate)
        assert response == Response(Status(0xB000, "WS1 answers B000"), None, SubOperations(None, 0, 0, 10))
        ws.statuses = dict.fromkeys(names, 0x0122)
        response = await move(gate)
        assert (response.status, response.sub_operations) == (Status(0xA702, "WS1 answers 0122"), SubOperations(None, 0, 10, 0))


async def test_a_destination_that_is_down_is_given_up_at_once() -> None:
    nobody = PeerAddress("WS1", "127.0.0.1", free_port())
    async with Archive() as archive, gateway(archive.url, nobody) as gate:
        images = archive.add(STUDY, SERIES, some(312, 16))
        response = await move(gate)
        assert response.status == Status(0xA702, f"WS1 at 127.0.0.1:{nobody.port}: connection refused")
        assert response.sub_operations == SubOperations(None, 0, 312, 0)
        assert set(failures(response)) == set(uids(images))
        ((_, tally, _),) = gate.told.ended
        assert tally.why is not None
        assert tally.why.text == f"127.0.0.1:{nobody.port} refused the connection"


async def test_a_destination_that_rejects_us() -> None:
    async with Archive() as archive, destination() as ws:
        wrong = PeerAddress("WS2", ws.address.host, ws.address.port)
        async with gateway(archive.url, wrong) as gate:
            archive.add(STUDY, SERIES, some(3))
            response = await move(gate, to="WS2")
            assert response.status == Status(0xA702, f"WS2 at 127.0.0.1:{ws.address.port}: rejected 1/1/7")


async def test_an_unknown_destination() -> None:
    async with Archive() as archive, gateway(archive.url) as gate:
        assert await move(gate, to="WS9") == Response(Status(0xA801, "Unknown AET: WS9"))
        assert [text for _, text in gate.told.refused] == [
            "C-MOVE from 'CALLER' failed: 'WS9' is not in spec.peers; add it with host and port"
        ]
        assert archive.requests == []


@pytest.mark.parametrize("size", [1024, 6 << 20])
async def test_a_destination_that_closes_in_the_middle_gets_the_rest_over_another_association(size: int) -> None:
    closing = iter([False, True, False, True] + [False] * 100)

    async with Archive() as archive, destination() as inner:

        async def store(request: StoreRequest) -> Status:
            if next(closing):
                inner.recorder.closer()  # type: ignore[attr-defined]
            return await inner.store(request)

        async with _closing(inner, store) as address, gateway(archive.url, address) as gate:
            images = archive.add(STUDY, SERIES, some(6, size))
            response = await move(gate)
            assert response == Response(Status(0), None, SubOperations(None, 6, 0, 0))
            assert inner.received == {one.sop_instance_uid: one.data_set for one in images}


class _closing:
    """A destination whose connections are cut when its handler says so."""

    def __init__(self, inner: Destination, store: Callable[[StoreRequest], object]) -> None:
        self._inner, self._store = inner, store

    async def __aenter__(self) -> PeerAddress:
        writers: set[asyncio.StreamWriter] = set()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                writer.close()

        self._cm = destination(self._store)  # type: ignore[arg-type]
        found = await self._cm.__aenter__()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there = await asyncio.open_connection("127.0.0.1", found.address.port)
            writers.update((writer, there))
            await asyncio.gather(relay(reader, there), relay(there_reader, writer))
            writers.difference_update((writer, there))

        def close() -> None:
            for writer in tuple(writers):
                writer.transport.abort()

        self._inner.recorder.closer = close  # type: ignore[attr-defined]
        self._server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return PeerAddress("WS1", "127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self._inner.recorder.closer()  # type: ignore[attr-defined]
        await self._cm.__aexit__(None, None, None)


SLOPPY = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""For tests with pynetdicom as the peer: it never closes a connection that ended while it was being accepted."""


@pytest.fixture
def picky() -> Iterator[Callable[..., tuple[PeerAddress, dict[str, tuple[str, bytes]]]]]:
    """Starts nodes of pynetdicom's that take CT images in few transfer syntaxes."""
    servers: list[Any] = []

    def start(*syntaxes: str, most: int = 10) -> tuple[PeerAddress, dict[str, tuple[str, bytes]]]:
        got: dict[str, tuple[str, bytes]] = {}

        def store(event: evt.Event) -> int:
            request: Any = event.request
            got[request.AffectedSOPInstanceUID] = event.context.transfer_syntax, request.DataSet.getvalue()
            return 0

        ae = AE("WS1")
        ae.maximum_associations = most
        ae.add_supported_context(CT_STORAGE, list(syntaxes))
        server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        servers.append(server)
        return PeerAddress("WS1", "127.0.0.1", server.server_address[1]), got

    yield start
    for server in servers:
        server.shutdown()
        for association in server.active_associations:
            association.kill()
    servers.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def ct(syntax: str, count: int = 1) -> list[Instance]:
    return [Instance(CT_STORAGE, one.sop_instance_uid, syntax, one.data_set) for one in some(count)]


@SLOPPY
async def test_the_stored_syntax_is_used_where_the_destination_takes_it_and_else_an_uncompressed_one(picky) -> None:
    converted: list[tuple[str, str]] = []

    async def convert(content: bytes, source: str, target: str) -> bytes:
        converted.append((source, target))
        return b"converted!"

    async with Archive() as archive:
        both = [*ct(EXPLICIT, 2), *ct(JPEG2000Lossless, 2), *ct(IMPLICIT, 2)]
        archive.add(STUDY, SERIES, both)
        address, got = picky(JPEG2000Lossless, IMPLICIT)
        async with gateway(archive.url, address, convert=convert) as gate:
            assert (await move(gate)).sub_operations == SubOperations(None, 6, 0, 0)
        assert converted == [(EXPLICIT, IMPLICIT)] * 2
        want = {one.sop_instance_uid: (one.transfer_syntax_uid, one.data_set) for one in both[2:]}
        assert got == want | dict.fromkeys(uids(both[:2]), (IMPLICIT, b"converted!"))


@SLOPPY
async def test_a_destination_that_takes_neither_the_syntax_nor_an_uncompressed_one(picky) -> None:
    async with Archive() as archive:
        archive.add(STUDY, SERIES, [*ct(JPEG2000Lossless, 2), *ct(EXPLICIT, 1), *some(1)])
        address, _ = picky(JPEG2000Lossless)
        async with gateway(archive.url, address) as gate:
            response = await move(gate)
            assert (response.status.code, response.sub_operations) == (0xB000, SubOperations(None, 2, 2, 0))
            ((_, tally, _),) = gate.told.ended
            assert {why.text for why in tally.reasons} == {
                "WS1 takes no CT Image Storage in Explicit VR Little Endian",
                f"WS1 takes no {PRIVATE_SOP_CLASS} in Explicit VR Little Endian",
            }


@SLOPPY
async def test_what_cannot_be_converted_fails_alone(picky) -> None:
    async with Archive() as archive:
        archive.add(STUDY, SERIES, [*ct(JPEG2000Lossless, 1), *ct(EXPLICIT, 3)])
        address, _ = picky(EXPLICIT)
        async with gateway(archive.url, address) as gate:
            response = await move(gate)
            assert response.status == Status(0xB000, "WS1 takes no JPEG 2000 Image Compression (Lossless Only): no")
            assert response.sub_operations == SubOperations(None, 3, 1, 0)


@SLOPPY
async def test_a_destination_with_one_association_gets_everything_over_it(picky) -> None:
    async with Archive() as archive:
        archive.add(STUDY, SERIES, ct(EXPLICIT, 40))
        address, got = picky(EXPLICIT, most=1)
        async with gateway(archive.url, address) as gate:
            assert (await move(gate)).sub_operations == SubOperations(None, 40, 0, 0)
        assert len(got) == 40


async def test_two_moves_at_once_share_the_associations_of_a_slow_destination() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address, per_peer=1) as gate:
        ws.delay = 0.002
        first = set(uids(archive.add(STUDY, SERIES, some(40))))
        archive.add("1.3", "1.3.3", some(40))
        both = await asyncio.gather(move(gate), move(gate, identifier(StudyInstanceUID="1.3")))
        assert [one.sub_operations for one in both] == [SubOperations(None, 40, 0, 0)] * 2
        of_the_first = [request.sop_instance_uid in first for request in ws.requests]
        assert of_the_first.count(True) == of_the_first.count(False) == 40
        assert len(set(of_the_first[:40])) == 2  # by turns


# -- memory ----------------------------------------------------------------------------------------


async def test_what_waits_for_a_destination_is_bounded_and_so_are_its_associations() -> None:
    go_on = asyncio.Event()
    async with Archive() as archive, destination() as inner:

        async def store(request: StoreRequest) -> Status:
            inner.requests.append(request)
            await go_on.wait()
            async for _ in request.body:
                pass
            return Status(0)

        async with destination(store) as ws, gateway(archive.url, ws.address) as gate:
            archive.add(STUDY, SERIES, some(150, 300_000))
            archive.add(STUDY, "1.2.4", some(3), repeat=300)  # 19 MB each
            moving = asyncio.create_task(move(gate))
            await until(lambda: gate.memory.held >= arrival.SHARE_BYTES and inner.requests)
            held = [0]
            while gate.memory.held != held[-1]:  # until nothing comes any more
                held.append(gate.memory.held)
                await asyncio.sleep(0.2)
            assert held[-1] < arrival.SHARE_BYTES + 8 * arrival.STREAM_BYTES
            assert len(inner.requests) == len(ws.recorder.accepted) == 1  # it has not answered yet: who knows how many it takes
            go_on.set()
            assert (await moving).sub_operations == SubOperations(None, 153, 0, 0)
            assert len(ws.recorder.accepted) <= 4


# -- the end before the end ------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["move", "get"])
@pytest.mark.parametrize("seed", range(5))
async def test_cancelled_at_any_moment_the_association_lives_and_nothing_goes_on(service: str, seed: int) -> None:
    rng = random.Random(seed)
    async with Archive(delay=rng.choice([0, 0.01])) as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        ws.delay = 0.002
        count, size = rng.choice([(200, 1000), (60, 300_000), (8, 6 << 20)])
        archive.add(STUDY, SERIES, some(count, size))
        classes = {PRIVATE_SOP_CLASS: [EXPLICIT]}
        async with gate.asked(store=ws.store, classes=classes if service == "get" else None) as association:
            responses = association.get(STUDY_ROOT_GET, ALL) if service == "get" else association.move(STUDY_ROOT_MOVE, ALL, "WS1")
            for _ in range(rng.randrange(1, 4)):
                await anext(responses)
            await asyncio.sleep(rng.random() * 0.05)
            await responses.aclose()  # sends a C-CANCEL
            again = association.get(STUDY_ROOT_GET, ALL) if service == "get" else association.move(STUDY_ROOT_MOVE, ALL, "WS1")
            assert (await last(again)).sub_operations == SubOperations(None, count, 0, 0)
        first = gate.recorder.operations[0]
        assert first[2].code in (0xFE00, 0)
        await until(lambda: not archive.under_way["retrieve"])
        if first[2].code:
            tally = gate.told.ended[0][1]
            assert len(tally.remaining) + tally.completed == count


async def test_a_cancel_does_not_wait_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_service, "_PATIENCE", 1e6)
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate, gate.asked() as association:
        for one in archive.add(STUDY, SERIES, some(3)):
            archive.fail(one.sop_instance_uid, "never answer")
        responses = association.move(STUDY_ROOT_MOVE, ALL, "WS1")
        await anext(responses)
        await until(lambda: archive.under_way["retrieve"])
        await responses.aclose()
        await until(lambda: gate.recorder.operations and not archive.under_way["retrieve"])
        assert gate.recorder.operations[0][2].code == 0xFE00


async def test_a_cancel_ends_the_search_too() -> None:
    async with Archive(delay=30) as archive, destination() as ws, gateway(archive.url, ws.address) as gate, gate.asked() as association:
        responses = association.move(STUDY_ROOT_MOVE, ALL, "WS1")
        asking = asyncio.create_task(anext(responses))
        await until(lambda: archive.under_way["search"])
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await responses.aclose()
        await until(lambda: not archive.under_way["search"])
        await until(lambda: gate.recorder.operations)
        assert gate.recorder.operations[0][2].code == 0xFE00


async def test_a_requestor_that_goes_away_ends_the_move() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url, ws.address) as gate:
        ws.delay = 0.05
        archive.add(STUDY, SERIES, some(400, 1000))
        async with gate.asked() as association:
            responses = association.move(STUDY_ROOT_MOVE, ALL, "WS1")
            await anext(responses)
            await association.abort()
        await until(lambda: not tasks())
        assert len(ws.received) < 400


# -- C-GET -----------------------------------------------------------------------------------------


async def test_a_get_of_what_the_requestor_does_not_take() -> None:
    async with Archive() as archive, destination() as ws, gateway(archive.url) as gate:
        archive.add(STUDY, SERIES, [*ct(EXPLICIT, 2), *some(3)])
        async with gate.asked(store=ws.store, classes={CT_STORAGE: [EXPLICIT]}) as association:
            response = await last(association.get(STUDY_ROOT_GET, ALL))
        assert (response.status.code, response.sub_operations) == (0xB000, SubOperations(None, 2, 3, 0))
        assert response.status.comment == f"CALLER takes no {PRIVATE_SOP_CLASS} in Explicit VR"


async def test_a_requestor_that_aborts_in_the_middle_of_a_get() -> None:
    async with Archive() as archive, gateway(archive.url) as gate:
        archive.add(STUDY, SERIES, some(30, 400_000))

        async def store(request: StoreRequest) -> Status:
            try:
                async for _ in request.body:
                    pass
            except DataSetInterrupted:
                pass
            return Status(0)

        async with gate.asked(store=store, classes={PRIVATE_SOP_CLASS: [EXPLICIT]}) as association:
            responses = association.get(STUDY_ROOT_GET, ALL)
            await anext(responses)
            await association.abort()
        await until(lambda: not tasks())


def test_failed_lists_that_are_too_long_are_cut() -> None:
    from dicom_adapter.services.retrieval.retrieval import Tally
    from dicom_adapter.services.retrieval.service import _failures

    content = _failures(Tally({}, failed=["1." + "2" * 62] * 2000), EXPLICIT)
    assert content is not None
    found: Dataset = decode(content, EXPLICIT)
    assert len(found.FailedSOPInstanceUIDList) == 1008

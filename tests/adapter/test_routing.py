"""Routes over the wire: real images from a sender through the adapter to DICOMweb stores, Orthanc and storescp, each as its route says."""

from __future__ import annotations

import asyncio
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicom_adapter.dimse import Handlers, Status, StoreRequest
from tests.adapter.dimse.peers import storescp
from tests.adapter.dimse.serving import serving
from tests.support.adapter import Adapter
from tests.support.dicom import SAMPLES, Instance, generated, instance, split, write_sample, write_samples
from tests.support.orthanc import Orthanc, free_port
from tests.support.rawscu import RawScu, associate_rq, context, pdata, pdv, send_instances, store_rq
from tests.support.store import FaultStore, Reply, google_error

QUICK = {"timeoutSeconds": 3, "retry": {"maxAttempts": 2, "initialDelayMilliseconds": 10, "maxDelayMilliseconds": 20}}


def web(name: str, store: FaultStore | Orthanc) -> dict[str, Any]:
    return {"name": name, "dicomStore": store.url if isinstance(store, FaultStore) else store.dicomweb_url}


def node(name: str, port: int, title: str = "PACS") -> dict[str, Any]:
    return {"name": name, "aeTitle": title, "host": "127.0.0.1", "port": port}


def route(*destinations: str, ae: str = "", **attributes: str) -> dict[str, Any]:
    match: dict[str, Any] = {"callingAETitle": ae} if ae else {}
    return {
        "match": {**match, "attributes": [{"keyword": name.removeprefix("x"), "values": [value]} for name, value in attributes.items()]},
        "destinations": list(destinations),
    }


async def send(adapter: Adapter, *images: Instance, calling: str = "CT1") -> list[tuple[int, str]]:
    wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in images]
    return await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", calling, wire)


def with_private(value: bytes, size: int) -> Instance:
    """An image whose private element (0033,1001) comes behind `size` bytes of others."""
    one = generated(0)
    head = one.data_set.index(struct.pack("<HH", 0x0010, 0x0010))
    bulk = struct.pack("<HH2sHI", 0x0009, 0x1002, b"OB", 0, size) + bytes(size)
    tag = struct.pack("<HH2sH", 0x0033, 0x1001, b"LO", len(value)) + value
    return replace(one, data_set=one.data_set[:head] + bulk + one.data_set[head:] + tag)


def uids(store: FaultStore) -> list[str]:
    return [post.uid for post in store.posts if post.complete]


async def test_images_go_where_their_routes_say_byte_for_byte(tmp_path: Path) -> None:
    """To Orthanc over DICOMweb and to storescp over DIMSE, in every transfer syntax that there is."""
    images = {name: instance(path) for name, path in zip(SAMPLES, write_samples(tmp_path), strict=True)}
    with Orthanc() as orthanc, storescp(tmp_path / "received", "+xa", "--fork") as port:
        async with FaultStore() as default:
            spec = {
                "destinations": [web("orthanc", orthanc), node("pacs", port)],
                "routes": [route("orthanc", "pacs", Modality="MR"), route("pacs", ae="*", Modality="CT"), route("orthanc", Modality="?S")],
            }
            async with Adapter(default.url, spec=spec) as adapter:
                assert await send(adapter, *images.values()) == [(0, "")] * len(images)
            expected: dict[str, list[str]] = {name: [] for name in images} | {
                name: ["orthanc", "pacs"] for name in ("MR", "MR implicit", "MR big endian", "JPEG-LS", "JPEG 2000", "RLE")
            }
            expected["CT"] = ["pacs"]
            in_pacs = {split(path.read_bytes())[1] for path in (tmp_path / "received").iterdir()}
            in_orthanc = orthanc.instances()
            for name, one in images.items():
                found = [*(["orthanc"] if one.sop_instance_uid in in_orthanc else []), *(["pacs"] if one.data_set in in_pacs else [])]
                assert (name, found) == (name, expected[name])
                assert (one.sop_instance_uid in uids(default)) is not bool(expected[name])
            for name in ("MR", "MR big endian"):
                assert split(orthanc.file(images[name].sop_instance_uid))[1] == images[name].data_set


async def test_every_route_that_matches_counts_and_none_is_sent_twice(tmp_path: Path) -> None:
    one = instance(write_sample("CT", tmp_path))
    async with FaultStore() as default, FaultStore() as archive, FaultStore() as research:
        spec = {
            "destinations": [web("archive", archive), web("research", research)],
            "routes": [
                route("archive", ae="CT*"),
                route("research", "archive", Modality="CT"),
                route("dicomStore", "archive", PatientID="*"),
            ],
            "routing": "AllMatches",
        }
        async with Adapter(default.url, spec=spec) as adapter:
            assert await send(adapter, one) == [(0, "")]
        assert [uids(store) for store in (default, archive, research)] == [[one.sop_instance_uid]] * 3
        assert {store.posts[0].part for store in (default, archive, research)} == {default.posts[0].part}


async def test_attributes_anywhere_in_the_image_are_found() -> None:
    """Also behind what is looked through in memory, and behind what memory holds: not a byte is lost."""
    images = [(with_private(b"SCREENING ", size), with_private(b"ELSE", size)) for size in (1000, 3 << 20, 9 << 20)]
    async with FaultStore() as default, FaultStore() as archive:
        spec = {"destinations": [web("archive", archive)], "routes": [route("archive", x00331001="SCREEN*")]}
        async with Adapter(default.url, spec=spec) as adapter:
            for there, other in images:
                assert await send(adapter, there, other) == [(0, "")] * 2
        for store, sent in ((archive, [there for there, _ in images]), (default, [other for _, other in images])):
            assert [split(post.part)[1] for post in store.posts if post.part] == [one.data_set for one in sent]


async def test_a_large_image_for_one_store_still_streams(tmp_path: Path) -> None:
    """Its route is known from its beginning: it need not be whole before it is sent on."""
    async with FaultStore() as default, FaultStore() as archive:
        spec = {"destinations": [web("archive", archive)], "routes": [route("archive", Modality="OT")]}
        async with Adapter(default.url, spec=spec) as adapter:
            assert await send(adapter, generated(9 << 20)) == [(0, "")]
        assert [post.chunked for post in archive.posts] == [True]


REFUSED = google_error(400, "INVALID_ARGUMENT", "StudyInstanceUID is missing")
ASLEEP = google_error(503, "UNAVAILABLE", "asleep")


OUTCOMES = [
    (Reply(), Reply(), 0, "", ""),
    (
        Reply(),
        Reply(400, REFUSED),
        0xC000,
        "Http_400, INVALID_ARGUMENT, StudyInstanceUID is missing",
        "C-STORE from 'CT1' refused for good: 'research': 400 INVALID_ARGUMENT: StudyInstanceUID is missing",
    ),
    (
        Reply(503, ASLEEP),
        Reply(400, REFUSED),
        0xA700,
        "Http_503, UNAVAILABLE, asleep",
        "C-STORE from 'CT1' failed: A700 'archive': Http_503, UNAVAILABLE, asleep; "
        "'research': 400 INVALID_ARGUMENT: StudyInstanceUID is missing",
    ),
]


async def test_success_means_that_every_destination_has_it() -> None:
    """Else the verdict is that of the one that may take it later: the sender keeps the image and sends it again."""
    async with FaultStore() as default, FaultStore() as archive, FaultStore() as research:
        spec = {
            "destinations": [web("archive", archive), web("research", research)],
            "routes": [{"destinations": ["archive", "research"]}],
            "delivery": {**QUICK, "retry": {"maxAttempts": 1}},
        }
        async with Adapter(default.url, spec=spec) as adapter:
            for first, second, status, comment, line in OUTCOMES:
                one = generated()
                archive.script.append(first)
                research.script.append(second)
                assert await send(adapter, one) == [(status, comment)]
                assert uids(archive)[-1] == uids(research)[-1] == one.sop_instance_uid
                if line:
                    assert (await adapter.line(line))["sop_instance_uid"] == one.sop_instance_uid
        assert default.posts == []


# what a node answers, the status and Error Comment for the sender, the end of the log line
ANSWERS = [
    (Status(0), 0, "", ""),
    (Status(0xB007, "x"), 0xB007, "Stored; the store coerced elements (B007)", ": stored with warning B007"),
    (Status(0xC123, "No room at PACS"), 0xC123, "No room at PACS", " failed: C123 'pacs': the node answered C123"),
    (Status(0xA900), 0xA900, "the node answered A900", " failed: A900 'pacs': the node answered A900"),
    (Status(0x0122), 0x0122, "the node answered 0122", " failed: 0122 'pacs': the node answered 0122"),
    (Status(0xA701, "Disk full"), 0xA700, "Disk full", " failed: A700 'pacs': the node answered A701"),
    (Status(0x0124), 0xA700, "the node answered 0124", " failed: A700 'pacs': the node answered 0124"),
]


async def test_what_a_dicom_node_says() -> None:
    """Its own word where it has judged the image; else the sender keeps the image."""
    received: list[str] = []
    answer = Status(0)

    async def store(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        received.append(request.sop_instance_uid)
        return answer

    async with FaultStore() as default:
        with serving(store, titles=("PACS",)) as server:
            spec = {"destinations": [node("pacs", server.port)], "routes": [{"destinations": ["pacs"]}], "delivery": QUICK}
            async with Adapter(default.url, spec=spec) as adapter:
                for number, (answer, status, comment, line) in enumerate(ANSWERS):
                    one, calling = generated(), f"CT{number}"
                    received.clear()
                    assert await send(adapter, one, calling=calling) == [(status, comment)]
                    assert received == [one.sop_instance_uid] * (2 if answer.code == 0xA701 else 1)
                    if line:
                        await adapter.line(f"C-STORE from '{calling}'{line}")


async def test_a_node_that_is_not_there_and_one_that_does_not_take_it() -> None:
    one, port = generated(), free_port()
    refuses = f"127.0.0.1:{port} refuses the connection: nothing listens on this port"
    async with FaultStore() as default:
        with serving(handlers=Handlers(), titles=("PACS",)) as server:
            spec = {
                "destinations": [node("away", port), node("pacs", server.port)],
                "routes": [route("away", ae="CT1"), route("pacs", ae="CT2")],
                "delivery": QUICK,
            }
            async with Adapter(default.url, spec=spec) as adapter:
                ((status, comment),) = await send(adapter, one)
                assert (status, comment) == (0xA700, refuses[:64].rpartition(" ")[0])
                await adapter.line(f"C-STORE from 'CT1' failed: A700 'away': {refuses}")
                ((status, comment),) = await send(adapter, one, calling="CT2")
                assert (status, comment[:23]) == (0x0122, "'PACS' has not accepted")


async def test_what_is_known_of_each_destination_is_in_the_status() -> None:
    port = free_port()
    async with FaultStore() as default, FaultStore() as archive, FaultStore() as locked:
        locked.search_reply = Reply(401, google_error(401, "UNAUTHENTICATED", "no"), "application/json")
        with serving(handlers=Handlers(), titles=("PACS",)) as server:
            stores = [web("archive", archive), web("locked", locked)]
            other = node("other", server.port, "X")
            secret = {**web("secret", archive), "credentials": {"bearerTokenSecret": {"name": "gone"}, "allowInsecure": True}}
            stores.append(secret)
            spec = {
                "destinations": [
                    web("archive", archive),
                    web("locked", locked),
                    node("pacs", server.port),
                    other,
                    node("away", port),
                    secret,
                ],
                "routes": [route("secret", ae="CT1")],
            }
            async with Adapter(default.url, spec=spec) as adapter:

                async def probed() -> bool:
                    return all(one["reachable"] is not None for one in (await adapter.status())["destinations"])

                await adapter.poll(probed)
                found = {one["name"]: (one["reachable"], one["reason"], one["message"]) for one in (await adapter.status())["destinations"]}
                unauthorized = "the store answers 401 UNAUTHENTICATED: it wants credentials; name them in spec.destinations[1].credentials"
                assert found == {
                    "archive": (True, "Reachable", "the store answers"),
                    "locked": (False, "Unauthorized", unauthorized),
                    "pacs": (True, "Reachable", "the node answers"),
                    "other": (
                        False,
                        "NotFound",
                        "the association was rejected (1/1/7): it has another AE title (called AE title not recognized)",
                    ),
                    "away": (False, "Unreachable", f"127.0.0.1:{port} refuses the connection: nothing listens on this port"),
                    "secret": (False, "Unauthorized", "Secret 'gone' does not exist in namespace 'rad'; create it, no restart is needed"),
                }
                await adapter.store_becomes("Reachable")
                assert (await adapter.status())["verdict"] == {"level": "warn", "message": f"'locked': {unauthorized}"}
                line = await adapter.line(f"'locked': {unauthorized}")
                assert (line["severity"], line["event"], line["destination"]) == ("ERROR", "DestinationUnavailable", "locked")
                assert await send(adapter, generated()) == [(0xA700, "Secret 'gone' is not usable")]
                assert await send(adapter, generated(), calling="CT2") == [(0, "")]


OTHER, CUT = "SOP Instance UID of data set and command differ", "Data set unreadable at byte 0: length past the end"


async def test_what_cannot_be_read_for_its_route_is_refused_and_says_where() -> None:
    good = generated()
    other = replace(good, sop_instance_uid="1.2.3.4")
    other_class = replace(good, sop_class_uid="1.2.826.0.1.3680043.9.7156.1.2")
    cut = replace(good, data_set=struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 900) + b"CT")
    async with FaultStore() as default:
        async with Adapter(default.url, spec={"routes": [route("dicomStore", Modality="CT")]}) as adapter:
            assert await send(adapter, other, cut, other_class, good) == [
                (0xA900, OTHER),
                (0xC000, CUT),
                (0xA900, OTHER.replace("Instance", "Class")),
                (0, ""),
            ]
            for line in (f"C-STORE from 'CT1' failed: A900 {OTHER}", f"C-STORE from 'CT1' failed: C000 {CUT}"):
                assert (await adapter.line(line))["severity"] == "WARNING"
        assert uids(default) == [good.sop_instance_uid]


async def test_without_routes_nothing_of_an_image_is_read() -> None:
    nonsense = replace(generated(), data_set=b"no data set at all")
    async with FaultStore() as default:
        async with Adapter(default.url) as adapter:
            assert await send(adapter, nonsense) == [(0, "")]
        assert [split(post.part)[1] for post in default.posts if post.part] == [nonsense.data_set]


async def test_a_sender_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither at a store nor on the disk, when the route is not yet known."""
    one = with_private(b"SCREENING ", 6 << 20)
    async with FaultStore() as default, FaultStore() as archive:
        spec = {"destinations": [web("archive", archive)], "routes": [route("archive", "dicomStore", x00331001="SCREEN*")]}
        async with Adapter(default.url, spec=spec, environment={"TMPDIR": str(tmp_path)}) as adapter:

            def break_off() -> None:
                with RawScu("127.0.0.1", adapter.port) as scu:
                    scu.associate(associate_rq("GATE", "CT1", [context(1, one.sop_class_uid, one.transfer_syntax_uid)]))
                    command = store_rq(one.sop_class_uid, one.sop_instance_uid)
                    scu.send_message(1, command)
                    for start in range(0, len(one.data_set) - 100_000, 16_000):
                        scu.send(pdata(pdv(1, 0, one.data_set[start : start + 16_000])))

            await asyncio.to_thread(break_off)
            await adapter.poll_lines(lambda text: text.startswith("'CT1' from 127.0.0.1 "))
            assert await send(adapter, one) == [(0, "")]
        assert [uids(store) for store in (default, archive)] == [[one.sop_instance_uid]] * 2
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 -- a small local directory


async def test_into_the_spool_and_from_there_to_every_destination(tmp_path: Path) -> None:
    """The sender has Success while one of them is away; each gets the image once it takes it, by itself."""
    mammogram, other = with_private(b"SCREENING ", 3 << 20), with_private(b"ELSE", 1000)
    refused = replace(generated(), sop_instance_uid="1.2.3.4")
    port = free_port()
    received: dict[str, bytes] = {}

    async def store(request: StoreRequest) -> Status:
        received[request.sop_instance_uid] = b"".join([piece async for piece in request.body])
        return Status(0)

    async with FaultStore() as default, FaultStore() as archive:
        spec = {
            "destinations": [web("archive", archive), node("pacs", port)],
            "routes": [route("archive", "pacs", x00331001="SCREEN*")],
            "delivery": {"acknowledge": "AfterSpool", "backlogThresholds": {"seconds": 1}, **QUICK},
        }
        async with Adapter(default.url, spec=spec, arguments=[f"--spool_directory={tmp_path / 'spool'}"]) as adapter:
            assert await send(adapter, mammogram, other, refused) == [(0, ""), (0, ""), (0xA900, OTHER)]
            await archive.until(lambda: uids(archive) == [mammogram.sop_instance_uid])
            await default.until(lambda: uids(default) == [other.sop_instance_uid])

            async def waiting(count: int) -> bool:
                spool = (await adapter.status())["spool"]
                return {one["name"]: one["instances"] for one in spool["destinations"]} == {"archive": 0, "dicomStore": 0, "pacs": count}

            async def gauges(name: str) -> dict[str, str]:
                rows = re.findall(
                    rf'^dicom_delivery_{name}{{destination="(\w+)"}} (\S+)$', (await adapter.get("/metrics"))[1], re.MULTILINE
                )
                return dict(rows)

            async def circuit(state: str) -> bool:
                return await gauges("circuit_open") == {"dicomStore": "0.0", "archive": "0.0", "pacs": state}

            await adapter.poll(lambda: waiting(1))
            await adapter.poll(lambda: circuit("1.0"), 60)
            said = (
                "images for 'pacs' wait for longer than 1 s (spec.delivery.backlogThresholds): they are kept in the spool, "
                "senders are not affected"
            )
            await adapter.line(said)
            assert (await adapter.status())["spool"]["message"] == said
            assert set(await gauges("waiting")) == {"dicomStore", "archive", "pacs"}
            with serving(store, titles=("PACS",), port=port):
                await adapter.poll(lambda: waiting(0), 60)
                await adapter.poll(lambda: circuit("0.0"), 60)
            assert (await gauges("permits"))["archive"] == "32.0"
        assert received == {mammogram.sop_instance_uid: mammogram.data_set}
        assert [split(post.part)[1] for post in archive.posts if post.part] == [mammogram.data_set]

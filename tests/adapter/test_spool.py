"""AfterSpool: acknowledged when it is on disk, delivered whatever happens in between."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from dicom_adapter.dimse import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_adapter.part10 import FileMeta
from dicom_adapter.spool.access import SpoolAccess
from tests.support.adapter import COMMAND, Adapter, dcmsend, run
from tests.support.archive import Archive
from tests.support.dicom import Instance, generated, write_samples
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore, Reply, google_error, stored_json

AFTER_SPOOL = {"delivery": {"acknowledge": "AfterSpool"}}


def spooling(archive: Archive, directory: Path, *, wait: bool = True, **spec: object) -> Adapter:
    merged = {**spec, "delivery": {"acknowledge": "AfterSpool", **spec.get("delivery", {})}}  # type: ignore[dict-item]
    return Adapter(archive.url, spec=merged, arguments=[f"--spool_directory={directory}"], wait=wait)


async def send(adapter: Adapter, ones: Sequence[Instance], *, calling: str = "CT1") -> list[tuple[int, str]]:
    instances = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in ones]
    return await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", calling, instances)


def digest(one: Instance) -> str:
    """Of the file that is to be in the store."""
    uids = one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid
    return hashlib.sha256(FileMeta(*uids, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME).encode() + one.data_set).hexdigest()


async def empty(adapter: Adapter) -> dict[str, object]:
    """Waits until nothing is left to be delivered; gives `spool` of /status."""

    async def asked() -> bool:
        return bool((await adapter.status())["spool"]["instances"] == 0)

    await adapter.poll(asked)
    return dict((await adapter.status())["spool"])


async def test_it_is_acknowledged_while_the_store_is_down_and_delivered_byte_for_byte_when_it_is_back(tmp_path: Path) -> None:
    ones = [generated(size) for size in (10, 100_000, 3 << 20)]
    async with Archive(outage=503) as archive, spooling(archive, tmp_path) as adapter:
        assert await send(adapter, ones) == [(0, "")] * 3
        spool = (await adapter.status())["spool"]
        assert (spool["instances"], spool["failed"], spool["reason"]) == (3, 0, "Delivering")
        assert spool["oldestTime"].endswith("Z")
        used = sum(path.stat().st_size for path in (tmp_path / "dicomStore/ready").iterdir())
        metrics = (await adapter.get("/metrics"))[1]
        assert 'dicom_spool_instances{destination="dicomStore",state="ready"} 3.0' in metrics
        assert 'dicom_spool_instances{destination="dicomStore",state="failed"} 0.0' in metrics
        (size,) = [line.split()[1] for line in metrics.splitlines() if line.startswith('dicom_spool_bytes{destination="dicomStore"}')]
        assert float(size) == used
        assert "dicom_spool_full 0.0" in metrics
        assert not archive.stored
        archive.outage = 0
        await archive.until(lambda: len(archive.stored) == 3)
        assert archive.digests == {one.sop_instance_uid: {digest(one): 1} for one in ones}
        assert (await empty(adapter))["oldestTime"] is None
        assert not list((tmp_path / "dicomStore/ready").iterdir())
        assert 'dicom_spool_deliveries_total{destination="dicomStore",outcome="stored"} 3.0' in (await adapter.get("/metrics"))[1]


async def test_every_transfer_syntax_goes_through_the_spool(tmp_path: Path) -> None:
    files = write_samples(tmp_path)
    async with Archive() as archive, spooling(archive, tmp_path / "spool") as adapter:
        await dcmsend(adapter.port, files)
        await archive.until(lambda: len(archive.stored) == len(files))


async def test_what_waits_is_delivered_after_a_restart(tmp_path: Path) -> None:
    ones = [generated(1000) for _ in range(20)]
    async with Archive(outage=503) as archive:
        async with spooling(archive, tmp_path) as adapter:
            await send(adapter, ones)
            adapter.signal(signal.SIGKILL)
        archive.outage = 0
        async with spooling(archive, tmp_path) as adapter:
            await adapter.line("found 20 images in the spool for 'dicomStore': they are delivered now")
            await archive.until(lambda: len(archive.stored) == 20)
            assert archive.digests == {one.sop_instance_uid: {digest(one): 1} for one in ones}


async def test_a_drain_delivers_what_it_can_and_leaves_the_rest_to_the_next_start(tmp_path: Path) -> None:
    async with Archive(delay=0.3) as archive:
        async with spooling(archive, tmp_path) as adapter:
            await send(adapter, [generated(1000) for _ in range(10)])
            adapter.signal(signal.SIGTERM)
            assert adapter.process
            assert await asyncio.wait_for(adapter.process.wait(), 60) == 0
            assert len(archive.stored) == 10, "there was time to deliver them"
        archive.outage = 503
        async with spooling(archive, tmp_path) as adapter:
            await send(adapter, [generated(1000) for _ in range(4)])
            await archive.until(lambda: len(archive.got) > 13)
            adapter.signal(signal.SIGTERM)
            assert await asyncio.wait_for(adapter.process.wait(), 60) == 0  # type: ignore[union-attr]
            await adapter.line("4 images are undelivered: they stay in the spool, and the next start delivers them")
    assert len(list((tmp_path / "dicomStore/ready").iterdir())) == 4


# -- failures.md -----------------------------------------------------------------------------------


async def test_a_refused_image_lies_in_failed_with_its_reason_and_can_be_tried_again(tmp_path: Path) -> None:
    """Row 25."""
    one, bad = generated(), generated()
    async with Archive(refuses={bad.sop_instance_uid: 0x0110}) as archive, spooling(archive, tmp_path) as adapter:
        assert await send(adapter, [bad, one]) == [(0, ""), (0, "")]
        line = await adapter.line("delivery to 'dicomStore' refused for good: 409, Failure Reason 0110")
        assert (line["severity"], line["event"], line["sop_instance_uid"], line["status"]) == (
            "WARNING",
            "InstanceRefused",
            bad.sop_instance_uid,
            "C000",
        )
        await archive.until(lambda: one.sop_instance_uid in archive.stored)
        spool = await empty(adapter)
        assert (spool["failed"], spool["reason"]) == (1, "Delivering")
        access = SpoolAccess(str(tmp_path))
        (listed,) = access.each(state="failed")
        assert access.story(listed)["sopInstanceUID"] == bad.sop_instance_uid
        archive.refuses = {}
        command = (*COMMAND, "spool")
        status, out, _ = await run(*command, "list", "--failed", f"--spool_directory={tmp_path}")
        assert (status, len(out.splitlines())) == (0, 2)
        assert out.endswith("  C000 The store refused the instance: Failure Reason 0110\n")
        retry = await run(*command, "retry", "--all", f"--spool_directory={tmp_path}")
        assert retry == (0, "1 image is sent again\n", "")
        await archive.until(lambda: bad.sop_instance_uid in archive.stored)
        assert (await empty(adapter))["failed"] == 0


async def test_duplicates_and_warnings(tmp_path: Path) -> None:
    """Rows 24 to 26."""
    same, coerced, unclear, bad = (generated() for _ in range(4))
    async with FaultStore() as store:
        store.script += [
            Reply(409, google_error(409, "ALREADY_EXISTS", "instance exists with other content"), "application/json"),
            Reply(200, stored_json(coerced.sop_instance_uid, warning=0xB000)),
            Reply(200, b"[garbage"),
            Reply(400, google_error(400, "INVALID_ARGUMENT", "StudyInstanceUID is missing"), "application/json"),
        ]
        async with Adapter(store.url, spec=AFTER_SPOOL, arguments=[f"--spool_directory={tmp_path}"]) as adapter:
            assert await send(adapter, [same]) == [(0, "")]
            line = await adapter.line("delivery to 'dicomStore' refused for good: 409 ALREADY_EXISTS; spec.delivery.onConflict is Fail")
            assert (line["status"], line["http_status"]) == ("C409", 409)
            assert await send(adapter, [coerced]) == [(0, "")]
            assert (await adapter.line("delivery to 'dicomStore': stored with warning B000"))["severity"] == "WARNING"
            assert await send(adapter, [unclear]) == [(0, "")]
            await adapter.line("delivery to 'dicomStore': 200 with a body that cannot be read: taken as stored")
            assert await send(adapter, [bad]) == [(0, "")]
            text = "delivery to 'dicomStore' refused for good: 400 INVALID_ARGUMENT: StudyInstanceUID is missing"
            line = await adapter.line(text)
            assert (line["severity"], line["status"], line["http_status"]) == ("WARNING", "C000", 400)
            assert (await empty(adapter))["failed"] == 2


async def test_the_store_is_down_and_senders_are_not_affected(tmp_path: Path) -> None:
    """Row 22."""
    thresholds = {"backlogThresholds": {"seconds": 1}}
    async with Archive(outage=503) as archive, spooling(archive, tmp_path, delivery=thresholds) as adapter:
        assert await send(adapter, [generated()]) == [(0, "")]
        said = (
            "images for 'dicomStore' wait for longer than 1 s (spec.delivery.backlogThresholds): they are kept in the spool, "
            "senders are not affected"
        )
        assert (await adapter.line(said))["severity"] == "WARNING"
        status = await adapter.store_becomes("Unreachable")
        assert status["store"]["message"] == (
            "the store answers 503 Service Unavailable: images wait in the spool, senders are not affected"
        )
        assert (status["spool"]["reason"], status["spool"]["message"]) == ("Backlogged", said)
        assert status["ready"]
        archive.outage = 0
        await adapter.line("the spool takes images again, and they are delivered as they come")


async def test_no_image_is_posted_before_the_store_wants_one_again(tmp_path: Path) -> None:
    """Retry-After is for the destination: others must not try it meanwhile, and a sender notices nothing."""
    async with Archive(outage=503, headers={"Retry-After": "2"}) as archive, spooling(archive, tmp_path) as adapter:
        assert await send(adapter, [generated()]) == [(0, "")]
        await archive.until(lambda: len(archive.got) == 1)
        archive.outage = 0
        assert await send(adapter, [generated() for _ in range(3)]) == [(0, "")] * 3
        await archive.until(lambda: len(archive.stored) == 4)
        assert archive.got[1].time - archive.got[0].time >= 2.0


async def test_a_spool_at_its_reserve(tmp_path: Path) -> None:
    """Row 27."""
    async with Archive() as archive, spooling(archive, tmp_path, spool={"reserveBytes": 1 << 52}) as adapter:
        ((status, comment),) = await send(adapter, [generated()])
        assert status == 0xA700
        assert comment.startswith("Spool full: ")
        assert comment.endswith(" GiB free, 4194304 GiB is kept in reserve")
        said = "the spool is full: senders get A700 and keep their images until the store takes the backlog; or enlarge spool.maxBytes"
        assert (await adapter.line(said))["severity"] == "ERROR"
        found = await adapter.status()
        assert (found["spool"]["reason"], found["spool"]["message"]) == ("SpoolFull", said)
        assert found["verdict"] == {"level": "bad", "message": said}
        assert found["ready"], "the store's side goes on"


async def test_a_spool_at_its_most_takes_images_again_when_the_store_does(tmp_path: Path) -> None:
    async with Archive(outage=503) as archive, spooling(archive, tmp_path, spool={"maxBytes": 100_000}) as adapter:
        results = await send(adapter, [generated(30_000) for _ in range(5)])
        assert [status for status, _ in results] == [0, 0, 0, 0xA700, 0xA700]
        archive.outage = 0
        await archive.until(lambda: len(archive.stored) == 3)
        await adapter.line("the spool takes images again, and they are delivered as they come")
        assert await send(adapter, [generated(30_000)]) == [(0, "")]


async def test_a_second_adapter_is_kept_off(tmp_path: Path) -> None:
    async with Archive() as archive, spooling(archive, tmp_path), spooling(archive, tmp_path, wait=False) as second:
        assert await second.ended() == 1
        assert [line["message"] for line in second.lines] == [
            f"--spool_directory: another process works on '{tmp_path}'; end it, or name another directory"
        ]


async def test_a_spool_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with Archive() as archive, spooling(archive, tmp_path / "file", wait=False) as adapter:
        assert await adapter.ended() == 1
        assert [line["message"] for line in adapter.lines] == [
            f"--spool_directory: cannot use '{tmp_path}/file' (file exists); mount a writable volume there or name another"
        ]


# -- moving over -----------------------------------------------------------------------------------


async def test_what_googles_adapter_has_left_is_delivered_with_its_own_flags(tmp_path: Path) -> None:
    """`<dir>/<SOP Instance UID>_<0..999>.dcm`, as its LocalBackupUploader names them."""
    left = [generated(5000) for _ in range(3)]
    for number, one in enumerate(left):
        meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.40.0.13.1.3", "dcm4che-5.31.2")
        (tmp_path / f"{one.sop_instance_uid}_{number * 499}.dcm").write_bytes(meta.encode() + one.data_set)
    (tmp_path / "1.2.3_7.dcm").write_bytes(b"broken off")
    (tmp_path / "notes.dcm").write_bytes(b"not its own")
    one = generated()
    async with Archive() as archive:
        flags = [f"--persistent_file_storage_location={tmp_path}", "--auto_ack_cstore", "--min_upload_delay=100"]
        async with Adapter(archive.url, arguments=flags) as adapter:
            assert await send(adapter, [one]) == [(0, "")]
            await archive.until(lambda: len(archive.stored) == 4)
            assert archive.stored == {each.sop_instance_uid for each in (*left, one)}
            await adapter.line("found 4 files that Google's adapter has left in the spool's directory: they are delivered now")
            await adapter.line(
                "an image in the spool for 'dicomStore' is damaged and was moved to failed: it does not begin as a DICOM file does"
            )
            await empty(adapter)
    assert sorted(path.name for path in tmp_path.glob("*.dcm")) == ["notes.dcm"]  # noqa: ASYNC240 -- a test


async def test_without_auto_ack_what_is_left_is_delivered_and_the_sender_waits_for_the_store(tmp_path: Path) -> None:
    ones = [generated() for _ in range(2)]
    async with Archive(outage=503) as archive:
        async with spooling(archive, tmp_path) as adapter:
            await send(adapter, ones)
        archive.outage = 0
        bad = generated()
        archive.refuses = {bad.sop_instance_uid: 0x0110}
        async with Adapter(archive.url, arguments=[f"--persistent_file_storage_location={tmp_path}"]) as adapter:
            await archive.until(lambda: len(archive.stored) == 2)
            assert [status for status, _ in await send(adapter, [bad])] == [0xC000]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--persistent_file_storage_location=gs://bucket/folder"],
            "--persistent_file_storage_location: 'gs://bucket/folder' is a bucket, which cannot be a spool; name a directory on a volume",
        ),
        (
            ["--auto_ack_cstore"],
            "--auto_ack_cstore: needs a place for the images; name a directory with --persistent_file_storage_location",
        ),
    ],
)
async def test_flags_that_cannot_be_served_are_refused(flags: list[str], said: str) -> None:
    command = (*COMMAND, "--dimse_aet=GATE", "--dicomweb_address=http://127.0.0.1:1/x", *flags)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode().strip()) == (2, said)

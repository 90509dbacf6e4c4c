"""The spool on a disk that works, is full, fails, or goes away."""

from __future__ import annotations

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_adapter import messages
from dicom_adapter.spool.access import SpoolAccess
from dicom_adapter.spool.commit import DirectorySync
from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.errors import SpoolError, SpoolFaulty, SpoolFull, SpoolInUse
from dicom_adapter.spool.lock import Lock
from dicom_adapter.spool.requests import Request, perform, serve
from dicom_adapter.spool.spool import Bounds, Spool
from dicom_adapter.spool.storage import Disk
from tests.adapter.dimse.serving import eventually
from tests.support.crashfs import MemoryStorage

STORE = ("dicomStore",)
BOTH = ("dicomStore", "archive")


class Failing(MemoryStorage):
    """Raises an error at a step."""

    def __init__(self) -> None:
        super().__init__()
        self.at = ""
        self.error = errno.EIO
        self.tells_free = True

    def step(self, what: str, path: str) -> None:
        super().step(what, path)
        if what == self.at:
            raise OSError(self.error, os.strerror(self.error))

    def free(self) -> int:
        if not self.tells_free:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return super().free()


def opened(storage: MemoryStorage | Disk, destinations: tuple[str, ...] = BOTH, **bounds: int) -> Spool:
    spool = Spool(storage, destinations, Bounds(**bounds))
    spool.open()
    return spool


def put(spool: Spool, data: bytes = b"x" * 1000, destinations: tuple[str, ...] = STORE) -> Entry:
    return spool.commit(spool.begin([data]), destinations)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_the_file_is_what_came_under_a_name_that_proves_it(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)), STORE)
    draft = spool.begin([b"12345", b"6789"])
    entry = spool.commit(draft, STORE)
    assert entry == Entry(draft.id, 9, 0xE3069283), "the check value of CRC-32C"
    assert files(tmp_path) == [f"dicomStore/ready/{draft.id:016x}-9-e3069283.dcm"]
    assert (tmp_path / files(tmp_path)[0]).read_bytes() == b"123456789"
    assert (tmp_path / files(tmp_path)[0]).stat().st_mode & 0o777 == 0o600
    assert Entry.parse(entry.name) == entry


def test_what_comes_later_has_the_later_id_also_when_the_clock_goes_back(tmp_path: Path) -> None:
    clock = iter([5_000_000, 4_000_000, 4_000_000])
    spool = Spool(Disk(str(tmp_path)), STORE, Bounds(), now=lambda: next(clock))
    spool.open()
    assert [put(spool).id for _ in range(2)] == [5000, 5001]
    again = Spool(Disk(str(tmp_path)), STORE, Bounds(), now=lambda: next(clock))
    again.open()
    assert put(again).id == 5002


def test_several_destinations_share_one_file(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)))
    entry = put(spool, b"y" * 500, BOTH)
    one, other = (tmp_path / name / "ready" / entry.name for name in BOTH)
    assert one.stat().st_ino == other.stat().st_ino
    assert spool.used == 1000
    spool.remove("archive", entry)
    assert one.read_bytes() == b"y" * 500
    assert (spool.used, spool.counts["archive"].ready.instances, spool.counts["dicomStore"].ready.instances) == (500, 0, 1)


def test_the_start_counts_what_is_there_and_drops_what_was_never_acknowledged(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)))
    entries = [put(spool, bytes(100 * number), BOTH[:number]) for number in (1, 2)]
    spool.fail("archive", entries[1], b"{}")
    spool.begin([b"half"])
    (tmp_path / "dicomStore" / "ready" / "notes.txt").write_text("mine")
    again = opened(Disk(str(tmp_path)), STORE)
    assert (again.counts["dicomStore"].ready.instances, again.counts["dicomStore"].ready.bytes, again.used) == (2, 300, 300)
    assert again.counts["archive"].failed.instances == 1, "a destination that the configuration does not name any more"
    assert not list((tmp_path / "incoming").iterdir())
    assert (tmp_path / "dicomStore" / "failed" / "notes.txt").read_text() == "mine"


def test_the_lock_is_for_one(tmp_path: Path) -> None:
    one, other = Lock(str(tmp_path)), Lock(str(tmp_path))
    one.acquire()
    with pytest.raises(SpoolInUse):
        other.acquire()
    one.release()
    other.acquire()
    other.release()


def test_an_adapter_that_starts_waits_for_those_who_only_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, onlooker = Lock(str(tmp_path)), Lock(str(tmp_path))
    onlooker.acquire()
    monkeypatch.setattr("dicom_adapter.spool.lock.time.sleep", lambda _: onlooker.release())
    adapter.acquire(patience=1.0)
    with pytest.raises(SpoolInUse):
        onlooker.acquire()
    adapter.release()


@pytest.mark.parametrize(
    ("bounds", "free", "text"),
    [
        ({"reserve_bytes": 1 << 30}, 429_496_729, "Spool full: 0.4 GiB free, 1 GiB is kept in reserve"),
        ({"max_bytes": 4000}, 1 << 40, "Spool full: 3.91 KiB wait, 3.91 KiB is spool.maxBytes"),
    ],
)
def test_full_is_said_before_a_byte_is_written(bounds: dict[str, int], free: int, text: str) -> None:
    storage = MemoryStorage()
    spool = opened(storage, BOTH, **bounds)
    for _ in range(4):
        put(spool)
    storage.space, steps = free, storage.steps
    with pytest.raises(SpoolFull) as caught:
        put(spool)
    assert caught.value.text == text
    assert len(text) <= 64
    assert storage.steps == steps
    assert isinstance(spool.trouble.error, SpoolFull)


def test_unless_it_is_said_a_tenth_of_a_small_volume_stays_free() -> None:
    storage = MemoryStorage()
    storage.volume, storage.space = 2_000_000_000, 200_000_000
    with pytest.raises(SpoolFull, match=r"Spool full: 0\.2 GiB free, 0\.2 GiB is kept in reserve"):
        put(opened(storage))
    storage.space = 200_002_000
    put(opened(storage))
    storage.space = 1000
    put(opened(storage, BOTH, reserve_bytes=0))


def test_room_that_comes_back_is_seen_without_a_sender() -> None:
    storage = MemoryStorage()
    spool = opened(storage, reserve_bytes=1 << 20)
    storage.space = 0
    with pytest.raises(SpoolFull):
        put(spool)
    spool.look_again()
    assert spool.trouble.error is not None
    storage.space = 1 << 40
    spool.look_again()
    assert spool.trouble.error is None
    assert not list(storage.scan("incoming"))


STEPS = ["create", "write", "sync_file", "close", "link", "rename", "sync_directory"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.ESTALE, errno.ENOMEM])
@pytest.mark.parametrize("step", STEPS)
def test_an_error_at_any_step_refuses_the_instance_and_says_what_it_was(step: str, code: int) -> None:
    storage = Failing()
    spool = opened(storage)
    before = put(spool, b"before", BOTH)
    storage.at, storage.error = step, code
    with pytest.raises(SpoolError) as caught:
        put(spool, destinations=BOTH)
    assert caught.value.text == f"Spool write failed: {os.strerror(code).lower()}"
    full = code in (errno.ENOSPC, errno.EDQUOT)
    final = (step == "sync_file" and not full) or step == "sync_directory"
    assert isinstance(caught.value, SpoolFull if full and not final else SpoolFaulty)
    storage.at = ""
    if final:
        with pytest.raises(SpoolFaulty, match="Spool write failed"):
            put(spool)
        spool.look_again()
        assert spool.trouble.final is not None, "only a restart ends it"
    else:
        put(spool, b"after")
        assert spool.trouble.error is None
        assert spool.used == 2 * 6 + 5
    assert storage.read(f"dicomStore/ready/{before.name}", 0, 100) == b"before"
    again = opened(storage)
    assert again.counts["dicomStore"].ready.instances >= 1
    put(again)


def test_a_volume_that_is_gone_refuses() -> None:
    storage = Failing()
    spool = opened(storage)
    storage.tells_free = False
    with pytest.raises(SpoolFaulty, match="Spool write failed: stale file handle"):
        put(spool)
    storage.tells_free = True
    put(spool)


def test_an_instance_in_pieces_that_outgrows_the_room_leaves_nothing() -> None:
    storage = MemoryStorage()
    spool = opened(storage, max_bytes=2500)
    draft = spool.begin([bytes(1000)])
    spool.add(draft, [bytes(1000)])
    with pytest.raises(SpoolFull):
        spool.add(draft, [bytes(1000)])
    assert (spool.used, list(storage.scan("incoming"))) == (0, [])
    put(spool, bytes(2500))


def test_a_sender_that_breaks_off_leaves_nothing() -> None:
    storage = MemoryStorage()
    spool = opened(storage)
    spool.abandon(spool.begin([bytes(1000)]))
    assert (spool.used, list(storage.scan("incoming")), storage.files) == (0, [], {})


def test_after_a_failed_sync_those_who_were_writing_are_refused_too() -> None:
    storage = Failing()
    spool = opened(storage)
    draft = spool.begin([b"early"])
    storage.at = "sync_file"
    with pytest.raises(SpoolFaulty):
        put(spool)
    storage.at = ""
    with pytest.raises(SpoolFaulty) as caught:
        spool.commit(draft, STORE)
    assert caught.value.final


# -- group commit ----------------------------------------------------------------------------------


class SlowDirectory(MemoryStorage):
    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error: OSError | None = None
        self.syncs = 0

    def sync_directory(self, path: str) -> None:
        self.syncs += 1
        self.entered.release()
        self.go.acquire()
        if self.error:
            raise self.error


def test_those_who_come_during_a_sync_share_the_next_one() -> None:
    storage = SlowDirectory()
    sync = DirectorySync(storage, "dicomStore/ready")
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(sync.sync)
        storage.entered.acquire()
        others = [pool.submit(sync.sync) for _ in range(7)]
        eventually(lambda: len(sync._state._waiters) == 7)  # type: ignore[attr-defined]
        storage.go.release()
        first.result(60)
        storage.entered.acquire()
        assert not any(other.done() for other in others), "what was named during a sync is not safe by it"
        storage.go.release()
        for other in others:
            other.result(60)
    assert storage.syncs == 2


def test_a_failed_sync_is_final_for_all() -> None:
    storage = SlowDirectory()
    storage.error = OSError(errno.EIO, "Input/output error")
    storage.go.release(9)
    sync = DirectorySync(storage, "dicomStore/ready")
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            sync.sync()
    assert storage.syncs == 1, "no second fsync is believed"


def test_many_writers_at_once(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)), STORE)
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda number: put(spool, bytes([number]) * 100), range(64)))
    assert len({entry.id for entry in entries}) == 64
    assert (spool.counts["dicomStore"].ready.instances, spool.used) == (64, 6400)
    for number, entry in enumerate(entries):
        assert (tmp_path / "dicomStore/ready" / entry.name).read_bytes() == bytes([number]) * 100


# -- what people do with it ------------------------------------------------------------------------


def refused(spool: Spool, story: dict[str, object]) -> Entry:
    entry = put(spool)
    spool.fail("dicomStore", entry, json.dumps(story).encode())
    return entry


def test_failed_instances_are_listed_with_their_story_and_tried_again(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)))
    waiting, entry = put(spool), refused(spool, {"status": "C000"})
    access = SpoolAccess(str(tmp_path))
    assert access.destinations() == ["archive", "dicomStore"]
    assert {(one.state, one.entry) for one in access.each()} == {("ready", waiting), ("failed", entry)}
    (listed,) = access.each(state="failed")
    assert access.story(listed) == {"status": "C000"}
    with access.open(listed) as file:
        assert file.read() == b"x" * 1000
    assert [one.entry for one in access.find(f"{entry.id:016x}")] == [entry]
    assert access.act("retry", [listed]) == 1
    assert {(one.state, one.entry) for one in access.each()} == {("ready", waiting), ("ready", entry)}
    assert access.act("discard", list(access.each())) == 2
    assert list(access.each()) == []


def test_all_that_have_failed_at_once(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)))
    for _ in range(3):
        refused(spool, {})
    put(spool)
    access = SpoolAccess(str(tmp_path))
    assert access.act("retry", None) == 3
    assert [one.state for one in access.each()] == ["ready"] * 4
    assert not list((tmp_path / "dicomStore" / "failed").iterdir())


def test_an_adapter_that_works_on_it_is_asked(tmp_path: Path) -> None:
    spool = opened(Disk(str(tmp_path)))
    lock = Lock(str(tmp_path))
    lock.acquire()
    entry = refused(spool, {})
    access = SpoolAccess(str(tmp_path))
    assert access.is_held()
    (listed,) = access.each()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(access.act, "retry", [listed])
        while not (done := [one for each in serve(spool) for one in each]):
            assert not asked.done()
        assert asked.result(60) == 1
    assert [one.entry for one in done] == [entry]
    assert spool.counts["dicomStore"].ready.instances == 1
    assert not list((tmp_path / "requests").iterdir())
    lock.release()


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"action": "drop", "destination": "a", "state": "ready", "names": null}', b"\xff"])
def test_what_is_no_request_is_none(text: bytes) -> None:
    assert Request.decode(text) is None


def test_a_request_reaches_no_file_outside() -> None:
    spool = opened(MemoryStorage())
    names = ("../../etc/passwd", "a/b", f"{1:016x}-1-00000000.dcm")
    assert list(perform(spool, Request("discard", "dicomStore", "ready", names))) == [[]]
    assert list(perform(spool, Request("discard", "../x", "ready", names))) == []


def test_counts_follow_every_way_out() -> None:
    spool = opened(MemoryStorage())
    entries = [put(spool) for _ in range(3)]
    spool.remove("dicomStore", entries[0])
    assert not spool.remove("dicomStore", entries[0]), "it was not there any more"
    spool.fail("dicomStore", entries[1], b"{}")
    counts = spool.counts["dicomStore"]
    assert (counts.ready.instances, counts.failed.instances, spool.used) == (1, 1, 1000)
    assert list(spool.retry("dicomStore", entries)) == [entries[1]], "the others are not there"
    assert not list(spool.retry("dicomStore", entries))
    assert (counts.ready.instances, counts.failed.instances, spool.used) == (2, 0, 2000)


def test_the_sentences_of_a_faulty_disk() -> None:
    assert messages.spool_faulty("ct-east-0", "/var/spool/dicom-adapter", "EIO") == (
        "pod ct-east-0 could not fsync its spool (EIO) and acknowledges nothing until it restarts: check claim 'spool-ct-east-0'"
    )
    assert messages.spool_faulty("", "/data", "EIO") == (
        "the adapter could not fsync its spool (EIO) and acknowledges nothing until it restarts: check the volume of /data"
    )

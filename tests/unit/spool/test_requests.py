"""Many images that are retried or discarded at once: a batch at a time, and whoever asks for one waits for a batch, not for all."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_adapter.cli import main
from dicom_adapter.spool import access
from dicom_adapter.spool.access import NoAnswer, SpoolAccess
from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.lock import Lock
from dicom_adapter.spool.requests import BATCH, Done, Request, perform, serve
from dicom_adapter.spool.spool import Bounds, Spool
from dicom_adapter.spool.storage import Disk

MANY = 5_000
FAILED = "dicomStore/failed"
ALL = Request("retry", "dicomStore", "failed", None)


class Watched(Disk):
    """Tells how far the directory of what has failed is read ahead of what is done with it, and saves the fsyncs."""

    given = done = ahead = syncs = 0
    broken = ""
    deaf = False

    def scan(self, path: str) -> Iterator[str]:
        for name in super().scan(path):
            if path == FAILED and Entry.parse(name):
                self.given += 1
                self.ahead = max(self.ahead, self.given - self.done)
            yield name

    def rename(self, old: str, new: str) -> None:
        if self.broken and self.broken in old:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().rename(old, new)
        self.done += 1

    def sync_directory(self, path: str) -> None:
        self.syncs += 1
        if self.deaf:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def failed(root: Path, count: int) -> list[Entry]:
    """So many that have failed, before anybody works on the spool."""
    entries = [Entry(1_767_225_600_000_000 + number, 1, number) for number in range(count)]
    directory = root / FAILED
    directory.mkdir(parents=True)
    (root / "dicomStore/ready").mkdir()
    for entry in entries:
        (directory / entry.name).write_bytes(b"x")
        (directory / f"{entry.name}.json").write_bytes(b"{}")
    return entries


def opened(root: Path) -> tuple[Spool, Watched]:
    disk = Watched(str(root))
    spool = Spool(disk, ["dicomStore"], Bounds())
    spool.open()
    disk.given = disk.ahead = 0
    return spool, disk


def ask(root: Path, name: str, request: Request) -> None:
    (root / "requests" / f"{name}.json").write_bytes(request.encode())


def answer(root: Path, name: str) -> int:
    return int((root / "requests" / f"{name}.answer").read_bytes())


def test_all_that_have_failed_are_tried_again_a_batch_at_a_time(tmp_path: Path) -> None:
    entries = failed(tmp_path, MANY)
    spool, disk = opened(tmp_path)
    done: list[Done] = []
    for batch in perform(spool, ALL):
        assert len(batch) <= BATCH
        done += batch
    assert sorted(one.entry.id for one in done) == [entry.id for entry in entries]
    assert disk.ahead <= BATCH
    counts = spool.counts["dicomStore"]
    assert (counts.ready.instances, counts.failed.instances) == (MANY, 0)
    assert not os.listdir(tmp_path / FAILED)


def test_what_is_refused_again_meanwhile_is_not_tried_for_ever(tmp_path: Path) -> None:
    failed(tmp_path, 2 * BATCH)
    spool, disk = opened(tmp_path)
    again = Disk.scan

    def round_and_round(path: str) -> Iterator[str]:
        while True:  # as a directory that gives what has come since
            yield from again(disk, path)

    disk.scan = round_and_round  # type: ignore[method-assign]
    tried = 0
    for batch in perform(spool, ALL):
        tried += len(batch)
        for one in batch:
            spool.fail("dicomStore", one.entry, b"{}")
    assert tried == 2 * BATCH


def test_whoever_asks_for_one_does_not_wait_for_all(tmp_path: Path) -> None:
    *_, last = failed(tmp_path, MANY)
    spool, disk = opened(tmp_path)
    ask(tmp_path, "1", ALL)
    served = serve(spool)
    tried = len(next(served))
    ask(tmp_path, "2", Request("discard", "dicomStore", "failed", (last.name,)))
    while not (tmp_path / "requests/2.answer").exists():
        tried += sum(one.action == "retry" for one in next(served))
    assert tried <= 4 * BATCH
    tried += sum(len(batch) for batch in served)
    assert (answer(tmp_path, "1"), answer(tmp_path, "2")) in ((tried, 1), (tried, 0))
    assert tried + answer(tmp_path, "2") == MANY
    assert disk.ahead <= 2 * BATCH
    assert sorted(os.listdir(tmp_path / "requests")) == ["1.answer", "2.answer"]


def test_what_was_done_before_the_disk_failed_is_told(tmp_path: Path) -> None:
    """Else nobody would deliver it before the next start."""
    failed(tmp_path, 10)
    spool, disk = opened(tmp_path)
    names = [name for name in os.listdir(tmp_path / FAILED) if Entry.parse(name)]
    disk.broken = names[4]
    served = perform(spool, Request("retry", "dicomStore", "failed", tuple(names)))
    assert [one.entry.name for one in next(served)] == names[:4]
    with pytest.raises(OSError, match="Input/output error"):
        next(served)


def test_a_batch_is_made_safe_at_once(tmp_path: Path) -> None:
    failed(tmp_path, 10)
    spool, disk = opened(tmp_path)
    before = disk.syncs
    assert [len(batch) for batch in perform(spool, ALL)] == [10]
    assert disk.syncs == before + 1


def test_what_has_come_back_is_delivered_although_it_cannot_be_made_safe(tmp_path: Path) -> None:
    entries = failed(tmp_path, 10)
    spool, disk = opened(tmp_path)
    disk.deaf = True
    served = perform(spool, ALL)
    assert {one.entry for one in next(served)} == set(entries)
    assert spool.counts["dicomStore"].ready.instances == 10
    with pytest.raises(OSError, match="Input/output error"):
        next(served)


def test_what_the_disk_spoils_for_one_request_is_done_for_the_others_and_asked_again(tmp_path: Path) -> None:
    entries = failed(tmp_path, 10)
    spool, disk = opened(tmp_path)
    disk.broken = entries[0].name
    ask(tmp_path, "1", ALL)
    ask(tmp_path, "2", Request("discard", "dicomStore", "failed", (entries[0].name, "gone")))
    with pytest.raises(OSError, match="Input/output error"):
        list(serve(spool))
    assert answer(tmp_path, "2") == 1
    list(serve(spool))
    assert spool.counts["dicomStore"].failed.instances == 0
    assert sorted(os.listdir(tmp_path / "requests")) == ["1.answer", "2.answer"]


@pytest.mark.parametrize(("action", "said"), [("retry", "would be sent again when an adapter runs"), ("discard", "are removed")])
def test_the_command_holds_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, said: str) -> None:
    many = BATCH + 5
    failed(tmp_path, many)
    asked: list[Request] = []

    def watched(spool: Spool, request: Request) -> Iterator[list[Done]]:
        asked.append(request)
        return perform(spool, request)

    monkeypatch.setattr(access, "Disk", Watched)
    monkeypatch.setattr(access, "perform", watched)

    def command(*arguments: str) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        return main(["spool", action, "--all", f"--spool_directory={tmp_path}", *arguments], {}, out, err), out.getvalue() + err.getvalue()

    assert command("--destination=archive") == (0, f"0 images {said}\n")
    assert asked == []
    assert command() == (0, f"{many} images {said}\n")
    assert [(request.destination, request.names) for request in asked] == [("dicomStore", None)]
    assert command() == (0, f"0 images {said}\n")


def test_an_answer_is_waited_for_as_long_as_images_go(tmp_path: Path) -> None:
    """A million take longer than anybody waits for an adapter that does nothing."""
    entries = failed(tmp_path, 30)
    (tmp_path / "requests").mkdir()
    lock = Lock(str(tmp_path))
    lock.acquire()
    clock = [0]

    def pause(_: float) -> None:
        clock[0] += 9
        if entries:
            os.unlink(tmp_path / FAILED / entries.pop().name)
            os.utime(tmp_path / FAILED, ns=(clock[0], clock[0]))  # whatever the file system's own clock counts in

    with pytest.raises(NoAnswer):
        SpoolAccess(str(tmp_path), clock=lambda: float(clock[0]), pause=pause).act("discard", None, seconds=10)
    lock.release()
    assert (entries, clock) == ([], [32 * 9])

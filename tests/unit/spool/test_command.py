"""`dicom-adapter spool` on a spool that no adapter works on: what it shows, does and refuses. Patient data is nowhere."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.cli import main
from dicom_adapter.delivery import failure
from dicom_adapter.delivery.failure import Refused
from dicom_adapter.delivery.target import Whole
from dicom_adapter.delivery.verdict import judge
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.part10 import FileMeta
from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.lock import Lock
from dicom_adapter.spool.spool import Bounds, Spool
from dicom_adapter.spool.storage import Disk
from tests.support import canaries
from tests.support.dicom import Instance, generated
from tests.support.store import google_error

NOW = 1_767_225_600_000_000_000
REFUSAL = Answer(400, "application/json", google_error(400, "INVALID_ARGUMENT", "StudyInstanceUID is missing").encode())


class World:
    """A spool with two images that wait for both destinations, and one that `archive` has refused."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = Disk(str(root))
        times = iter(range(NOW, NOW + 10**12, 10**9))
        self.spool = Spool(self.disk, ("dicomStore", "archive"), Bounds(), now=lambda: next(times))
        self.spool.open()
        self.images = [generated(), generated(), generated()]
        self.entries = [self.put(one) for one in self.images]
        meta = self.meta(self.images[2])
        verdict = judge(REFUSAL, meta.sop_instance_uid)
        story = failure.encode(Refused("archive", self.entries[2], Whole(meta, None), verdict, 3), 1_767_229_200.0)  # type: ignore[arg-type]
        self.spool.fail("archive", self.entries[2], story)

    def meta(self, one: Instance) -> FileMeta:
        return FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", "TEST")

    def put(self, one: Instance) -> Entry:
        destinations = ("dicomStore", "archive") if len(self.images) else ()
        return self.spool.commit(self.spool.begin([self.meta(one).encode() + one.data_set]), destinations)

    def ids(self) -> list[str]:
        return [f"{entry.id:016x}" for entry in self.entries]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        name, *rest = arguments
        status = main(["spool", name, f"--spool_directory={self.root}", *rest], {}, out, err)
        canaries.scan({"what it prints": out.getvalue() + err.getvalue()})
        return status, out.getvalue(), err.getvalue()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[1])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "spool")


def test_status_counts_what_waits_and_what_has_failed(world: World) -> None:
    sizes = [entry.length for entry in world.entries]
    assert world.run("status") == (
        0,
        f"""\
DESTINATION               WAITING           BYTES  FAILED  OLDEST
archive                         2{sum(sizes[:2]):>16}       1  2026-01-01T00:00:00.000Z
dicomStore                      3{sum(sizes):>16}       0  2026-01-01T00:00:00.000Z
no adapter works on it
""",
        "",
    )
    found = world.json("status")
    assert (found["version"], found["running"]) == (1, False)
    assert found["destinations"][0] == {
        "name": "archive",
        "waiting": 2,
        "waitingBytes": sum(sizes[:2]),
        "failed": 1,
        "failedBytes": sizes[2],
        "oldestTime": "2026-01-01T00:00:00.000Z",
    }
    lock = Lock(str(world.root))
    lock.acquire()
    assert world.run("status")[1].endswith("an adapter works on it\n")
    lock.release()


def test_list_has_a_line_for_each_and_why_it_has_failed(world: World) -> None:
    status, out, err = world.run("list")
    head, *lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 6)
    assert head == "ID                DESTINATION             STATE           BYTES  RECEIVED                  WHY"
    (failed,) = world.run("list", "--failed")[1].splitlines()[1:]
    one = world.entries[2]
    assert failed == (
        f"{world.ids()[2]}  archive                 failed  {one.length:>13}  2026-01-01T00:00:02.000Z  "
        "C000 Http_400, INVALID_ARGUMENT, StudyInstanceUID is missing"
    )
    assert {line.split()[1] for line in world.run("list", "--destination=dicomStore")[1].splitlines()[1:]} == {"dicomStore"}
    documents = [json.loads(line) for line in world.run("list", "--json")[1].splitlines()]
    assert len(documents) == 6
    assert [one["reason"] for one in documents if one["state"] == "failed"] == ["400 INVALID_ARGUMENT: StudyInstanceUID is missing"]


class Nowhere(io.StringIO):
    """Counts lines and keeps none."""

    lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


@pytest.mark.parametrize(("arguments", "lines"), [(["list"], 10_007), (["list", "--json"], 10_006), (["status"], 4)])
def test_any_number_of_images_is_listed_in_the_memory_of_a_few(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: list[str], lines: int
) -> None:
    scan = Disk.scan

    def full(disk: Disk, path: str) -> Iterator[str]:
        yield from scan(disk, path)
        if path == "dicomStore/ready":
            yield from (Entry((NOW // 1000) + number, 524_288, number).name for number in range(10_000))

    monkeypatch.setattr(Disk, "scan", full)
    out, err = Nowhere(), io.StringIO()
    main(["spool", "status", f"--spool_directory={world.root}"], {}, Nowhere(), err)  # what is imported by it is no memory of the list
    tracemalloc.start()
    try:
        assert main(["spool", *arguments, f"--spool_directory={world.root}"], {}, out, err) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert out.lines == lines
    assert peak < 500_000


def test_show_has_all_that_is_known(world: World) -> None:
    one, entry, name = world.images[2], world.entries[2], world.ids()[2]
    status, out, _ = world.run("show", name, "--destination", "archive")
    assert (status, out) == (
        0,
        f"""\
id                  {name}
destination         archive
state               failed
bytes               {entry.length}
received            2026-01-01T00:00:02.000Z
status              C000
comment             Http_400, INVALID_ARGUMENT, StudyInstanceUID is missing
reason              400 INVALID_ARGUMENT: StudyInstanceUID is missing
httpStatus          400
attempts            3
failed              2026-01-01T01:00:00.000Z
sopInstanceUID      {one.sop_instance_uid}
sopClassUID         {one.sop_class_uid}
transferSyntaxUID   {one.transfer_syntax_uid}
file                {entry.name}
""",
    )
    assert [image["destination"] for image in world.json("show", name)["images"]] == ["archive", "dicomStore"]


def test_retry_sends_again_what_has_failed(world: World) -> None:
    name = world.ids()[2]
    assert world.run("retry", name, "--destination=archive") == (0, "1 image would be sent again when an adapter runs\n", "")
    assert (world.root / "archive/ready" / world.entries[2].name).exists()
    assert world.json("status")["destinations"][0]["failed"] == 0
    status, _, err = world.run("retry", world.ids()[0], "--destination=archive")
    assert (status, err) == (1, f"{world.ids()[0]}: waits for 'archive' and is delivered by itself; only what has failed is retried\n")


def test_discard_removes_what_has_failed_and_what_waits_only_when_that_is_said(world: World) -> None:
    name = world.ids()[0]
    status, out, err = world.run("discard", name, "--destination=dicomStore")
    assert (status, out, err) == (
        1,
        "",
        f"{name}: waits for 'dicomStore'. It was acknowledged, and perhaps nobody else has it: export it first, then add --waiting\n",
    )
    assert world.run("discard", "--all") == (0, "1 image is removed\n", "")
    assert not list((world.root / "archive/failed").iterdir())
    assert world.run("discard", name, "--waiting") == (0, "2 images are removed\n", "")
    assert len(list((world.root / "dicomStore/ready").iterdir())) == 2


def test_export_writes_the_file_that_was_acknowledged(world: World, tmp_path: Path) -> None:
    one, entry = world.images[1], world.entries[1]
    path = tmp_path / "out" / entry.name
    assert world.run("export", world.ids()[1], f"--to={tmp_path / 'out'}") == (0, f"{path}\n", "")
    assert path.read_bytes() == world.meta(one).encode() + one.data_set
    assert world.run("export", world.ids()[1], f"--to={tmp_path / 'out'}") == (1, "", f"{path}: file exists\n")
    assert world.json("export", "--all", f"--to={tmp_path / 'more'}") == {
        "version": 1,
        "files": [str(tmp_path / "more" / world.entries[2].name)],
    }


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["status", "--spool_directory=/nowhere"], 1, "/nowhere: there is no spool; name its directory with --spool_directory\n"),
        (["show", "abc"], 1, "abc: there is no such image in the spool; dicom-adapter spool list shows what there is\n"),
        (["show"], 2, "IMAGE: is missing; name images by their ids, as dicom-adapter spool list shows them\n"),
        (["retry"], 2, "IMAGE: is missing; name images by their ids, as dicom-adapter spool list shows them, or write --all\n"),
        (["discard", "--all", "abc"], 2, "--all: is beside images; keep one of them\n"),
        (["export", "abc"], 2, "--to: is missing; name the directory that export writes into\n"),
        (["list", "abc"], 2, "abc: is not a flag; every argument of spool begins with --\n"),
        (["list", "--faild"], 2, "--faild: is not a flag of this version; did you mean '--failed'?\n"),
        (["statsu"], 2, "statsu: is not a command of spool; did you mean 'status'?\n"),
    ],
)
def test_what_cannot_be_done_is_said(world: World, arguments: list[str], status: int, says: str) -> None:
    assert world.run(*arguments) == (status, "", says)


def test_the_help(world: World) -> None:
    for arguments in (["spool"], ["spool", "--help"], ["spool", "list", "--help"]):
        out = io.StringIO()
        assert main(arguments, {}, out, io.StringIO()) == 0
        assert out.getvalue().startswith("usage: dicom-adapter spool COMMAND [IMAGE...] [FLAG...]\n")

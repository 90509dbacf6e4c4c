"""`dicom-adapter route`: for people and as JSON, what is refused, and what is not shown."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.cli import main
from tests.support import canaries
from tests.support.dicom import write_sample

SPEC = {
    "aeTitle": "GATE",
    "dicomStore": "https://pacs.example/dicom-web",
    "destinations": [{"name": "archive", "dicomStore": "https://archive.example/dicom-web"}],
    "routes": [
        {"match": {"callingAETitle": "MR*"}, "destinations": ["archive"]},
        {"match": {"attributes": [{"keyword": "00100010", "values": ["Nobody*"]}]}, "destinations": ["archive"]},
        {
            "match": {"attributes": [{"keyword": "Modality", "values": ["CT"]}, {"keyword": "PatientID", "values": ["*"]}]},
            "destinations": ["archive", "dicomStore"],
        },
        {"match": {"attributes": [{"keyword": "ContainerIdentifier", "values": ["X"]}]}, "destinations": ["archive"]},
    ],
}


@pytest.fixture(autouse=True)
def logging_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets up the logging of a process, and this one has its own."""
    monkeypatch.setattr("dicom_adapter.logs.configure", lambda *_: None)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.yaml"
    path.write_text(json.dumps(SPEC))
    return path


def run(*arguments: str | Path, **variables: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = main(["route", *map(str, arguments)], variables, out, err)
    canaries.scan({"what it prints": out.getvalue() + err.getvalue()})
    return status, out.getvalue(), err.getvalue()


def test_every_file_has_its_routes_and_reasons(document: Path, tmp_path: Path) -> None:
    ct, mr = write_sample("CT", tmp_path), write_sample("MR big endian", tmp_path)
    status, out, err = run("--config", document, "--calling_ae=CT1", ct, mr)
    assert (status, err) == (0, "")
    assert (
        out
        == f"""\
{ct}
  routes[0]  no   callingAETitle is CT1, not MR*
  routes[1]  no   PatientName (0010,0010) is not Nobody*
  routes[2]  yes  Modality (0008,0060) is CT; PatientID (0010,0020) is like *
  routes[3]  -    not looked at: the route before it decides
  goes to archive, dicomStore
{mr}
  routes[0]  no   callingAETitle is CT1, not MR*
  routes[1]  no   PatientName (0010,0010) is not Nobody*
  routes[2]  no   Modality (0008,0060) is MR, not CT
  routes[3]  no   ContainerIdentifier (0040,0512) is absent or empty, not X
  goes to dicomStore, as no route matches
"""
    )


def test_the_same_for_programs(document: Path, tmp_path: Path) -> None:
    ct = write_sample("CT", tmp_path)
    status, out, _ = run(ct, "--json", f"--config={document}", "--calling_ae", "CT1")
    found: dict[str, Any] = json.loads(out)
    assert status == 0
    assert (found["version"], found["routing"], found["callingAETitle"]) == (1, "FirstMatch", "CT1")
    (file,) = found["files"]
    assert (file["file"], file["destinations"], file["matchedRoutes"], file["refused"]) == (str(ct), ["archive", "dicomStore"], [2], None)
    assert [(route["index"], route["matched"]) for route in file["routes"]] == [(0, False), (1, False), (2, True), (3, None)]
    assert file["routes"][2]["compared"] == [
        {"what": "Modality (0008,0060)", "wanted": ["CT"], "found": ["CT"], "matched": True},
        {"what": "PatientID (0010,0020)", "wanted": ["*"], "found": None, "matched": True},
    ]


def test_files_that_would_be_refused_say_so(document: Path, tmp_path: Path) -> None:
    ct = write_sample("CT", tmp_path)
    whole = ct.read_bytes()
    text, cut, other = tmp_path / "text", tmp_path / "cut", tmp_path / "other"
    text.write_text("no DICOM")
    at = whole.index(struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 10))
    cut.write_bytes(whole[: at + 10])
    meta_uid = whole.index(b"\x02\x00\x03\x00UI") + 8
    other.write_bytes(whole[:meta_uid] + b"9" + whole[meta_uid + 1 :])
    status, out, err = run("--config", document, text, cut, other, tmp_path / "nowhere")
    begins = 144 + int.from_bytes(whole[140:144], "little")
    assert (status, err) == (1, "")
    assert (
        out
        == f"""\
{text}
  is no DICOM file (PS3.10)
{cut}
  refused with C000 Data set unreadable at byte {at - begins}: length past the end
{other}
  refused with A900 SOP Instance UID of data set and command differ
{tmp_path / "nowhere"}
  cannot be read (No such file or directory)
"""
    )


def test_a_route_for_every_image_and_a_large_deflated_one(document: Path, tmp_path: Path) -> None:
    every = tmp_path / "every.yaml"
    every.write_text(json.dumps({**SPEC, "routes": [*SPEC["routes"][1:3], {"destinations": ["archive"]}]}))
    deflated = write_sample("deflated", tmp_path)
    assert run("--config", every, deflated)[1].splitlines()[3:] == ["  routes[2]  yes  matches every image", "  goes to archive"]


def test_without_routes_and_with_googles_flags(tmp_path: Path) -> None:
    ct = write_sample("CT", tmp_path)
    flags = ("--dimse_aet=GATE", "--dicomweb_address=https://pacs.example/dicom-web")
    assert run(*flags, ct) == (0, f"{ct}\n  goes to dicomStore, as no route matches\n", "")
    given = '[{"filter": "Modality=CT", "dicomweb_destination": "https://archive.example/dicom-web"}]'
    taken = f"{ct}\n  routes[0]  yes  Modality (0008,0060) is CT\n  goes to destination-1\n"
    assert run(*flags, f"--destination_config_inline={given}", ct) == (0, taken, "")
    assert run(*flags, ct, ENV_DESTINATION_CONFIG_JSON=given) == (0, taken, "")


def test_what_is_wrong_on_the_command_line(document: Path) -> None:
    assert run("--config", document) == (2, "", "FILE: is missing; name at least one DICOM file\n")
    assert run("--config", document, "x", "--callin_ae=CT1")[2] == (
        "--callin_ae: is not a flag of this version; did you mean '--calling_ae'?\n"
    )
    assert run("--help")[1].startswith("usage: dicom-adapter route [--config FILE] FILE... [FLAG...]\n")

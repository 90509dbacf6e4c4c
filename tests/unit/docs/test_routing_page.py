"""docs/routing.md: its configuration sends images where its table says, and the command prints what it shows."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_adapter.cli import main
from dicom_adapter.delivery.prefix import Prefix
from dicom_adapter.delivery.routing import Router
from dicom_adapter.document import load
from tests.unit.adapter.test_prefix import EXPLICIT, encoded

PAGE = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()
(DOCUMENT,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(SHOWN,) = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in re.findall(r"^\| from .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)[0].splitlines()[2:]
    if line
]


@pytest.fixture(autouse=True)
def logging_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets up the logging of a process, and this one has its own."""
    monkeypatch.setattr("dicom_adapter.logs.configure", lambda *_: None)


def image(modality: str, image_type: str, name: str, description: str) -> Dataset:
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, generate_uid()
    found.Modality, found.ImageType = modality, image_type.split("\\") if image_type else None
    found.PatientName, found.StudyDescription = name, description
    return found


@pytest.mark.parametrize("row", TABLE, ids=[" ".join(row) for row in TABLE])
def test_the_table_of_the_page(row: list[str]) -> None:
    calling, *attributes, destinations = row
    config = load(DOCUMENT, {}, aliases={})
    router = Router(config.routes, config.routing)
    prefix = Prefix(EXPLICIT, router.tags)
    prefix.feed(encoded(image(*attributes), EXPLICIT))
    prefix.finish()
    assert ", ".join(router.choose(calling, prefix.elements).destinations) == destinations


def write(path: Path, data_set: Dataset) -> None:
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.save_as(path, enforce_file_format=True)


def test_the_command_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, _, printed = SHOWN.partition("\n")
    write(tmp_path / "ct.dcm", image("CT", "DERIVED\\SECONDARY\\MPR", "Test^Image", "Thorax"))
    write(tmp_path / "mammogram.dcm", image("MG", "ORIGINAL\\PRIMARY", "Doe^Jane", "Breast screening"))
    (tmp_path / "gateway.yaml").write_text(DOCUMENT)
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command.removeprefix("$ "))
    out, err = io.StringIO(), io.StringIO()
    assert program == "dicom-adapter"
    assert (main(arguments, {}, out, err), err.getvalue(), out.getvalue()) == (0, "", printed)


def test_the_fields_of_the_page_are_those_of_the_resource() -> None:
    assert yaml.safe_load(DOCUMENT)["kind"] == "DicomAdapter"

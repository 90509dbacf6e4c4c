"""Test images: those that ship with pydicom, each with UIDs of its own (several of its files share them)."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.support import canaries

SAMPLES = {
    "CT": "CT_small.dcm",
    "MR": "MR_small.dcm",
    "MR implicit": "MR_small_implicit.dcm",
    "MR big endian": "MR_small_bigendian.dcm",
    "JPEG baseline": "SC_rgb_jpeg_dcmtk.dcm",
    "JPEG extended": "JPGExtended.dcm",
    "JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "JPEG 2000": "MR_small_jp2klossless.dcm",
    "RLE": "MR_small_RLE.dcm",
    "deflated": "image_dfl.dcm",
}
"""What it is -> pydicom's file. One of each transfer syntax that a hospital sends."""

PRIVATE_SOP_CLASS = "1.2.826.0.1.3680043.9.7156.1.1"
"""A storage SOP class that no table knows, as vendors use for their raw data."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A SOP instance as it goes over the wire: identifiers, transfer syntax and the encoded data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes


def write_sample(name: str, directory: Path) -> Path:
    """Writes sample `name` of `SAMPLES` with fresh UIDs and the canaries into `directory`; returns the file."""
    source = Path(pydicom.__file__).parent / "data" / "test_files" / SAMPLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files are odd on purpose
        data_set = pydicom.dcmread(source)
        data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID = (generate_uid() for _ in range(3))
        data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
        for keyword, value in canaries.PATIENT.items():
            setattr(data_set, keyword, value)
        path = directory / f"{name.replace(' ', '_')}.dcm"
        data_set.save_as(path, enforce_file_format=True)
    return path


def write_samples(directory: Path, names: Iterable[str] = tuple(SAMPLES)) -> list[Path]:
    """Writes several samples, see `write_sample`."""
    return [write_sample(name, directory) for name in names]


def split(part10: bytes) -> tuple[FileMetaDataset, bytes]:
    """Splits a Part 10 file (PS3.10 7.1) into its file meta information and the bytes of its data set."""
    end = 144 + int.from_bytes(part10[140:144], "little")  # preamble, DICM, then (0002,0000) UL: the length of what follows it
    return pydicom.dcmread(BytesIO(part10[:end])).file_meta, part10[end:]


def instance(path: Path) -> Instance:
    """The instance that a Part 10 file holds."""
    meta, data_set = split(path.read_bytes())
    return Instance(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, data_set)


def generated(size: int = 1024, *, sop_class_uid: str = PRIVATE_SOP_CLASS) -> Instance:
    """A small instance made from nothing, explicit VR little endian, with the canaries and `size` bytes of OB data; for sending many."""
    head, uids, pixels = Dataset(), Dataset(), Dataset()
    head.SOPClassUID, head.SOPInstanceUID = sop_class_uid, generate_uid()
    uids.StudyInstanceUID, uids.SeriesInstanceUID = generate_uid(), generate_uid()
    pixels.add_new(0x00090010, "LO", "dicom-operator test")
    pixels.add_new(0x00091001, "OB", bytes(size))
    identifying, patient, study = _canaries()
    data_set = _encoded(head) + identifying + _encoded(pixels) + patient + _encoded(uids) + study
    return Instance(sop_class_uid, head.SOPInstanceUID, ExplicitVRLittleEndian, data_set)


@functools.cache
def _canaries() -> tuple[bytes, bytes, bytes]:
    """What is the same in each: of group 0008, from there to the UIDs of group 0020, and after them."""
    parts = (Dataset(), Dataset(), Dataset())
    for keyword, value in {**canaries.PATIENT, "StudyDate": "20260101", "Modality": "OT"}.items():
        tag = Tag(keyword)
        setattr(parts[0 if tag.group == 0x0008 else 1 if tag < 0x0020000D else 2], keyword, value)
    return _encoded(parts[0]), _encoded(parts[1]), _encoded(parts[2])


def _encoded(data_set: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return buffer.getvalue()

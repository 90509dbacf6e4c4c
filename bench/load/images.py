"""The images that are sent: CT, explicit VR little endian, random pixels, so that nothing on the way can compress them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SIZES = {"20kB": 20_000, "0.5MB": 524_288, "20MB": 20_000_000}
FILES = {"20kB": 50, "0.5MB": 50, "20MB": 4}
"""How many files there are of each size; senders that read files go round them."""


def uid(number: int) -> str:
    """A SOP Instance UID; all are of one length, so that one can be written over another."""
    return f"2.25.{10**15 + number}"


@dataclass(frozen=True, slots=True)
class Images:
    """The files of one size, and the bytes of the data set in each."""

    files: tuple[Path, ...]
    bytes: int


def write(directory: Path, size: str) -> Images:
    """Write the files of a size into a directory."""
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import UID

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    del image[0xFFFCFFFC]  # trailing padding, which dcmtk does not send
    files = []
    for number in range(FILES[size]):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID(uid(number))
        image.PixelData = os.urandom(SIZES[size])
        file = directory / f"{size}-{number:03}.dcm"
        image.save_as(file)
        files.append(file)
    return Images(tuple(files), len(data_set(files[0])))


def data_set(file: Path) -> bytes:
    """The bytes of a Part 10 file after its meta information (PS3.10 7.1)."""
    content = file.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]

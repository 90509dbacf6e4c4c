"""Transfer syntaxes: what is converted, to what, and what becomes of the process that does it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import warnings
from io import BytesIO
from pathlib import Path

import numpy
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS as DECODERS
from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGExtended12Bit

from dicom_adapter.part10 import FileMeta, data_set_offset
from dicom_adapter.transform.transcode import CannotConvert, convert
from dicom_adapter.transform.worker import Transcoder

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
LOSSLESS = [
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "image_dfl.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small.dcm",
    "rtdose_expb.dcm",
    "rtplan.dcm",
]
TARGETS = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def read(name: str) -> tuple[pydicom.FileDataset, bytes, str]:
    content = (FILES / name).read_bytes()
    data_set = pydicom.dcmread(BytesIO(content))
    return data_set, content[data_set_offset(content[:144]) or 0 :], str(data_set.file_meta.TransferSyntaxUID)


def written(content: bytes, syntax: str) -> pydicom.FileDataset:
    return pydicom.dcmread(BytesIO(FileMeta("1.2", "1.2", syntax, "1.2", "").encode() + content))


def values(data_set: Dataset) -> dict[str, object]:
    """What is said beside the pixels; a photometric interpretation that names a compression is that of its result."""
    said = {str(one.tag): one.value for one in data_set if one.keyword != "PixelData" and not one.tag.is_private}
    if data_set.get("PhotometricInterpretation") in ("YBR_RCT", "YBR_ICT"):
        said["(0028,0004)"] = "RGB"
    return said


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.filterwarnings("ignore")
def test_lossless_pixels_and_every_value_are_the_same_afterwards(name: str, target: str) -> None:
    before, content, source = read(name)
    after = written(convert(content, source, target), target)
    assert values(after) == values(before)
    if "PixelData" in before:
        assert not after.file_meta.TransferSyntaxUID.is_compressed
        assert numpy.array_equal(after.pixel_array, before.pixel_array)


@pytest.mark.filterwarnings("ignore")
def test_lossy_jpeg_becomes_rgb() -> None:
    before, content, source = read("SC_rgb_jpeg_dcmtk.dcm")
    after = written(convert(content, source, ExplicitVRLittleEndian), ExplicitVRLittleEndian)
    assert (before.PhotometricInterpretation, after.PhotometricInterpretation) == ("YBR_FULL", "RGB")
    assert len(after.PixelData) == after.Rows * after.Columns * 3
    assert after.SOPInstanceUID == before.SOPInstanceUID


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_jpeg_of_12_bits(target: str) -> None:
    before, content, source = read("JPEG-lossy.dcm")
    after = written(convert(content, source, target), target)
    assert values(after) == values(before)
    pixels = after.pixel_array
    assert (source, after.BitsStored, pixels.shape) == (str(JPEGExtended12Bit), 12, (1024, 256))
    assert (int(pixels.max()), int(pixels.sum())) == (264, 3767007)  # what dcmtk's dcmdjpeg makes of it


NONE = [uid for uid in AllTransferSyntaxes if uid.is_compressed and uid not in DECODERS]
REFERENCED = ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95"]  # JPIP, retired: no pixels in them
NEWER = ["1.2.840.10008.1.2.4.110", "1.2.3.4"]  # JPEG XL, and somebody's own


@pytest.mark.parametrize("source", [*NONE, *REFERENCED, *NEWER])
def test_what_has_no_codec_says_so(source: str) -> None:
    data_set, _, _ = read("MR_small.dcm")
    if "JPIP" in UID(source).name:
        del data_set.PixelData
    else:
        data_set.PixelData = encapsulate([b"12345678"])
        data_set["PixelData"].VR, data_set["PixelData"].is_undefined_length = "OB", True
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    with pytest.raises(CannotConvert, match=r"^no codec decodes it$"):
        convert(buffer.getvalue(), source, ExplicitVRLittleEndian)


def test_the_documentation_names_what_has_no_codec() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "query-retrieve.md").read_text()
    row = next(line for line in page.splitlines() if line.endswith("`no codec decodes it` |"))
    named = tuple(row.split("|")[1].strip().partition(": ")[2].partition(";")[0].split(", "))
    assert [uid.name for uid in NONE if not uid.name.removeprefix("Fragmentable ").startswith(named)] == []


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_says_so() -> None:
    _, content, source = read("MR_small_jp2klossless.dcm")
    with pytest.raises(CannotConvert, match=r"^it cannot be decoded$"):
        convert(content.replace(b"\xff\x4f\xff\x51", b"\0\0\0\0"), source, ExplicitVRLittleEndian)


def test_what_is_no_data_set_says_so() -> None:
    logging.disable()
    with warnings.catch_warnings(), pytest.raises(CannotConvert, match="it cannot be decoded"):
        warnings.simplefilter("ignore")
        convert(b"\x08\x00\x52\x00ZZ\x02\x00AB", ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    logging.disable(logging.NOTSET)


def test_an_image_that_says_it_is_huge_is_not_decoded() -> None:
    data_set, _, source = read("MR_small_jp2klossless.dcm")
    data_set.NumberOfFrames = 2_000_000
    buffer = BytesIO()
    data_set.save_as(buffer)
    content = buffer.getvalue()
    with pytest.raises(CannotConvert, match="more than 512 MiB uncompressed"):
        convert(content[data_set_offset(content[:144]) or 0 :], source, ExplicitVRLittleEndian)


# -- the process -----------------------------------------------------------------------------------


async def test_a_process_serves_one_conversion_after_the_other_and_ends_when_nobody_needs_it() -> None:
    _, content, source = read("MR_small_RLE.dcm")
    expected = convert(content, source, ExplicitVRLittleEndian)
    async with Transcoder(idle=0.05) as transcoder:
        assert await transcoder.convert(content, source, ExplicitVRLittleEndian) == expected
        assert transcoder.idle == 1
        with pytest.raises(CannotConvert, match="it cannot be decoded"):
            await transcoder.convert(b"\x08\x00\x52\x00ZZ\x02\x00AB", ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        assert await transcoder.convert(content, source, ExplicitVRLittleEndian) == expected
        async with asyncio.timeout(60):
            while transcoder.idle:  # noqa: ASYNC110 -- a timer of the transcoder's own
                await asyncio.sleep(0.01)


CRASHES = "import os, sys; sys.stdin.buffer.readline(); os.kill(os.getpid(), 11)"
SLEEPS = "import time; time.sleep(600)"


@pytest.mark.parametrize(
    ("program", "patience", "why"), [(CRASHES, 60.0, "its codec crashed"), (SLEEPS, 0.5, "not decoded in 0.5 s")], ids=["crashes", "hangs"]
)
async def test_a_codec_that_crashes_or_hangs_costs_its_own_image_and_no_process_stays(program: str, patience: float, why: str) -> None:
    async with Transcoder(patience=patience, command=(sys.executable, "-c", program)) as transcoder:
        for _ in range(3):
            with pytest.raises(CannotConvert, match=why):
                await transcoder.convert(b"x" * 100, "1.2", "1.2")
            assert transcoder.idle == 0


async def test_whoever_stops_waiting_takes_the_process_along() -> None:
    async with Transcoder(command=(sys.executable, "-c", SLEEPS)) as transcoder:
        waiting = [asyncio.create_task(transcoder.convert(b"x", "1.2", "1.2")) for _ in range(4)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*waiting, return_exceptions=True))


LOADED = """
import contextlib, runpy, sys
sys.argv = ["dicom-adapter", "import", "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_module("dicom_adapter", run_name="__main__")
print([name for name in ("pydicom", "numpy", "gdcm", "pylibjpeg", "openjpeg", "jpeg_ls") if sys.modules.get(name)])
"""


def test_the_adapter_itself_loads_no_codec() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "['pydicom']"

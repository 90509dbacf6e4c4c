"""A data set from one transfer syntax into an uncompressed one (PS3.5 A). Pure; it runs in a process of its own, see `worker`.

Lossless pixel data comes out as it went in. Of lossy JPEG in YCbCr the result is RGB, as dcmtk makes it: who takes nothing but uncompressed
images is likely not to know YCbCr either. Nothing else of the data set changes but how it is written.
"""

from __future__ import annotations

from array import array
from io import BytesIO
from typing import Final

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPIPHTJ2KReferenced, JPIPHTJ2KReferencedDeflate

from dicom_adapter.part10 import FileMeta
from dicom_adapter.transform import extended

MOST_DECODED: Final = 512 << 20
"""Pixel data that would be longer than this is not decoded."""

_NO_CODEC: Final = "no codec decodes it"
_REFERENCED: Final = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", JPIPHTJ2KReferenced, JPIPHTJ2KReferencedDeflate)
"""JPIP: the pixels are elsewhere."""
_LOSSY: Final = (JPEGBaseline8Bit, JPEGExtended12Bit)
_WORDS: Final = {"OW": "h", "OL": "i", "OF": "f", "OD": "d", "OV": "q"}


class CannotConvert(Exception):
    """There is no way from the one transfer syntax to the other; the text says why in a few words."""


def convert(content: bytes, source: str, target: str) -> bytes:
    """The data set in `target`, explicit or implicit VR little endian. Raises CannotConvert."""
    syntax = UID(source)
    if syntax.is_private or not syntax.is_transfer_syntax or syntax in _REFERENCED:
        raise CannotConvert(_NO_CODEC)
    try:
        head = FileMeta("1.2", "1.2", source, "1.2", "").encode()
        data_set = pydicom.dcmread(BytesIO(head + content))
        data_set.decode()
        if syntax.is_encapsulated and "PixelData" in data_set:
            _decompress(data_set, syntax)
        elif not syntax.is_little_endian:
            _swap(data_set)
        return _written(data_set, target)
    except CannotConvert:
        raise
    except MemoryError:
        raise CannotConvert("not enough memory") from None
    except Exception as error:  # codecs and pydicom raise whatever they stumble over; their texts may quote values
        raise CannotConvert("it cannot be decoded") from error


def _decompress(data_set: FileDataset, syntax: UID) -> None:
    samples = int(data_set.get("SamplesPerPixel", 1)) * int(data_set.get("NumberOfFrames", None) or 1)
    if int(data_set.Rows) * int(data_set.Columns) * samples * int(data_set.BitsAllocated) // 8 > MOST_DECODED:
        raise CannotConvert(f"more than {MOST_DECODED >> 20} MiB uncompressed")
    try:
        data_set.decompress(as_rgb=syntax in _LOSSY, decoding_plugin=_plugin(data_set, syntax), generate_instance_uid=False)
    except NotImplementedError as error:
        raise CannotConvert(_NO_CODEC) from error


def _plugin(data_set: Dataset, syntax: UID) -> str:
    """The plugin of pydicom that decodes it, empty for any."""
    if syntax != JPEGExtended12Bit or int(data_set.BitsStored) <= 8:
        return ""
    extended.register()
    return extended.PLUGIN


def _swap(data_set: Dataset) -> None:
    """Values of words, which pydicom keeps as they were read."""
    cells = {32: "i", 64: "q"}.get(int(data_set.get("BitsAllocated") or 0))
    for element in data_set.iterall():
        if element.VR in _WORDS and isinstance(element.value, bytes):
            kind = cells if element.keyword == "PixelData" and cells else _WORDS[element.VR]
            element.value = _swapped(element.value, kind)


def _swapped(value: bytes, kind: str) -> bytes:
    words = array(kind, value)
    words.byteswap()
    return words.tobytes()


def _written(data_set: FileDataset, target: str) -> bytes:
    plain = Dataset()  # one that knows nothing of how it was encoded
    for element in data_set:
        plain.add(element)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, UID(target).is_implicit_VR
    write_dataset(buffer, plain)
    return bytes(buffer.getvalue())

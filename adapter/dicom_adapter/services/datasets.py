"""Data sets of DIMSE messages as pydicom's, in the transfer syntaxes that are read here: identifiers, replies, reports (PS3.5 A)."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

UNCOMPRESSED: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""What every node understands, the better first."""

_MOST_INFLATED: Final = 1 << 24


class Unreadable(Exception):
    """It is no data set, or one that breaks off."""


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, pydicom keeps to itself what it thinks of the values that it meets: its warnings quote them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inflated(content: bytes, transfer_syntax_uid: str) -> bytes:
    """The bytes of a data set, whether they are deflated or not. Raises Unreadable."""
    if not UID(transfer_syntax_uid).is_deflated:
        return content
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflating.decompress(content, _MOST_INFLATED)
    except zlib.error as error:
        raise Unreadable from error
    if not inflating.eof:
        raise Unreadable
    return content


def deflated(content: bytes) -> bytes:
    """The bytes of a data set, deflated and of even length (PS3.5 A.5)."""
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflating.compress(content) + deflating.flush()
    return content + b"\0" * (len(content) % 2)


def decode(content: bytes, transfer_syntax_uid: str, check: Callable[[bytes, str], None] | None = None) -> Dataset:
    """What the bytes say; every value is read, so that none fails later. Raises Unreadable, and what `check` raises beforehand."""
    syntax = UID(transfer_syntax_uid)
    content = inflated(content, transfer_syntax_uid)
    if check is not None:
        check(content, transfer_syntax_uid)
    try:
        with quietly():
            found = read_dataset(BytesIO(content), syntax.is_implicit_VR, syntax.is_little_endian)
            found.decode()
            for _ in found.iterall():
                pass
            return found
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise Unreadable from error


def encode(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    """The bytes of a data set."""
    syntax = UID(transfer_syntax_uid)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    with quietly():
        write_dataset(buffer, data_set)
    content = bytes(buffer.getvalue())
    if syntax.is_deflated:
        return deflated(content)
    return content

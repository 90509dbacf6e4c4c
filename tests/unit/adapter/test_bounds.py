"""Elements are counted before anybody reads them: at every depth, in every transfer syntax, and no further than they matter."""

from __future__ import annotations

import zlib

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from dicom_adapter.services import bounds
from dicom_adapter.services.levels import BadIdentifier
from dicom_adapter.services.query.identifier import parse

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def nested(depth: int, *, undefined: bool) -> Dataset:
    """Three elements at each depth, one of them binary."""
    found = Dataset()
    found.PatientID, found.Rows = "ABC", 7
    found.RedPaletteColorLookupTableData = b"\1\2\3\4"
    if depth:
        found.ReferencedStudySequence = Sequence([nested(depth - 1, undefined=undefined)])
        found["ReferencedStudySequence"].is_undefined_length = undefined
        found.ReferencedStudySequence[0].is_undefined_length_sequence_item = undefined
    return found


def written(data_set: Dataset, syntax: UID) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, data_set)
    return bytes(buffer.getvalue())


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_elements_and_items_are_counted_at_every_depth(syntax: UID, undefined: bool) -> None:
    content = written(nested(5, undefined=undefined), syntax)
    each = 3 + 2 + (2 if undefined else 0)  # three elements, a sequence and its item, the ends of both
    order = "<" if syntax.is_little_endian else ">"
    assert bounds.elements(content, explicit=not syntax.is_implicit_VR, order=order) == 5 * each + 3


@pytest.mark.parametrize("syntax", [*SYNTAXES, DeflatedExplicitVRLittleEndian])
def test_too_many_are_refused_before_they_are_read(syntax: UID) -> None:
    many = Dataset()
    for number in range(2000):
        many.add_new(0x00211000 + number, "LO", "")
    content = written(many, syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = deflating.compress(content) + deflating.flush()
    with pytest.raises(BadIdentifier, match="More than 1024 elements in the identifier"):
        parse(content, syntax, STUDY_ROOT_FIND)


def test_what_is_no_data_set_is_counted_as_far_as_it_goes() -> None:
    for content in (b"", b"\1", b"\xff" * 100, bytes(100), b"\x08\0\x52\0ZZ\0\0\xff\xff\xff\x7f"):
        for explicit in (False, True):
            assert bounds.elements(content, explicit=explicit, order="<") <= 13

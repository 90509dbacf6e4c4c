"""Target: a data set that is looked into for its route, which any sender may send (PS3.5 7 and 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_adapter.delivery.prefix import LONGEST_VALUE, Element, Prefix, Unreadable
from dicom_adapter.delivery.routing import other_instance
from dicom_adapter.delivery.values import texts
from tests.fuzz.queries import as_the_adapter
from tests.fuzz.streams import pieces, stream

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
TAGS = (0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00091001, 0x00100010, 0x00280010, 0x00280034)
Outcome = tuple[dict[int, Element], str]


def prefix(data: bytes) -> None:
    """It is read or refused, in pieces as in one; what is read are the elements asked for, and their values become texts."""
    if not data:
        return
    syntax = SYNTAXES[data[0] % len(SYNTAXES)]
    elements, why = _read(syntax, [stream(data[1:])])
    again, why_again = _read(syntax, pieces(data[1:]))
    if syntax != DeflatedExplicitVRLittleEndian or not (why or why_again):  # how much a broken deflated stream gives is zlib's to say
        assert (elements, why) == (again, why_again)
    assert elements.keys() <= set(TAGS)
    with as_the_adapter():
        for element in elements.values():
            assert len(element.value) <= LONGEST_VALUE
            assert all(texts(element, elements))
        other_instance(elements, "1.2.3", "1.2.3.4")


def _read(syntax: str, parts: Iterable[bytes]) -> Outcome:
    reading = Prefix(syntax, TAGS)
    try:
        for part in parts:
            busy = reading.feed(part)
            while busy:
                busy = reading.feed()
        reading.finish()
    except Unreadable as error:
        return reading.elements, error.why
    assert reading.complete
    return reading.elements, ""


def prefix_seeds() -> Iterator[bytes]:
    """A bit of everything in each syntax."""
    item = Dataset()
    item.Modality = "XX"
    found = Dataset()
    found.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    found.ImageType, found.Modality = ["ORIGINAL", "PRIMARY"], "CT"
    found.SOPClassUID, found.SOPInstanceUID = "1.2.3", "1.2.3.4"
    found.ReferencedStudySequence = Sequence([item])
    found.add_new(0x00091001, "LO", "x")
    found.PatientName, found.Rows, found.PixelAspectRatio = "Yamada^Tarou=山田^太郎", 512, [1, 2]
    for number, syntax in enumerate(SYNTAXES):
        for undefined in (False, True):
            found["ReferencedStudySequence"].is_undefined_length = item.is_undefined_length_sequence_item = undefined
            buffer = DicomBytesIO()
            buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
            write_dataset(buffer, found)
            yield bytes((number, 0)) + buffer.getvalue()
            yield bytes((number, 2, 3, 90)) + buffer.getvalue()

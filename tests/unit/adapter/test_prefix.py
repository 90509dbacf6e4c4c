"""What is read of a data set on its way: every transfer syntax, in pieces of any size, and every way in which it can be none."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicom_adapter.delivery.prefix import DEEPEST, LONGEST_VALUE, Element, Prefix, Unreadable
from dicom_adapter.delivery.values import texts
from tests.support.dicom import SAMPLES, instance, write_sample

IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
SYNTAXES = {"implicit": IMPLICIT, "explicit": EXPLICIT, "big endian": BIG_ENDIAN, "deflated": DEFLATED}


def encoded(data_set: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG_ENDIAN, syntax == IMPLICIT
    write_dataset(buffer, data_set)
    if syntax != DEFLATED:
        return buffer.getvalue()
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(buffer.getvalue()) + compressor.flush()


def read(data: bytes, syntax: str, *names: str, piece: int = 1 << 20) -> Prefix:
    """All of it, in pieces."""
    prefix = Prefix(syntax, [Tag(name) for name in names])
    for start in range(0, len(data), piece):
        busy = prefix.feed(data[start : start + piece])
        while busy:
            busy = prefix.feed()
    prefix.finish()
    return prefix


def values(prefix: Prefix, name: str) -> tuple[str, ...]:
    element = prefix.elements.get(Tag(name))
    return texts(element, prefix.elements) if element else ()


def why(data: bytes, syntax: str = EXPLICIT, *names: str) -> str:
    with pytest.raises(Unreadable) as caught:
        read(data, syntax, *(names or ("PatientName",)))
    assert str(caught.value) == f"{caught.value.why} at byte {caught.value.position}"
    return str(caught.value)


def sample() -> Dataset:
    """A bit of everything."""
    item, inner = Dataset(), Dataset()
    inner.Modality = "XX"
    item.Modality, item.ReferencedSOPSequence = "YY", Sequence([inner, Dataset()])
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.SOPClassUID, found.SOPInstanceUID = "1.2.3", "1.2.3.4"
    found.Modality = "CT"
    found.ReferencedStudySequence = Sequence([item, item])
    found.add_new(0x00090010, "LO", "A VENDOR")
    found.add_new(0x00091001, "LO", "private value")
    found.add_new(0x00091002, "OB", bytes(5000))
    found.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    found.Rows, found.PixelSpacing = 512, ["0.5", "0.25"]
    found.FrameIncrementPointer = Tag("FrameTime")
    found.add_new("RealWorldValueSlope", "FD", 2.5)
    found.PixelData = bytes(1000)
    found["PixelData"].VR = "OW"
    found.add_new("DigitalSignaturesSequence", "SQ", Sequence([]))
    return found


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_attributes_are_read_in_every_encoding_and_in_pieces_of_any_size(syntax: str, piece: int) -> None:
    names = ("Modality", "ImageType", "PatientName", "Rows", "PixelSpacing", "SOPInstanceUID", "RealWorldValueSlope", "00091001")
    prefix = read(encoded(sample(), syntax), syntax, *names, "FrameIncrementPointer", piece=piece)
    found = {name: values(prefix, name) for name in names}
    assert found == {
        "Modality": ("CT",),
        "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "PatientName": ("Yamada^Tarou=山田^太郎=やまだ^たろう",),
        "Rows": ("512",),
        "PixelSpacing": ("0.5", "0.25"),
        "SOPInstanceUID": ("1.2.3.4",),
        "RealWorldValueSlope": ("2.5",),
        "00091001": ("private value",),
    }
    assert values(prefix, "FrameIncrementPointer") == ("00181063",)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_images_of_every_transfer_syntax_can_be_read(name: str, tmp_path: Path) -> None:
    one = instance(write_sample(name, tmp_path))
    prefix = read(one.data_set, one.transfer_syntax_uid, "SOPInstanceUID", "Rows", "FFFAFFFA")
    assert values(prefix, "SOPInstanceUID") == (one.sop_instance_uid,)
    assert int(values(prefix, "Rows")[0]) > 0


@pytest.mark.parametrize("undefined", [False, True], ids=["of known length", "of undefined length"])
def test_what_is_inside_a_sequence_is_not_the_data_set_s_own(undefined: bool) -> None:
    data_set = Dataset()
    item = Dataset()
    item.Modality = "XX"
    data_set.ReferencedStudySequence = Sequence([item])
    data_set["ReferencedStudySequence"].is_undefined_length = undefined
    item.is_undefined_length_sequence_item = undefined
    data_set.PatientID = "7"
    prefix = read(encoded(data_set, EXPLICIT), EXPLICIT, "Modality", "PatientID")
    assert (values(prefix, "Modality"), values(prefix, "PatientID")) == ((), ("7",))


def test_an_unknown_sequence_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 6.2.2, note 2."""
    item = Dataset()
    item.Modality = "XX"
    inside = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + encoded(item, IMPLICIT) + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + inside + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data_set = Dataset()
    data_set.PatientID = "7"
    assert values(read(sequence + encoded(data_set, EXPLICIT), EXPLICIT, "PatientID"), "PatientID") == ("7",)


def test_a_known_attribute_that_came_as_unknown_is_what_the_dictionary_says() -> None:
    data = struct.pack("<HH2sHI", 0x0028, 0x0010, b"UN", 0, 2) + b"\x00\x02"
    assert values(read(data, EXPLICIT, "Rows"), "Rows") == ("512",)


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("US", b"\x01\x00\x02\x00", ("1", "2")),
        ("US", b"\x01\x00\x02", ("1",)),
        ("SS", b"\xff\xff", ("-1",)),
        ("FL", struct.pack("<f", 0.1), ("0.1",)),
        ("FD", struct.pack("<d", 3), ("3",)),
        ("AT", b"\x08\x00\x18\x00", ("00080018",)),
        ("UI", b"1.2.3\0", ("1.2.3",)),
        ("LO", b" a \\\\b ", ("a", "b")),
        ("LT", b"a\\b ", ("a\\b",)),
        ("LO", b"", ()),
        ("CS", b"\xff\xfe", ("\ufffd\ufffd",)),
        ("SQ", b"x", ()),
        ("OB", b"x", ()),
        ("ZZ", b"x", ()),
    ],
)
def test_values_of_each_kind(vr: str, value: bytes, expected: tuple[str, ...]) -> None:
    assert texts(Element(0x00081111, vr, value), {}) == expected


@pytest.mark.parametrize(
    ("character_set", "value", "expected"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        ("ISO_IR 192", "Łukasz".encode(), "Łukasz"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (r"\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("ISO_IR 999", b"M\xfcller", "Müller"),
        ("", b"M\xfcller", "M\ufffdller"),
    ],
)
def test_names_are_decoded_as_the_specific_character_set_says(character_set: str, value: bytes, expected: str) -> None:
    elements = {0x00080005: Element(0x00080005, "CS", character_set.encode())} if character_set else {}
    assert texts(Element(0x00100010, "PN", value), elements) == (expected,)


def test_it_is_complete_when_the_last_tag_has_been_passed_and_looks_at_nothing_behind() -> None:
    data = encoded(sample(), EXPLICIT)
    prefix = Prefix(EXPLICIT, [Tag("Modality")])
    assert not prefix.feed(data[: data.index(b"LO\x08\x00A VENDOR")])
    assert prefix.complete
    assert not prefix.feed(b"no data set at all")
    prefix.finish()


def test_a_missing_attribute_is_no_mistake() -> None:
    assert values(read(encoded(sample(), EXPLICIT), EXPLICIT, "StationName", "FFFAFFFA"), "StationName") == ()


def test_a_value_that_nobody_would_compare_is_stepped_over_in_constant_memory() -> None:
    head = struct.pack("<HH2sHI", 0x0008, 0x0119, b"UC", 0, 512 << 20)
    data_set = Dataset()
    data_set.PatientID = "7"
    prefix = Prefix(EXPLICIT, [0x00080119, Tag("PatientID")])
    piece = bytes(1 << 20)
    tracemalloc.start()
    prefix.feed(head)
    for _ in range(512):
        prefix.feed(piece)
    prefix.feed(encoded(data_set, EXPLICIT))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values(prefix, "PatientID") == ("7",)
    assert 0x00080119 not in prefix.elements
    assert peak < 200_000


def test_a_deflated_data_set_that_grows_a_thousandfold_costs_no_memory_and_lets_others_have_their_turn() -> None:
    data_set = Dataset()
    data_set.add_new(0x00091001, "OB", bytes(64 << 20))
    data_set.PatientID = "7"
    data = encoded(data_set, DEFLATED)
    prefix = Prefix(DEFLATED, [Tag("PatientID")])
    tracemalloc.start()
    turns, busy = 0, prefix.feed(data)
    while busy:
        turns, busy = turns + 1, prefix.feed()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values(prefix, "PatientID") == ("7",)
    assert turns >= 200
    assert peak < 4 << 20


def test_many_elements_are_read_by_turns() -> None:
    data = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + number, b"LO", 0) for number in range(10_000))
    prefix = Prefix(EXPLICIT, [Tag("PatientID")])
    turns, busy = 0, prefix.feed(data)
    while busy:
        turns, busy = turns + 1, prefix.feed()
    prefix.finish()
    assert turns == 4


NAME = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 40) + b"too short"
ITEM, ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE = struct.pack("<HH2sHI", 0x0008, 0x1110, b"SQ", 0, 0xFFFFFFFF)
MODALITY = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (NAME, "length past the end at byte 0"),
        (MODALITY + NAME, "length past the end at byte 10"),
        (struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 1 << 30) + b"x", "length past the end at byte 0"),
        (MODALITY + b"\x10\x00", "length past the end at byte 10"),
        (MODALITY + struct.pack("<HH2sH", 0x0009, 0x1001, b"OB", 0), "length past the end at byte 10"),
        (MODALITY + SEQUENCE, "length past the end at byte 10"),
        (struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT", "no value representation at byte 0"),
        (b"\x89PNG\r\n\x1a\n and so on", "no value representation at byte 0"),
        (ITEM, "delimiter without its item at byte 0"),
        (MODALITY + ITEM_END, "delimiter without its item at byte 10"),
        (SEQUENCE + MODALITY, "no item where one belongs at byte 12"),
        (SEQUENCE + ITEM + ITEM, "delimiter without its item at byte 20"),
        ((SEQUENCE + ITEM) * 200, f"sequences more than {DEEPEST // 2} deep at byte 2552"),
    ],
)
def test_what_is_no_data_set_says_where(data: bytes, expected: str) -> None:
    assert why(data) == expected


def test_a_deflated_stream_that_is_none_says_where() -> None:
    assert why(b"\xff\xff\xff", DEFLATED) == "deflated stream broken at byte 0"
    whole = encoded(sample(), DEFLATED)
    assert why(whole[:-1], DEFLATED, "FFFCFFFC").startswith("deflated stream cut off at byte ")


def test_behind_a_deflated_data_set_there_may_be_padding() -> None:
    for piece in (1, 1 << 20):
        prefix = read(encoded(sample(), DEFLATED) + b"\0\0", DEFLATED, "Modality", "FFFCFFFC", piece=piece)
        assert values(prefix, "Modality") == ("CT",)


def test_whatever_a_decoder_raises_there_is_no_value_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> str:
        raise RecursionError

    monkeypatch.setattr("dicom_adapter.delivery.values.decode_bytes", fails)
    elements = {0x00080005: Element(0x00080005, "CS", b"\\ISO 2022 IR 87")}
    assert texts(Element(0x00100010, "PN", b"\x1b$B;3ED\x1b(B"), elements) == ()


@settings(deadline=None)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5), syntax=st.sampled_from(list(SYNTAXES.values())))
def test_pieces_change_nothing(data: bytes, cuts: list[int], syntax: str) -> None:
    def outcome(pieces: list[bytes]) -> object:
        prefix = Prefix(syntax, [Tag("PatientID"), 0x00080060])
        try:
            for piece in pieces:
                busy = prefix.feed(piece)
                while busy:
                    busy = prefix.feed()
            prefix.finish()
        except Unreadable as error:
            return error.why, error.position if syntax != DEFLATED else 0
        return prefix.elements

    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert outcome([data[a:b] for a, b in pairwise(edges)]) == outcome([data])


def test_no_value_is_longer_than_what_is_compared() -> None:
    data_set = Dataset()
    data_set.add_new("LongCodeValue", "UC", "x" * LONGEST_VALUE)
    assert len(values(read(encoded(data_set, EXPLICIT), EXPLICIT, "LongCodeValue"), "LongCodeValue")[0]) == LONGEST_VALUE

"""Reading the identifier of a query: levels, keys, character sets, and bytes that are none."""

from __future__ import annotations

import warnings
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_adapter.dimse.sopclasses import PATIENT_ROOT_FIND, PATIENT_STUDY_ONLY_FIND, STUDY_ROOT_FIND
from dicom_adapter.services.levels import BadIdentifier, Level
from dicom_adapter.services.query.identifier import Identifier, Key, decode, parse

PATIENT_NAME, PATIENT_ID, STUDY_DATE, MODALITIES = 0x00100010, 0x00100020, 0x00080020, 0x00080061
EVERY = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def encoded(data_set: Dataset, syntax: UID = ImplicitVRLittleEndian) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, data_set)
    content = bytes(buffer.getvalue())
    if syntax == DeflatedExplicitVRLittleEndian:
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = deflating.compress(content) + deflating.flush()
    return content


def query(level: str = "STUDY", **attributes: object) -> Dataset:
    one = Dataset()
    if level:
        one.QueryRetrieveLevel = level
    for keyword, value in attributes.items():
        setattr(one, keyword, value)
    return one


def read(data_set: Dataset, syntax: UID = ImplicitVRLittleEndian, model: str = STUDY_ROOT_FIND) -> Identifier:
    return parse(encoded(data_set, syntax), syntax, model)


@pytest.mark.parametrize("syntax", EVERY, ids=lambda syntax: syntax.name)
def test_keys_are_read_in_every_transfer_syntax(syntax: UID) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID, item.Modality = "STEP-1", ""
    asked = query(
        PatientName="DOE*",
        PatientID="",
        StudyDate="20260101-",
        ModalitiesInStudy=["CT", "MR"],
        Rows=512,
        RequestAttributesSequence=Sequence([item]),
        ProcedureCodeSequence=Sequence([]),
    )
    assert read(asked, syntax) == Identifier(
        Level.STUDY,
        (
            Key(STUDY_DATE, "DA", ("20260101-",)),
            Key(MODALITIES, "CS", ("CT", "MR")),
            Key(0x00081032, "SQ"),
            Key(PATIENT_NAME, "PN", ("DOE*",)),
            Key(PATIENT_ID, "LO"),
            Key(0x00280010, "US", ("512",)),
            Key(0x00400275, "SQ", items=(Key(0x00080060, "CS"), Key(0x00400009, "SH", ("STEP-1",)))),
        ),
    )


@pytest.mark.parametrize(
    ("model", "level", "comment"),
    [
        (STUDY_ROOT_FIND, "", "No QueryRetrieveLevel specified"),
        (STUDY_ROOT_FIND, "PATIENT", "Invalid QueryRetrieveLevel specified"),
        (STUDY_ROOT_FIND, "INSTANCE", "Invalid QueryRetrieveLevel specified"),
        (PATIENT_STUDY_ONLY_FIND, "SERIES", "Invalid QueryRetrieveLevel specified"),
    ],
)
def test_a_level_that_is_missing_or_not_in_the_model(model: str, level: str, comment: str) -> None:
    with pytest.raises(BadIdentifier) as refused:
        read(query(level), model=model)
    assert (refused.value.status, refused.value.comment) == (0xA900, comment)


def test_every_level_of_every_model() -> None:
    for model, levels in {
        PATIENT_ROOT_FIND: list(Level),
        STUDY_ROOT_FIND: list(Level)[1:],
        PATIENT_STUDY_ONLY_FIND: list(Level)[:2],
    }.items():
        assert [read(query(level), model=model).level for level in levels] == levels


@pytest.mark.parametrize(
    ("character_set", "raw", "text"),
    [
        ("ISO_IR 100", "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        ("ISO_IR 192", "Łukasiewicz^Ærø".encode(), "Łukasiewicz^Ærø"),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
        ("", "Müller".encode(), "Müller"),
        ("", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 4711", "Müller".encode(), "Müller"),
    ],
)
def test_names_are_read_in_their_character_set(character_set: str, raw: bytes, text: str) -> None:
    def element(tag: int, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1] + len(value).to_bytes(4, "little") + value

    named = element(0x00080005, character_set.encode()) if character_set else b""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the adapter does: pydicom's quote values
        found = parse(named + element(0x00080052, b"STUDY") + element(PATIENT_NAME, raw), ImplicitVRLittleEndian, STUDY_ROOT_FIND)
    assert found.keys == (Key(PATIENT_NAME, "PN", (text,)),)
    assert found.character_sets == (tuple(character_set.split("\\")) if character_set else ())


@pytest.mark.parametrize("value", ["*", "**", "", "   "])
def test_what_matches_everything_is_no_condition(value: str) -> None:
    (key,) = read(query(PatientName=value)).keys
    assert not key.matches


def test_bulk_data_and_group_lengths_are_no_conditions() -> None:
    one = query()
    one.add_new(0x00080000, "UL", 44)
    one.add_new(0x00091001, "OB", b"\1\2")
    found = read(one, ExplicitVRLittleEndian)
    assert [(key.name, key.matches) for key in found.keys] == [("00091001", False)]
    assert found.keys[0].private


@pytest.mark.parametrize("content", [b"\x08\0\x52\0\xff\xff\0\0STUDY ", b"\xff" * 64, b"\x08\0\x52", b"\x08\0\x52\0CU\0\0"])
def test_bytes_that_are_no_data_set_are_refused(content: bytes) -> None:
    with pytest.raises(BadIdentifier) as refused:
        parse(content, ExplicitVRLittleEndian, STUDY_ROOT_FIND)
    assert refused.value.status in (0xA900, 0xC000)


def test_a_bomb_is_not_inflated() -> None:
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"".join(deflating.compress(bytes(1 << 20)) for _ in range(64)) + deflating.flush()
    with pytest.raises(BadIdentifier) as refused:
        parse(bomb, DeflatedExplicitVRLittleEndian, STUDY_ROOT_FIND)
    assert (refused.value.status, refused.value.comment) == (0xA900, "Identifier unreadable")


@pytest.mark.parametrize("left_out", [1, 2, 8])
def test_a_deflated_identifier_that_breaks_off_is_refused(left_out: int) -> None:
    whole = encoded(query(PatientID="P1", PatientName="A*"), DeflatedExplicitVRLittleEndian)
    assert len(parse(whole, DeflatedExplicitVRLittleEndian, STUDY_ROOT_FIND).keys) == 2
    with pytest.raises(BadIdentifier) as refused:
        parse(whole[:-left_out], DeflatedExplicitVRLittleEndian, STUDY_ROOT_FIND)
    assert (refused.value.status, refused.value.comment) == (0xA900, "Identifier unreadable")


@given(st.binary(max_size=400), st.sampled_from(EVERY))
def test_whatever_a_peer_sends_is_read_or_refused(content: bytes, syntax: UID) -> None:
    with suppress(BadIdentifier):
        parse(content, syntax, STUDY_ROOT_FIND)


def test_what_would_be_a_flood_of_searches_is_refused() -> None:
    many = query(StudyInstanceUID=[f"1.2.{number}" for number in range(4097)])
    keys = query()
    for number in range(257):
        keys.add_new(0x00181000 + number, "LO", "")
    nested = query()
    nested.RequestAttributesSequence = [keys]
    refused_with = {
        "More than 4096 values in one key": many,
        "More than 256 keys in the identifier": keys,
        "More than 64 wildcards or ranges in one key": query(PatientID=[f"P{number}*" for number in range(65)]),
        "More than 1024 characters in one value": query(PatientComments="x" * 1025),
    }
    for comment, asked in [*refused_with.items(), ("More than 256 keys in the identifier", nested)]:
        with pytest.raises(BadIdentifier) as refused:
            read(asked, ExplicitVRLittleEndian)
        assert (refused.value.status, refused.value.comment) == (0xA900, comment)


def test_ascii_needs_no_character_set() -> None:
    assert decode(b"DOE^JANE", "PN", ["shift_jis"]) == "DOE^JANE"

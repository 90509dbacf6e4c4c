"""Response identifiers: what pydicom reads in them is what the store's JSON says, in every transfer syntax and character set."""

from __future__ import annotations

import warnings
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_adapter.services.query.answers import Encoder, selected
from dicom_adapter.services.query.identifier import Key

EVERY = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
NAME = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
ELEMENTS: dict[int, dict[str, Any]] = {
    0x00080018: {"vr": "UI", "Value": ["1.2.3"]},
    0x00080020: {"vr": "DA", "Value": ["20260101"]},
    0x00080061: {"vr": "CS", "Value": ["CT", "MR"]},
    0x00081032: {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}, {}]},
    0x00081190: {"vr": "UR", "Value": ["http://pacs/studies/1"]},
    0x00100010: {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    0x00101030: {"vr": "DS", "Value": [62.5]},
    0x00201208: {"vr": "IS", "Value": [3]},
    0x00280009: {"vr": "AT", "Value": ["00181063"]},
    0x00280010: {"vr": "US", "Value": [512]},
    0x00281201: {"vr": "OW", "InlineBinary": "AQIDBA=="},
    0x00720074: {"vr": "FD", "Value": [1, 0.5]},
}


def read(content: bytes, syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    if syntax == DeflatedExplicitVRLittleEndian:
        content = zlib.decompress(content, -zlib.MAX_WBITS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_dataset(BytesIO(content), syntax.is_implicit_VR, syntax.is_little_endian)
        found.decode()
        for element in found.iterall():
            str(element)
    return found


@pytest.mark.parametrize("syntax", EVERY, ids=lambda syntax: syntax.name)
def test_values_of_every_kind_in_every_transfer_syntax(syntax: UID) -> None:
    content = Encoder(syntax).encode(ELEMENTS)
    assert len(content) % 2 == 0
    found = read(content, syntax)
    assert "SpecificCharacterSet" not in found
    assert (found.SOPInstanceUID, found.StudyDate, list(found.ModalitiesInStudy)) == ("1.2.3", "20260101", ["CT", "MR"])
    assert [len(item) for item in found.ProcedureCodeSequence] == [1, 0]
    assert found.ProcedureCodeSequence[0].CodeValue == "X"
    assert (found.RetrieveURL, found.PatientName) == ("http://pacs/studies/1", "Doe^Jane")
    assert (found.PatientWeight, found.NumberOfStudyRelatedInstances, found.Rows) == (62.5, 3, 512)
    assert int(found.FrameIncrementPointer) == 0x00181063
    assert found.RedPaletteColorLookupTableData == b"\1\2\3\4"
    assert list(found.SelectorFDValue) == [1.0, 0.5]


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        ((), "Doe^Jane", None),
        ((), "Müller^Jürgen", "ISO_IR 192"),
        (("ISO_IR 100",), "Müller^Jürgen", "ISO_IR 100"),
        (("ISO_IR 100",), "Łukasiewicz", "ISO_IR 192"),
        (("ISO_IR 192",), "Łukasiewicz", "ISO_IR 192"),
        (("", "ISO 2022 IR 87"), "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        (("", "ISO 2022 IR 149"), "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        (("", "ISO 2022 IR 87"), "홍^길동", "ISO_IR 192"),
        (("ISO_IR 4711",), "Müller", "ISO_IR 192"),
    ],
)
def test_text_comes_in_the_requestors_character_set_when_that_holds_it(asked: tuple[str, ...], name: str, answered: Any) -> None:
    groups = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False))
    elements: dict[int, dict[str, Any]] = {
        0x00081030: {"vr": "LO", "Value": [groups["Alphabetic"]]},
        0x00100010: {"vr": "PN", "Value": [groups]},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the adapter sends to no log either
        found = read(Encoder(ExplicitVRLittleEndian, asked).encode(elements))
    assert found.get("SpecificCharacterSet") == answered
    assert (found.PatientName, found.StudyDescription) == (name, groups["Alphabetic"])


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "DA", "Value": [{"odd": 1}]},
        {"vr": "US", "Value": ["x"]},
        {"vr": "US", "Value": [70000]},
        {"vr": "AT", "Value": ["xyz"]},
        {"vr": "OB", "InlineBinary": "%%"},
        {"vr": "OB", "BulkDataURI": "http://pacs/bulk"},
        {"vr": "SQ", "Value": [1]},
        {"vr": "PN", "Value": [7, None, {"Alphabetic": 3}]},
        {"vr": "LO", "Value": [["a"]]},
        {"vr": "LO", "Value": "text"},
        {"vr": "CS", "Value": ["ä"]},
        {"vr": "SH", "Value": ["x" * 70000]},
        {"vr": "ZZ", "Value": ["x"]},
        {"vr": ["LO"], "Value": ["x"]},
        {"Value": ["x"]},
        {},
    ],
)
def test_an_odd_attribute_is_sent_empty_and_fails_no_other(element: dict[str, Any]) -> None:
    found = read(Encoder(ExplicitVRLittleEndian).encode({0x00080018: {"vr": "UI", "Value": ["1.2.3"]}, 0x00080050: element}))
    assert found.SOPInstanceUID == "1.2.3"
    assert len(found) == 2


def test_null_among_values_is_an_empty_one() -> None:
    found = read(Encoder(ExplicitVRLittleEndian).encode({0x00080008: {"vr": "CS", "Value": ["A", None, "B"]}}))
    assert list(found.ImageType) == ["A", "", "B"]


def test_of_a_sequence_what_was_asked_for_is_selected() -> None:
    element = {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}, "00080104": {"vr": "LO", "Value": ["Y"]}}, "odd"]}
    key = Key(0x00081032, "SQ", items=(Key(0x00080100, "SH"), Key(0x00080102, "SH")))
    assert selected(element, key) == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}, "00080102": {"vr": "SH"}}]}
    assert selected(element, Key(0x00081032, "SQ")) is element
    assert selected({"vr": "SQ"}, key) == {"vr": "SQ"}


_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
_JSON = st.recursive(_LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3))
_VRS = st.sampled_from(["PN", "LO", "SQ", "US", "FD", "AT", "OB", "UI", "??"])


@given(st.dictionaries(st.integers(0x00080000, 0x7FE00010), st.fixed_dictionaries({"vr": _VRS, "Value": _JSON}), max_size=5))
def test_whatever_a_store_says_becomes_a_data_set(elements: dict[int, dict[str, Any]]) -> None:
    for syntax in EVERY:
        assert len(Encoder(syntax, ("ISO_IR 100",)).encode(elements)) % 2 == 0

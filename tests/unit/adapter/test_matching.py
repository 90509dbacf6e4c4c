"""Matching as PS3.4 C.2.2.2 has it, on results as DICOM JSON has them."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_adapter.services.query.identifier import Key
from dicom_adapter.services.query.matching import known, matches


def result(vr: str, *values: Any) -> dict[str, Any]:
    return {"00100010": {"vr": vr, "Value": list(values)}}


def key(vr: str, *values: str) -> Key:
    return Key(0x00100010, vr, values)


NAME = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}


@pytest.mark.parametrize(
    ("vr", "wanted", "value", "expected"),
    [
        ("LO", "ABC", "ABC", True),
        ("LO", "ABC", "abc", False),
        ("LO", "ABC", "ABC ", True),
        ("LO", "A*", "ABC", True),
        ("LO", "A?C", "ABC", True),
        ("LO", "A?C", "AC", False),
        ("LO", "A.C", "ABC", False),
        ("LO", "*B*", "ABC", True),
        ("LO", "A[B]*", "A[B]C", True),
        ("LO", "*A*B*", "xAyBz", True),
        ("LO", "*A*B", "xByA", False),
        ("LO", "A*B*B", "AB", False),
        ("LO", "A*B", "ABAB", True),
        ("LO", "*a" * 60 + "b", "a" * 1000, False),
        ("PN", "yamada*", NAME, True),
        ("PN", "Yamada^Tarou", NAME, True),
        ("PN", "*太郎", NAME, True),
        ("PN", "Yamada^Tarou=山田^太郎*", NAME, True),
        ("PN", "Tarou*", NAME, False),
        ("PN", "Doe^Jane", {"Alphabetic": "Doe^Jane^^Dr."}, False),
        ("PN", "Doe^Jane", {"Alphabetic": "DOE^JANE^^^"}, True),
        ("PN", "Doe^Jane^^", {"Alphabetic": "DOE^JANE"}, True),
        ("PN", "D*^Jane", {"Alphabetic": "DOE^JANE^^^"}, True),
        ("DA", "20260101-20260131", "20260115", True),
        ("DA", "20260101-20260131", "20260131", True),
        ("DA", "20260101-20260131", "20260201", False),
        ("DA", "-20260131", "19991231", True),
        ("DA", "20260101-", "20251231", False),
        ("DA", "20260101-", "", False),
        ("DA", "20260101", "20260101", True),
        ("TM", "0800-0900", "090059.999", True),
        ("TM", "0800-0900", "0759", False),
        ("TM", "080000-090000", "0800", True),
        ("TM", "0815", "081500.000", True),
        ("DT", "20260101-2026", "20261231235959", True),
        ("IS", "7", 7, True),
        ("IS", "07", "7", True),
        ("DS", "1.50", 1.5, True),
        ("DS", "x", 1.5, False),
        ("US", "512", 512, True),
        ("UI", "1.2.3", "1.2.3", True),
        ("UI", "1.2.*", "1.2.3", False),
        ("CS", "CT", None, False),
    ],
)
def test_one_value(vr: str, wanted: str, value: Any, expected: bool) -> None:
    assert matches(key(vr, wanted), result(vr, value)) is expected


def test_any_value_of_the_key_and_any_of_the_attribute_will_do() -> None:
    assert matches(key("CS", "MR", "PT"), result("CS", "CT", "PT"))
    assert not matches(key("CS", "MR"), result("CS", "CT", "PT"))


def test_an_attribute_that_is_missing_or_empty_matches_nothing() -> None:
    assert not matches(key("CS", "CT"), {})
    assert not matches(key("CS", "CT"), {"00100010": {"vr": "CS"}})
    assert not matches(key("CS", "CT"), {"00100010": "odd"})
    assert not matches(key("CS", "CT"), {"00100010": {"vr": "CS", "Value": 1}})
    assert not matches(key("CS", "CT"), {"00100010": {"vr": "CS", "Value": "CT"}})
    assert known(key("CS", "CT"), {"00100010": {"vr": "CS"}})
    assert not known(key("CS", "CT"), {})


def test_a_sequence_matches_by_one_of_its_items_as_a_whole() -> None:
    wanted = Key(0x00400275, "SQ", items=(Key(0x00400009, "SH", ("S1",)), Key(0x00401001, "SH", ("P*",)), Key(0x00400007, "LO")))

    def sequence(*items: Any) -> dict[str, Any]:
        return {"00400275": {"vr": "SQ", "Value": list(items)}}

    def item(step: str, procedure: str) -> dict[str, Any]:
        return {"00400009": {"vr": "SH", "Value": [step]}, "00401001": {"vr": "SH", "Value": [procedure]}}

    assert matches(wanted, sequence(item("S2", "P1"), item("S1", "P2")))
    assert not matches(wanted, sequence(item("S1", "X"), item("S2", "P2")))
    assert not matches(wanted, sequence("odd", None))
    assert not matches(wanted, sequence())

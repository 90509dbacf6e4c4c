"""Routing tables: which destinations an instance goes to, by its sender and by what is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_adapter.config import DICOM_STORE, Config, ConfigErrors
from dicom_adapter.delivery.prefix import Prefix
from dicom_adapter.delivery.routing import Choice, Router
from dicom_adapter.document import load
from dicom_adapter.patterns import Pattern
from tests.unit.adapter.test_prefix import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, SYNTAXES, encoded

REFUSALS = yaml.safe_load(Path(__file__).with_name("test_routing_refusals.yaml").read_text())
DESTINATIONS = [
    {"name": "archive", "dicomStore": "https://archive.example/dicom-web"},
    {"name": "research", "dicomStore": "https://research.example/dicom-web"},
    {"name": "pacs", "aeTitle": "PACS", "host": "pacs.example", "port": 104},
]


def config(*routes: dict[str, Any], **spec: Any) -> Config:
    whole = {
        "aeTitle": "GATE",
        "dicomStore": "https://pacs.example/dicom-web",
        "destinations": DESTINATIONS,
        "routes": list(routes),
        **spec,
    }
    return load(json.dumps(whole), {}, aliases={})


def errors(*routes: dict[str, Any], **spec: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        config(*routes, **spec)
    return [str(error) for error in caught.value.errors]


def by(keyword: str, *values: str) -> dict[str, Any]:
    return {"keyword": keyword, "values": list(values)}


def route(*destinations: str, ae: str = "", **attributes: Any) -> dict[str, Any]:
    """A route; attributes by keyword, hexadecimal tags with `x` before them."""
    match: dict[str, Any] = {"callingAETitle": ae} if ae else {}
    if attributes:
        match["attributes"] = [
            by(name.removeprefix("x"), *([values] if isinstance(values, str) else values)) for name, values in attributes.items()
        ]
    return {"match": match, "destinations": list(destinations)}


def image(**attributes: Any) -> Dataset:
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    found.SOPClassUID, found.SOPInstanceUID = "1.2.3", "1.2.3.4"
    for name, value in attributes.items():
        if name.startswith("x"):
            found.add_new(int(name[1:], 16), "LO", value)
        else:
            setattr(found, name, value)
    return found


def choose(found: Config, data_set: Dataset, calling: str = "CT1", syntax: str = EXPLICIT) -> Choice:
    router = Router(found.routes, found.routing)
    prefix = Prefix(syntax, router.tags)
    data = encoded(data_set, syntax)
    while prefix.feed(data):
        data = b""
    prefix.finish()
    return router.choose(calling, prefix.elements)


CT = image(Modality="CT", PatientName="Doe^Jane", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], Rows=512, SliceThickness="2.5")

# route -> whether it matches CT sent by CT1
MATCHES: list[tuple[dict[str, Any], bool]] = [
    (route("archive"), True),
    (route("archive", ae="CT1"), True),
    (route("archive", ae="ct1"), False),
    (route("archive", ae="CT*"), True),
    (route("archive", ae="CT?"), True),
    (route("archive", ae="CT??"), False),
    (route("archive", ae="?T1"), True),
    (route("archive", ae="MR*"), False),
    (route("archive", Modality="CT"), True),
    (route("archive", Modality="MR"), False),
    (route("archive", Modality=["MR", "CT"]), True),
    (route("archive", Modality="C*"), True),
    (route("archive", Modality="?T"), True),
    (route("archive", Modality="*"), True),
    (route("archive", Modality="C"), False),
    (route("archive", x00080060="CT"), True),
    (route("archive", x00080060="MR"), False),
    (route("archive", x00100010="Doe*"), True),
    (route("archive", ImageType="PRIMARY"), True),
    (route("archive", ImageType="AXI*"), True),
    (route("archive", ImageType="SECONDARY"), False),
    (route("archive", PatientName="Doe^Jane"), True),
    (route("archive", PatientName="doe^jane"), False),
    (route("archive", PatientName="*Jane"), True),
    (route("archive", PatientName="Doe"), False),
    (route("archive", Rows="512"), True),
    (route("archive", Rows="5*"), True),
    (route("archive", Rows="256"), False),
    (route("archive", SliceThickness="2.5"), True),
    (route("archive", StationName="*"), False),  # absent: like nothing
    (route("archive", ae="CT1", Modality="CT"), True),
    (route("archive", ae="MR1", Modality="CT"), False),
    (route("archive", Modality="CT", ImageType="ORIGINAL", Rows="512"), True),
    (route("archive", Modality="CT", ImageType="DERIVED"), False),
]


@pytest.mark.parametrize(("wanted", "matches"), MATCHES, ids=[json.dumps(wanted["match"]) for wanted, _ in MATCHES])
@pytest.mark.parametrize("routing", ["FirstMatch", "AllMatches"])
def test_a_route_matches_by_sender_and_attributes(wanted: dict[str, Any], matches: bool, routing: str) -> None:
    expected = Choice(("archive",), (0,)) if matches else Choice((DICOM_STORE,))
    assert choose(config(wanted, routing=routing), CT) == expected


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_it_is_the_same_in_every_transfer_syntax(syntax: str) -> None:
    found = config(route("archive", Rows="512", ImageType="PRIMARY", PatientName="Doe*"))
    assert choose(found, CT, syntax=syntax).destinations == ("archive",)
    assert {IMPLICIT, BIG_ENDIAN, DEFLATED} < set(SYNTAXES.values())


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("Yamada^Tarou", True),
        ("山田^太郎", True),
        ("やまだ*", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("山田", False),
        ("*=*", True),
        ("Tarou^Yamada", False),
    ],
)
def test_of_a_person_s_name_each_component_group_counts_by_itself(pattern: str, matches: bool) -> None:
    data_set = image(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert (choose(config(route("archive", PatientName=pattern)), data_set).destinations == ("archive",)) is matches


def test_empty_components_at_the_end_of_a_name_do_not_count() -> None:
    assert choose(config(route("archive", PatientName="Doe^Jane")), image(PatientName="Doe^Jane^^^")).destinations == ("archive",)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_private_element_is_named_by_its_tag(syntax: str) -> None:
    data_set = image(x00090010="A VENDOR", x00091001="SCREENING")
    assert choose(config(route("archive", x00091001="SCREEN*")), data_set, syntax=syntax).destinations == ("archive",)
    assert choose(config(route("archive", x00091002="SCREEN*")), data_set, syntax=syntax).destinations == (DICOM_STORE,)


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_attribute_is_like_nothing(value: str | None) -> None:
    assert choose(config(route("archive", StationName="*")), image(StationName=value)).destinations == (DICOM_STORE,)


def test_what_is_in_a_sequence_does_not_count() -> None:
    item = Dataset()
    item.Modality = "CT"
    assert choose(config(route("archive", Modality="CT")), image(ReferencedStudySequence=Sequence([item]))).destinations == (DICOM_STORE,)


TABLE = (
    route("archive", Modality="MG"),
    route("research", "archive", ae="MAMMO*"),
    route("pacs", "dicomStore", Modality=["MG", "US"]),
)


@pytest.mark.parametrize(
    ("modality", "calling", "first", "every"),
    [
        ("MG", "MAMMO1", Choice(("archive",), (0,)), Choice(("archive", "research", "pacs", "dicomStore"), (0, 1, 2))),
        ("MG", "CT1", Choice(("archive",), (0,)), Choice(("archive", "pacs", "dicomStore"), (0, 2))),
        ("CT", "MAMMO2", Choice(("research", "archive"), (1,)), Choice(("research", "archive"), (1,))),
        ("US", "CT1", Choice(("pacs", "dicomStore"), (2,)), Choice(("pacs", "dicomStore"), (2,))),
        ("CT", "CT1", Choice(("dicomStore",)), Choice(("dicomStore",))),
    ],
)
def test_the_first_route_decides_or_all_of_them_do(modality: str, calling: str, first: Choice, every: Choice) -> None:
    assert choose(config(*TABLE), image(Modality=modality), calling) == first
    assert choose(config(*TABLE, routing="AllMatches"), image(Modality=modality), calling) == every


def test_without_attributes_in_the_routes_nothing_is_read() -> None:
    assert not Router(config(route("archive", ae="CT1")).routes).reads
    assert Router(config(*TABLE).routes).reads


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("row", REFUSALS["routes"], ids=[row["says"] for row in REFUSALS["routes"]])
def test_a_route_that_could_never_do_anything_is_refused(row: dict[str, Any]) -> None:
    assert errors(*row["routes"]) == [row["says"]]


def test_routes_that_only_overlap_are_taken() -> None:
    by_modality = (route("archive", Modality="CT"), route("pacs", Modality=["CT", "MR"]))
    assert len(config(*by_modality, route("pacs", ae="CT*"), route("research", ae="C*")).routes) == 4
    assert len(config(route("archive"), route("pacs", Modality="CT"), routing="AllMatches").routes) == 2


@pytest.mark.parametrize("row", REFUSALS["destinations"], ids=[row["says"] for row in REFUSALS["destinations"]])
def test_a_destination_that_is_none_is_refused(row: dict[str, Any]) -> None:
    assert errors(destinations=[*DESTINATIONS, row["destination"]]) == [row["says"]]


# -- patterns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "*", "a*", "*a", "a?c", "*a*b*", "a.c", "[a]*", "a**b", "???", "*?*"])
@pytest.mark.parametrize("value", ["", "a", "abc", "aXb", "a.c", "[a]z", "xaybz", "a\nb", "ab"])
def test_a_pattern_is_a_regular_expression_of_two_signs(text: str, value: str) -> None:
    plain = re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
    assert Pattern(text).matches(value) is (re.fullmatch(plain, value, re.DOTALL) is not None)


def test_no_value_takes_a_pattern_long() -> None:
    """A regular expression that goes back and forth would need years for this."""
    assert not Pattern("*a*a*a*a*a*a*a*a*b").matches("a" * 60_000)

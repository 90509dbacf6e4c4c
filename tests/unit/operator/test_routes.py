"""The operator refuses the routes that its adapters would refuse, in their words: a bad spec makes no pod that cannot start."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from pydicom._dicom_dict import DicomDictionary

from dicom_adapter import attributes
from dicom_adapter.config import ConfigErrors
from dicom_adapter.document import load
from dicom_operator.errors import SpecError
from dicom_operator.spec import elements, patterns
from tests.support.elements import FILE, text
from tests.unit.adapter.test_routing import DESTINATIONS, REFUSALS, route
from tests.unit.operator.builders import adapter


def of_the_operator(*routes: Any, **spec: Any) -> str:
    """What it says of them; empty when it takes them."""
    try:
        adapter(destinations=DESTINATIONS, routes=list(routes), **spec)
    except SpecError as error:
        return f"{error.path}: {error.message}"
    return ""


def of_the_adapter(*routes: Any, **spec: Any) -> list[str]:
    """What it says of them."""
    whole = {"aeTitle": "GATE", "dicomStore": "https://a.example/b", "destinations": DESTINATIONS, "routes": list(routes), **spec}
    try:
        load(json.dumps(whole), {}, aliases={})
    except ConfigErrors as errors:
        return [str(error) for error in errors.errors]
    return []


ROWS = [row for row in REFUSALS["routes"] if not row.get("schema")]


@pytest.mark.parametrize("row", ROWS, ids=[row["says"] for row in ROWS])
def test_what_the_adapter_refuses_is_refused_in_its_words(row: dict[str, Any]) -> None:
    assert of_the_operator(*row["routes"]) == row["says"]


TITLES = ("", "CT1", "CT*", "C?1", "*", "MR1", "SEVENTEEN_LETTERS")
NAMES = ("Modality", "00080060", "StudyDate", "Rows", "PatientName", "00091001", "60000010", "60003000", "00020010", "Xyzzy", "PixelData")
VALUES = ("CT", "C*", "ct", "MR", "*", "20260131", "2026*", "512", "Doe^*", " x", "A\\B", "A" * 70)


def some_routes(chance: random.Random) -> list[dict[str, Any]]:
    found = []
    for _ in range(chance.randint(1, 4)):
        wanted = {
            name: chance.sample(VALUES[: chance.choice((2, 3, 12))], chance.randint(1, 2))
            for name in chance.sample(NAMES[: chance.choice((1, 4, 11))], chance.randint(0, 1))
        }
        match: dict[str, Any] = {"attributes": [{"keyword": name, "values": values} for name, values in wanted.items()]}
        if title := chance.choice(TITLES[: chance.choice((4, 7))]):
            match["callingAETitle"] = title
        found.append({"match": match, "destinations": [chance.choice(("archive", "pacs", "dicomStore"))]})
    return found


def test_both_judge_any_routes_alike() -> None:
    chance = random.Random(7)
    taken = refused = 0
    for _ in range(600):
        routes, routing = some_routes(chance), chance.choice(("FirstMatch", "AllMatches"))
        said, errors = of_the_operator(*routes, routing=routing), of_the_adapter(*routes, routing=routing)
        assert said in errors if said else not errors, (routes, said, errors)
        taken, refused = taken + (not said), refused + bool(said)
    assert min(taken, refused) > 100


def test_the_operator_s_dictionary_is_pydicom_s() -> None:
    assert FILE.read_text("ascii") == text(), "write it anew: python -m tests.support.elements"
    assert elements.keywords() == attributes.keywords()


def test_it_knows_the_vr_of_every_tag() -> None:
    chance = random.Random(7)
    tags = [*DicomDictionary, *(0x50000000 + chance.randrange(0x10000000) for _ in range(2000)), 0x00203103, 0x00280412, 0x60020010]
    for tag in tags:
        found = elements.parse(f"{tag:08x}")
        assert found is not None
        assert (found.tag, found.vr) == (tag, attributes.value_representation(tag)), f"{tag:08x}"
        assert found.keyword == attributes.Attribute(tag, "", "").keyword


def test_routes_that_only_overlap_are_taken() -> None:
    assert not of_the_operator(route("archive", Modality="CT"), route("pacs", Modality=["CT", "MR"]), route("pacs", ae="CT*"))
    assert not of_the_operator(route("archive"), route("pacs", Modality="CT"), routing="AllMatches")


KEYWORDS = sorted(name for name in elements.keywords() if attributes.parse(name).vr == "LO")[:16]


def large(route: int, values: Any) -> dict[str, Any]:
    """A route as large as the resource lets one be."""
    wanted = [{"keyword": name, "values": [values(route, name, number) for number in range(64)]} for name in KEYWORDS]
    return {"match": {"attributes": wanted}, "destinations": ["pacs"]}


@pytest.mark.parametrize(
    "values",
    [
        lambda route, name, number: f"{name[:3]}*{number}",
        lambda route, name, number: f"{name[:3]} {number} {route if name == KEYWORDS[-1] else ''}X",
        lambda route, name, number: f"*Z{number}?{route}" if number < 32 else f"{name[:3]} {number} {route}",
    ],
    ids=["patterns", "texts that differ at the end", "both"],
)
def test_the_largest_routes_cost_a_bounded_number_of_comparisons(values: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One adapter of many: the operator must not stand still for it."""
    compared = 0
    matches = patterns.Pattern.matches

    def counted(pattern: patterns.Pattern, value: str) -> bool:
        nonlocal compared
        compared += 1
        return matches(pattern, value)

    monkeypatch.setattr(patterns.Pattern, "matches", counted)
    of_the_operator(*(large(number, values) for number in range(8)))
    assert compared <= 20_000

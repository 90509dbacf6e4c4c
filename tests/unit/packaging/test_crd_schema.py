"""What holds for every field of the CRDs, whatever it is: described, bounded, and refused with a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CRDS = {found["spec"]["names"]["kind"]: found for found in (yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml"))}


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field with its path; items of lists are `path[]`, values of maps `path{}`."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from fields(schema[key], f"{path}{mark}")


FIELDS = {kind: dict(fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")) for kind, crd in CRDS.items()}
RULES = [
    (kind, path, rule)
    for kind, found in FIELDS.items()
    for path, field in found.items()
    for rule in field.get("x-kubernetes-validations", ())
]


@pytest.fixture(params=sorted(CRDS))
def known(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Every field of a CRD, by its path."""
    return FIELDS[request.param]


@pytest.fixture
def spec(known: dict[str, Any]) -> dict[str, Any]:
    """Those of the spec."""
    return {path: field for path, field in known.items() if path.startswith(".spec.")}


def test_every_field_has_a_description_that_is_a_sentence(known):
    without = [path for path, field in known.items() if not field.get("description", "").endswith(".")]
    without = [path for path in without if path != ".metadata" and not path.endswith("{}")]
    assert without == []


def test_every_default_is_in_its_description(spec):
    for path, field in spec.items():
        default = field.get("default")
        if default is None or isinstance(default, dict | list):
            continue
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert re.search(rf"[Dd]efault {re.escape(shown)}\b|\b{re.escape(shown)} \(default", field["description"]), path


def test_every_string_list_and_map_is_bounded(known):
    for path, field in known.items():
        match field.get("type"):
            case "string":
                assert "maxLength" in field or "enum" in field or field.get("format") == "date-time", path
            case "array":
                assert "maxItems" in field, path
                assert field["x-kubernetes-list-type"] in ("set", "map", "atomic"), path
            case "object" if "additionalProperties" in field:
                assert "maxProperties" in field, path
            case None:
                assert field.get("x-kubernetes-int-or-string"), path


def test_every_number_says_its_width_and_has_a_rule_with_its_bounds(known, spec):
    for path, field in known.items():
        if field.get("type") == "integer":
            assert field["format"] in ("int32", "int64"), path
            if path in spec and not path.endswith(".tolerationSeconds"):
                rules = [rule["rule"] for rule in field["x-kubernetes-validations"]]
                assert any("self >= " in rule for rule in rules), path


def test_bounds_in_a_description_are_those_of_the_rule(spec):
    for path, field in spec.items():
        for rule in field.get("x-kubernetes-validations", ()):
            if found := re.fullmatch(r"self >= (\d+) && self <= (\d+)", rule["rule"]):
                assert f"{found[1]} to {found[2]}" in field["description"], path
                assert f"between {found[1]} and {found[2]}, inclusive" in rule["message"], path


@pytest.mark.parametrize(
    "rule", [rule for *_, rule in RULES], ids=[f"{kind}{path} {number}" for number, (kind, path, _) in enumerate(RULES)]
)
def test_a_message_says_what_must_be_and_what_to_write_instead(rule):
    message = rule["message"]
    must, _, instead = re.split(r"(; |, and |: )", message, maxsplit=1)
    assert re.search(r"\bmust( not)?\b", must), message
    assert instead, message
    assert not message.endswith("."), message
    assert "\n" not in message, message


def test_unknown_fields_are_kept_only_where_kubernetes_knows_them(known):
    kept = {path for path, field in known.items() if field.get("x-kubernetes-preserve-unknown-fields")}
    parts = {f".spec.affinity.{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")}
    assert kept == parts | {".spec.topologySpreadConstraints[].labelSelector"}


SHOWN = {
    "DicomAdapter": (
        ["AE Title", "Ready", "Reason", "Store", "Address", "Replicas", "Age"],
        ["Waiting", "DICOM Store", "Message", "Store Message"],
        ["dcm"],
    ),
    "DicomExport": (
        ["Destination", "Ready", "Reason", "Peer", "Exported", "Waiting", "Age"],
        ["Source", "Replicas", "Message", "Peer Message"],
        ["dex"],
    ),
}


@pytest.mark.parametrize("kind", sorted(CRDS))
def test_what_a_user_sees_and_what_only_who_asks_for_more(kind):
    columns = CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
    always, wide = ([column["name"] for column in columns if bool(column.get("priority")) == more] for more in (False, True))
    names = CRDS[kind]["spec"]["names"]
    assert (always, wide, names["shortNames"]) == SHOWN[kind]
    assert names["categories"] == ["dicom"]


@pytest.mark.parametrize(("kind", "example"), [("DicomAdapter", "every-field.yaml"), ("DicomExport", "every-field-export.yaml")])
def test_one_example_shows_every_field(kind, example):
    shown = (ROOT / "examples" / example).read_text()
    names = {path.rpartition(".")[2].rstrip("[]{}") for path in FIELDS[kind] if path.startswith(".spec.")}
    assert {name for name in names if not re.search(rf"\b{name}:", shown)} == set()


def test_examples_use_only_fields_that_exist():
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        for resource in yaml.safe_load_all(example.read_text()):
            if resource["kind"] in CRDS:
                assert unknown(resource["spec"], FIELDS[resource["kind"]][".spec"]) == [], example.name


def unknown(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """Paths in `value` that the schema does not know."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if isinstance(value, list):
        return [found for item in value for found in unknown(item, schema["items"], f"{path}[]")]
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return []
    known = schema.get("properties", {})
    return [
        found
        for name, item in value.items()
        for found in (unknown(item, known[name], f"{path}.{name}") if name in known else [f"{path}.{name}"])
    ]

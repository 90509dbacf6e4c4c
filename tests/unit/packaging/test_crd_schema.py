"""What holds for every field of the CRD, whatever it is: described, bounded, and refused with a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CRD = yaml.safe_load((ROOT / "crds" / "dicomadapters.dicomadapter.io.yaml").read_text())
VERSION = CRD["spec"]["versions"][0]


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field with its path; items of lists are `path[]`, values of maps `path{}`."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from fields(schema[key], f"{path}{mark}")


FIELDS = dict(fields(VERSION["schema"]["openAPIV3Schema"], ""))
SPEC = {path: field for path, field in FIELDS.items() if path.startswith(".spec.")}
RULES = [(path, rule) for path, field in FIELDS.items() for rule in field.get("x-kubernetes-validations", ())]


def test_every_field_has_a_description_that_is_a_sentence():
    without = [path for path, field in FIELDS.items() if not field.get("description", "").endswith(".")]
    without = [path for path in without if path != ".metadata" and not path.endswith("{}")]
    assert without == []


def test_every_default_is_in_its_description():
    for path, field in SPEC.items():
        default = field.get("default")
        if default is None or isinstance(default, dict | list):
            continue
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert re.search(rf"[Dd]efault {re.escape(shown)}\b|\b{re.escape(shown)} \(default", field["description"]), path


def test_every_string_list_and_map_is_bounded():
    for path, field in FIELDS.items():
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


def test_every_number_says_its_width_and_has_a_rule_with_its_bounds():
    for path, field in FIELDS.items():
        if field.get("type") == "integer":
            assert field["format"] in ("int32", "int64"), path
            if path in SPEC and not path.endswith(".tolerationSeconds"):
                rules = [rule["rule"] for rule in field["x-kubernetes-validations"]]
                assert any("self >= " in rule for rule in rules), path


def test_bounds_in_a_description_are_those_of_the_rule():
    for path, field in SPEC.items():
        for rule in field.get("x-kubernetes-validations", ()):
            if found := re.fullmatch(r"self >= (\d+) && self <= (\d+)", rule["rule"]):
                assert f"{found[1]} to {found[2]}" in field["description"], path
                assert f"between {found[1]} and {found[2]}, inclusive" in rule["message"], path


@pytest.mark.parametrize(("path", "rule"), RULES, ids=[f"{path} {number}" for number, (path, _) in enumerate(RULES)])
def test_a_message_says_what_must_be_and_what_to_write_instead(path, rule):
    message = rule["message"]
    must, _, instead = re.split(r"(; |, and |: )", message, maxsplit=1)
    assert re.search(r"\bmust( not)?\b", must), message
    assert instead, message
    assert not message.endswith("."), message
    assert "\n" not in message, message


def test_unknown_fields_are_kept_only_where_kubernetes_knows_them():
    kept = {path for path, field in FIELDS.items() if field.get("x-kubernetes-preserve-unknown-fields")}
    parts = {f".spec.affinity.{kind}" for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")}
    assert kept == parts | {".spec.topologySpreadConstraints[].labelSelector"}


def test_what_a_user_sees_without_asking_for_more():
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")]
    assert columns == ["AE Title", "Ready", "Reason", "Store", "Address", "Replicas", "Age"]
    assert [column["name"] for column in VERSION["additionalPrinterColumns"] if column.get("priority")] == [
        "Waiting",
        "DICOM Store",
        "Message",
        "Store Message",
    ]
    assert CRD["spec"]["names"]["shortNames"] == ["dcm"]
    assert CRD["spec"]["names"]["categories"] == ["dicom"]


def test_one_example_shows_every_field():
    shown = (ROOT / "examples" / "every-field.yaml").read_text()
    names = {path.rpartition(".")[2].rstrip("[]{}") for path in SPEC}
    assert {name for name in names if not re.search(rf"\b{name}:", shown)} == set()


def test_examples_use_only_fields_that_exist():
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        for resource in yaml.safe_load_all(example.read_text()):
            if resource["kind"] == "DicomAdapter":
                assert unknown(resource["spec"], FIELDS[".spec"]) == [], example.name


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

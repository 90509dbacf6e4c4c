"""Every field of the CRD: taken away, emptied, set to its bounds and past them, to another kind, to nonsense (in the manner of Acto)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import yaml

ROOT = File(__file__).resolve().parents[3]
ABSENT = object()
Path = tuple[str | int, ...]
Json = dict[str, Any]
LONG = 64 * 1024
INT32, INT64 = 2**31, 2**63


@dataclass(frozen=True, slots=True)
class Mutation:
    """One field with another value."""

    path: Path
    how: str
    value: Any
    invalid: bool = False
    """Whether the schema alone forbids it."""

    def __str__(self) -> str:
        return f"{'.'.join(str(part) for part in self.path)} {self.how}"

    def applied(self, spec: Json) -> Json:
        """A copy of the spec, changed."""
        changed = copy.deepcopy(spec)
        where: Any = changed
        for part in self.path[:-1]:
            where = where[part]
        if self.value is ABSENT:
            del where[self.path[-1]]
        else:
            where[self.path[-1]] = self.value
        return changed


def schema() -> Json:
    """Of the spec of a DicomAdapter."""
    crd = yaml.safe_load((ROOT / "crds/dicomadapters.dicomadapter.io.yaml").read_text())
    return dict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


def base() -> Json:
    """A spec with every field, without pods to wait for, and with an image that the operator of the tests allows."""
    spec = yaml.safe_load((ROOT / "examples/every-field.yaml").read_text())["spec"]
    resources = {"requests": {"cpu": "200m", "memory": "300Mi"}, "limits": {"memory": "2Gi"}}
    instead = {"resources": resources, "services": ["Verification", "Storage"]}  # those of the example are the defaults
    return {**spec, **instead, "replicas": 0, "image": "localhost/dicom-adapter:other"}


def mutations() -> list[Mutation]:
    """All of them, in the order of the CRD."""
    return list(_walk(schema(), base(), ()))


def _walk(node: Json, value: Any, path: Path) -> Iterator[Mutation]:
    if path:
        yield from _of_any(node, value, path)
    kind = node.get("type")
    match kind:
        case "object":
            for name, inner in node.get("properties", {}).items():
                if name in value:
                    yield from _walk(inner, value[name], (*path, name))
            if path and not node.get("x-kubernetes-preserve-unknown-fields"):
                yield from _of_object(node, value, path)
        case "array":
            yield from _of_array(node, value, path)
            if value:
                yield from _walk(node["items"], value[0], (*path, 0))
        case "string":
            yield from _of_string(node, value, path)
        case "integer":
            yield from _of_integer(node, value, path)
        case "boolean":
            yield Mutation(path, "flipped", not value)


def _of_any(node: Json, value: Any, path: Path) -> Iterator[Mutation]:
    yield Mutation(path, "absent", ABSENT)
    yield Mutation(path, "null", None)
    if not node.get("x-kubernetes-int-or-string"):
        for other in ("text", 7, True, ["list"], {"object": "x"}):
            if type(other) is not type(value):
                yield Mutation(path, f"as {type(other).__name__}", other, invalid=True)


def _of_object(node: Json, value: Json, path: Path) -> Iterator[Mutation]:
    yield Mutation(path, "empty", {})
    inner = node.get("additionalProperties")
    if inner:
        yield Mutation(path, "one more", {**value, "example.com/more": "more"})
        yield Mutation(path, "a bad name", {**value, "bad name/": "more"})
        if limit := node.get("maxProperties"):
            yield Mutation(path, "too many", {f"example.com/n{i}": "v" for i in range(limit + 1)}, invalid=True)
    elif "properties" in node:
        yield Mutation(path, "an unknown field", {**value, "unknownField": 1}, invalid=True)


def _of_array(node: Json, value: list[Any], path: Path) -> Iterator[Mutation]:
    yield Mutation(path, "empty", [])
    if value:
        yield Mutation(path, "the same twice", [value[0], value[0]], invalid=node.get("x-kubernetes-list-type") in ("set", "map"))
        yield Mutation(path, "only the first", value[:1])
        if limit := node.get("maxItems"):
            yield Mutation(path, "too many", [value[0]] * (limit + 1), invalid=True)


def _of_string(node: Json, value: str, path: Path) -> Iterator[Mutation]:
    if "enum" in node:
        for other in node["enum"]:
            if other != value:
                yield Mutation(path, f"{other!r}", other)
        yield Mutation(path, "not in the list", "Nonsense", invalid=True)
        return
    yield Mutation(path, "empty", "")
    yield Mutation(path, "another", f"{value}x")
    yield Mutation(path, "upper case", value.upper())
    yield Mutation(path, "with a space at its end", f"{value} ")
    yield Mutation(path, "not ASCII", "ü漢字\u202e\U0001f600")
    yield Mutation(path, "with a line break", "a\nb")
    yield Mutation(path, "64 KiB", "x" * LONG, invalid=node.get("maxLength", LONG) < LONG)
    if limit := node.get("maxLength"):
        yield Mutation(path, "as long as may be", "x" * limit)
        yield Mutation(path, "one too long", "x" * (limit + 1), invalid=True)


def _of_integer(node: Json, value: int, path: Path) -> Iterator[Mutation]:
    top = INT32 if node.get("format") == "int32" else INT64
    for other in sorted({-1, 0, 1, value - 1, value + 1, 65535, 65536, INT32 - 1} - {value}):
        yield Mutation(path, f"{other}", other)
    yield Mutation(path, "past its format", top, invalid=True)
    yield Mutation(path, "a fraction", value + 0.5, invalid=True)
    for bound, past in (("minimum", -1), ("maximum", 1)):
        if bound in node:
            yield Mutation(path, f"its {bound}", node[bound])
            yield Mutation(path, f"past its {bound}", node[bound] + past, invalid=True)

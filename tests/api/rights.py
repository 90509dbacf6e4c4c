"""Rights: which ones the chart grants, and which ones the API server's audit log says were used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
INVISIBLE = {f"update {plural}/finalizers.dicomadapter.io" for plural in ("dicomadapters", "dicomexports")}
"""Rights that no request of ours shows: an admission plug-in asks for these when an owner reference blocks deletion."""


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource, in one namespace or (namespace "") in all."""

    verb: str
    resource: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def rendered(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    """What the chart makes."""
    command = [sys.executable, "-m", "cluster", "helm", "template", "dicom-operator", "charts/dicom-operator", f"--namespace={namespace}"]
    text = subprocess.run([*command, "--no-hooks", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def granted(documents: Iterable[dict[str, Any]]) -> set[Right]:
    """What the roles bound to the operator's ServiceAccount let it do; a wildcard is a failure."""
    documents = list(documents)
    roles = {(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]): body for body in documents if "rules" in body}
    found: set[Right] = set()
    for binding in documents:
        if binding["kind"] not in ("ClusterRoleBinding", "RoleBinding"):
            continue
        namespace = binding["metadata"].get("namespace", "")
        role = roles[binding["roleRef"]["kind"], namespace, binding["roleRef"]["name"]]
        for rule in role["rules"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    assert "*" not in (verb, resource, *rule["apiGroups"])
                    found |= {Right(verb, _name(resource, group), namespace) for group in rule["apiGroups"]}
    return found


def used(events: Iterable[dict[str, Any]]) -> set[Right]:
    """What the requests in an audit log needed. A patch that made the object needed the right to create it as well."""
    found = set()
    for event in events:
        reference = event.get("objectRef")
        if event["stage"] not in ("ResponseComplete", "ResponseStarted") or not reference or "resource" not in reference:
            continue
        resource = "/".join(filter(None, [reference["resource"], reference.get("subresource")]))
        name, namespace = _name(resource, reference.get("apiGroup", "")), reference.get("namespace", "")
        found.add(Right(event["verb"], name, namespace))
        if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
            found.add(Right("create", name, namespace))
    return found


def covers(rights: Iterable[Right], right: Right) -> bool:
    """Whether one of them allows it."""
    return any((one.verb, one.resource) == (right.verb, right.resource) and one.namespace in ("", right.namespace) for one in rights)


def _name(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource

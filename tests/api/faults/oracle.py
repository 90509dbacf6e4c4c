"""What must be true when all is quiet: the children are the render of the spec, as a fresh adapter's are, and nothing else is ours."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from dicom_operator.api import BY_KIND, OWNED
from dicom_operator.config import Config
from dicom_operator.difference import difference
from dicom_operator.model.adapter import parse
from dicom_operator.render.adapter import desired
from tests.api.proxy import Request
from tests.api.support import IMAGE, Namespace
from tests.support.kubernetes import condition, wait_until

CONFIG = Config(adapter_image=IMAGE, allowed_images=("localhost/",), operator_namespace="dicom-system")
VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink")
OF_THE_CLUSTER = ("clusterIP", "clusterIPs", "healthCheckNodePort")
HASHES = ("dicomadapter.io/applied-hash", "dicomadapter.io/config-hash", "deployment.kubernetes.io/revision")
"""Hashes take in the namespace and the uid of the adapter, which differ from run to run."""
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

Name = tuple[str, str]
"""Plural and name."""


def children(namespace: Namespace, name: str) -> dict[Name, dict[str, Any]]:
    """The objects that an adapter of this name controls, or controlled."""
    found = {}
    for resource in OWNED:
        for item in namespace.all(resource.plural):
            item |= {"apiVersion": resource.api_version, "kind": resource.kind}  # a listing leaves them out
            if any(owner["kind"] == "DicomAdapter" and owner["name"] == name for owner in item["metadata"].get("ownerReferences", ())):
                found[resource.plural, item["metadata"]["name"]] = item
    return found


def canonical(found: dict[Name, dict[str, Any]], namespace: str, name: str) -> dict[Name, Any]:
    """Without what two adapters of the same spec have not in common; with the fields that are ours by `managedFields`."""
    result = {}
    for (plural, child), body in found.items():
        metadata = {key: value for key, value in body["metadata"].items() if key not in (*VOLATILE, "managedFields")}
        ours = [one["fieldsV1"] for one in body["metadata"]["managedFields"] if one["manager"] == "dicom-operator"]
        kept = {key: value for key, value in body.items() if key not in ("metadata", "status")} | {"metadata": metadata, "ours": ours}
        text = UID.sub("UID", json.dumps(kept, sort_keys=True)).replace(namespace, "NAMESPACE").replace(name, "NAME")
        document = json.loads(text)
        for where in _annotated(document):
            for key in HASHES:
                where.pop(key, None)
        spec = document.get("spec", {})
        for key in OF_THE_CLUSTER:
            spec.pop(key, None)
        for port in spec.get("ports", ()) if plural == "services" else ():
            port.pop("nodePort", None)
        result[plural, child.replace(name, "NAME")] = document
    return result


def _annotated(document: dict[str, Any]) -> Iterable[dict[str, Any]]:
    template = document.get("spec", {}).get("template", {})
    for metadata in (document["metadata"], template.get("metadata", {})):
        yield metadata.get("annotations", {})


def wrong(namespace: Namespace, name: str = "ct-east", *, rolled: bool = True) -> str:
    """What is not yet as the spec says, or an empty string; `rolled`: the Deployment controller has done its part too."""
    body = namespace.get("dicomadapters", name)
    found = children(namespace, name)
    if body is None:
        return f"left over: {sorted(found)}" if found else ""
    service = found.get(("services", name), {})
    wanted = desired(parse(body), CONFIG, service.get("spec", {}).get("ipFamilies") or ())
    names = {(BY_KIND[child["kind"]].plural, child["metadata"]["name"]): child for child in wanted}
    if names.keys() != found.keys():
        return f"missing {sorted(names.keys() - found.keys())}, too many {sorted(found.keys() - names.keys())}"
    for key, child in names.items():
        if found[key]["metadata"]["ownerReferences"][0]["uid"] != body["metadata"]["uid"]:
            return f"{key} is of another adapter"
        if path := difference(child, found[key]):
            return f"{key} differs in {path}"
    deployment = found["deployments", name]
    if rolled and deployment["status"].get("observedGeneration") != deployment["metadata"]["generation"]:
        return "its controller has not seen the Deployment"
    if rolled and deployment["status"].get("updatedReplicas", 0) != deployment["spec"]["replicas"]:
        return "the Deployment has not yet made its pods"
    if rolled and any(body.get("status", {}).get(name, 0) != deployment["status"].get(name, 0) for name in ("replicas", "readyReplicas")):
        return "the status of the adapter is behind that of its Deployment"
    applied = condition(body, "Applied")
    if (applied.get("status"), applied.get("observedGeneration")) != ("True", body["metadata"]["generation"]):
        return f"Applied is {applied}"
    return ""


def wait_right(namespace: Namespace, name: str = "ct-east", *, seconds: float = 90) -> None:
    """Waits until everything is as the spec says."""
    last = ""

    def right() -> bool:
        nonlocal last
        last = wrong(namespace, name)
        return not last

    try:
        wait_until("as the spec says", right, seconds=seconds, every=0.03)
    except AssertionError:
        raise AssertionError(f"not within {seconds} s as the spec says: {last}") from None


def made(requests: Iterable[Request]) -> tuple[Counter[tuple[str, ...]], Counter[tuple[str, ...]]]:
    """How often each object was created, and deleted, by these requests."""
    created: Counter[tuple[str, ...]] = Counter()
    deleted: Counter[tuple[str, ...]] = Counter()
    for one in requests:
        if one.status == 201:
            created[one.target] += 1
        elif one.method == "DELETE" and one.status == 200:
            deleted[one.target] += 1
    return created, deleted

"""A new operator over what the release before it has made: it takes everything over, and makes nothing anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.api.support import OWNED, Api, Namespace, OperatorProcess
from tests.support.kubernetes import wait_until

PREVIOUS = Path(__file__).with_name("previous") / "children.yaml"
PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Service": "services",
    "NetworkPolicy": "networkpolicies",
}


def apply_previous(namespace: Namespace, uid: str) -> None:
    """The objects as the earlier operator applied them, for a DicomAdapter of this uid."""
    for child in yaml.safe_load_all(PREVIOUS.read_text()):
        metadata = child["metadata"]
        metadata["namespace"], metadata["ownerReferences"][0]["uid"] = namespace.name, uid
        path = namespace.path(PLURALS[child["kind"]], metadata["name"])
        namespace.api.request("PATCH", f"{path}?fieldManager=dicom-operator&force=true", child, "application/apply-patch+yaml")


def children(namespace: Namespace) -> dict[tuple[str, str], Any]:
    selector = "app.kubernetes.io/instance=ct-east,app.kubernetes.io/managed-by=dicom-operator"
    return {(plural, item["metadata"]["name"]): item for plural in OWNED for item in namespace.all(plural, selector)}


def test_what_an_earlier_release_made_is_taken_over(api: Api, namespace: Namespace):
    spec: dict[str, Any] = {"aeTitle": "GATE", "dicomStore": "https://pacs.hospital.example/dicom-web", "port": 11112}
    adapter = namespace.adapter(**spec)
    apply_previous(namespace, adapter["metadata"]["uid"])
    before = children(namespace)
    assert len(before) == 6
    (old_pod,) = namespace.pods()
    namespace.pod_ready(old_pod)
    namespace.address()
    with OperatorProcess(api.server.environment) as operator:
        operator.wait_ready()
        wait_until(
            "served", lambda: namespace.status().get("observedGeneration") == 1 and namespace.condition("Applied")["status"] == "True"
        )
        after = children(namespace)
        assert {name: item["metadata"]["uid"] for name, item in after.items()} == {
            name: item["metadata"]["uid"] for name, item in before.items()
        }
        services = [name for name in before if name[0] == "services"]
        for field in ("clusterIP", "ports", "selector", "type"):
            assert [after[name]["spec"][field] for name in services] == [before[name]["spec"][field] for name in services]
        # The pods may roll; until the new one is ready the old one serves.
        deployment = namespace.get("deployments", "ct-east")
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert old_pod["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in namespace.all("pods")}
        wait_until("its pod is there", lambda: rolled(namespace))
        for pod in namespace.all("pods"):
            namespace.pod_ready(pod)
        namespace.wait_condition("Ready", "Available")
        # Nothing of the earlier release is left in them: each field is applied anew, by the same manager.
        fresh = namespace.adapter("fresh", **spec)
        namespace.wait_for("networkpolicies", "fresh")
        one, other = (plain(namespace.get("deployments", name), name) for name in ("ct-east", "fresh"))
        assert one == other, fresh
        assert namespace.events("ChildRestored") == []
        assert namespace.events("NameConflict") == []


def rolled(namespace: Namespace) -> bool:
    """Whether the Deployment controller has made the pods of the newest template."""
    found = namespace.get("deployments", "ct-east")
    status = found["status"]
    return bool(status.get("observedGeneration") == found["metadata"]["generation"] and status.get("updatedReplicas") == 1)


def plain(deployment: dict[str, Any], name: str) -> Any:
    """The spec, whatever the adapter is called."""
    spec = {**deployment["spec"]}
    spec["template"]["metadata"]["annotations"].pop("dicomadapter.io/config-hash")
    return json.loads(json.dumps(spec).replace(name, "NAME"))

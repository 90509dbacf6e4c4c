"""The rights that the chart grants are those that the operator uses: none is missing, none is more."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import yaml

from tests.api.rights import INVISIBLE, Right, covers, granted, rendered, used
from tests.api.support import OWNED, PATHS, Api, Namespace, OperatorProcess
from tests.support.kubernetes import wait_until

LEASE = {f"{verb} leases.coordination.k8s.io" for verb in ("get", "create", "update", "watch")}
"""What two replicas do with their Lease: the standby's part comes some time after it is ready."""

KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
WORKLOAD: dict[str, Any] = {
    "replicas": 0,
    "selector": {"matchLabels": {"app": "old"}},
    "template": {"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
}
SPOOL: dict[str, Any] = {"delivery": {"acknowledge": "AfterSpool"}, "spool": {"persistent": {"size": "1Gi"}}}
BODIES: dict[str, dict[str, Any]] = {
    "serviceaccounts": {"apiVersion": "v1", "kind": "ServiceAccount"},
    "configmaps": {"apiVersion": "v1", "kind": "ConfigMap"},
    "services": {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}},
    "networkpolicies": {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}},
    "poddisruptionbudgets": {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"maxUnavailable": 1}},
    "deployments": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": WORKLOAD},
    "statefulsets": {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {**WORKLOAD, "serviceName": "old"}},
}


def install(api: Api, namespace: Namespace, *arguments: str) -> list[dict[str, Any]]:
    """The chart's ServiceAccount and roles."""
    documents = [document for document in rendered(namespace.name, *arguments) if document["kind"] in KINDS]
    api.server.kubectl("apply", "--filename=-", input=yaml.safe_dump_all(documents))
    return documents


def environment(api: Api, namespace: Namespace) -> dict[str, str]:
    return {**api.server.environment, "KUBECONFIG": str(api.server.kubeconfig_for("dicom-operator", namespace.name))}


def leave_claim(namespace: Namespace) -> None:
    """The volume of an earlier adapter of the name, with images on it."""
    labels = {
        "app.kubernetes.io/managed-by": "dicom-operator",
        "app.kubernetes.io/name": "dicom-adapter",
        "app.kubernetes.io/instance": "ct-east",
        "dicomadapter.io/spool-kept": "true",
    }
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "spool-ct-east-0", "labels": labels}, "spec": spec}
    namespace.create("persistentvolumeclaims", body)


def leave_behind(namespace: Namespace, owner: dict[str, Any]) -> None:
    """Objects as an earlier release of the operator may have made them under other names."""
    for plural, body in BODIES.items():
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **{key: owner["metadata"][key] for key in ("name", "uid")}}
        labels = {
            "app.kubernetes.io/managed-by": "dicom-operator",
            "app.kubernetes.io/name": "dicom-adapter",
            "app.kubernetes.io/instance": "ct-east",
        }
        metadata = {"name": "of-an-earlier-release", "labels": labels, "ownerReferences": [{**reference, "controller": True}]}
        namespace.create(plural, {**body, "metadata": metadata})


def work(namespace: Namespace) -> None:
    """Everything that the operator ever does."""
    adapter = namespace.adapter(replicas=2)
    waits = "Service 'ct-east' has no address yet"
    wait_until("the address is waited for", lambda: namespace.condition("AddressAssigned").get("message", "").startswith(waits))
    namespace.serve(count=2)
    namespace.change(replicas=1)
    leave_behind(namespace, adapter)
    for plural in OWNED:
        wait_until(f"{plural} pruned", lambda plural=plural: namespace.get(plural, "of-an-earlier-release") is None, every=0.02)  # type: ignore[misc]
    for count in (1, 2):  # restored, with an event, which is counted
        uid = namespace.get("services", "ct-east")["metadata"]["uid"]
        namespace.delete("services", "ct-east")
        namespace.wait_for("services", "ct-east", not_uid=uid)
        wait_until("told", lambda count=count: [item["count"] for item in namespace.events("ChildRestored")] == [count])  # type: ignore[misc]
    namespace.export()
    wait_until("the exporter is seen", lambda: (namespace.get("dicomexports", "to-pacs").get("status") or {}).get("conditions"))
    leave_claim(namespace)
    namespace.change(**SPOOL)
    claims = "persistentvolumeclaims"
    wait_until("the claim is taken over", lambda: "dicomadapter.io/spool-kept" not in json.dumps(namespace.all(claims)))


@pytest.mark.parametrize("everywhere", [True, False], ids=["every namespace", "one namespace"])
def test_the_operator_uses_every_right_that_the_chart_grants_and_needs_no_other(api: Api, namespace: Namespace, everywhere: bool):
    only = () if everywhere else (f"--set=watchNamespaces={{{namespace.name}}}",)
    rights = granted(install(api, namespace, "--set=replicas=2", *only))
    flags: tuple[str, ...] = (f"--operator-namespace={namespace.name}", "--lease=dicom-operator", "--relist-seconds=2", "--probe-seconds=1")
    flags += () if everywhere else (f"--namespace={namespace.name}",)
    user = f"system:serviceaccount:{namespace.name}:dicom-operator"

    def requests() -> list[Any]:
        return [event for event in api.server.audited() if event["user"].get("username") == user]

    with contextlib.ExitStack() as stack:
        operator, standby = (stack.enter_context(OperatorProcess(environment(api, namespace), flags)) for _ in range(2))
        operator.wait_ready()
        standby.wait_ready()
        work(namespace)
        wait_until("the Lease renewed and followed", lambda: {str(right) for right in used(requests())} >= LEASE)
        wait_until("one leads", lambda: operator.metric("dicom_operator_leader") + standby.metric("dicom_operator_leader") == 1)
        assert [one.metric("dicom_operator_api_requests_total", code="403") for one in (operator, standby)] == [0, 0]
    events = requests()
    needed = used(events)
    assert [event["requestURI"] for event in events if event.get("responseStatus", {}).get("code") == 403] == []
    assert [right for right in needed if not covers(rights, right)] == []
    assert {str(right) for right in rights} - {str(right) for right in needed} == INVISIBLE
    if everywhere:
        leases = {right.namespace for right in rights if right.resource.startswith("leases")}
        assert leases == {namespace.name}
    else:
        assert {right.namespace for right in rights} == {namespace.name}
        assert {right.namespace for right in needed} == {namespace.name}  # no request about another namespace, or about all


def test_without_the_right_on_finalizers_an_owner_reference_is_refused(api: Api, namespace: Namespace):
    documents = install(api, namespace, f"--set=watchNamespaces={{{namespace.name}}}")
    (role,) = (document for document in documents if document["kind"] == "Role")
    role["rules"] = [rule for rule in role["rules"] if "dicomadapters/finalizers" not in rule["resources"]]
    api.server.kubectl("apply", "--filename=-", input=yaml.safe_dump(role))
    with OperatorProcess(environment(api, namespace), (f"--namespace={namespace.name}",)) as operator:
        operator.wait_ready()
        namespace.adapter()
        message = namespace.wait_condition("Ready", "Rejected")["message"]
    assert "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on" in message


def test_rights_are_read_from_requests_as_they_are_counted():
    event = {"stage": "ResponseComplete", "verb": "patch", "objectRef": {"resource": "services", "namespace": "rad"}}
    assert used([{**event, "responseStatus": {"code": 200}}]) == {Right("patch", "services", "rad")}
    assert used([{**event, "responseStatus": {"code": 201}}]) == {Right("patch", "services", "rad"), Right("create", "services", "rad")}
    assert covers([Right("get", "services", "")], Right("get", "services", "rad"))
    assert not covers([Right("get", "services", "rad")], Right("get", "services", ""))
    assert set(BODIES) == set(OWNED) <= set(PATHS)

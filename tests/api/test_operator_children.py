"""What an adapter becomes, how it changes, and that nobody else's objects are touched."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.support import ADAPTERS, IMAGE, OWNED, Api, Namespace, OperatorProcess
from tests.support.kubernetes import condition, wait_until

pytestmark = pytest.mark.usefixtures("operator")
TEMPLATE = ("spec", "template")
DICOM_PORT = {"name": "dicom", "port": 2575, "targetPort": "dicom", "protocol": "TCP"}


def children(namespace: Namespace) -> set[tuple[str, str]]:
    return {child for child, _ in owners(namespace)}


def owners(namespace: Namespace) -> set[tuple[tuple[str, str], str]]:
    """The children, each with the uid of its owner."""
    selector = "app.kubernetes.io/instance=ct-east,app.kubernetes.io/managed-by=dicom-operator"
    found = ((plural, item["metadata"]) for plural in OWNED for item in namespace.all(plural, selector))
    return {((plural, metadata["name"]), metadata["ownerReferences"][0]["uid"]) for plural, metadata in found}


ALL = {
    ("serviceaccounts", "ct-east"),
    ("configmaps", "ct-east"),
    ("deployments", "ct-east"),
    ("services", "ct-east"),
    ("services", "ct-east-http"),
    ("networkpolicies", "ct-east"),
}


def test_an_adapter_gets_its_children_and_all_conditions_on_the_first_visit(namespace: Namespace):
    created = namespace.adapter()
    namespace.wait_condition("Ready", "RollingOut")
    assert children(namespace) == ALL
    owner = {
        "apiVersion": "dicomadapter.io/v1alpha1",
        "kind": "DicomAdapter",
        "name": "ct-east",
        "uid": created["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    for plural, name in ALL:
        assert namespace.get(plural, name)["metadata"]["ownerReferences"] == [owner]
    status = namespace.status()
    assert {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]} == {
        "Ready": ("False", "RollingOut"),
        "Applied": ("True", "Applied"),
        "WorkloadAvailable": ("False", "RollingOut"),
        "AddressAssigned": ("False", "Pending"),
        "Reconciling": ("True", "Progressing"),
    }
    assert all(item["observedGeneration"] == 1 for item in status["conditions"])
    assert status["observedGeneration"] == 1
    assert status["replicasSummary"] == "0/1"
    assert status["operatorVersion"] == "0.1.0"
    assert status["adapterImage"] == IMAGE


def test_it_is_ready_when_pods_run_and_the_service_has_an_internal_address(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    status = namespace.status()
    assert status["address"] == "10.10.0.100"
    assert status["port"] == 2575
    assert status["endpoint"] == "IMPORTADAPTER@10.10.0.100:2575"
    assert status["replicasSummary"] == "1/1"
    assert {item["type"] for item in status["conditions"]} == {"Ready", "Applied", "WorkloadAvailable", "AddressAssigned"}
    assert namespace.condition("Ready")["message"] == "images can be sent to IMPORTADAPTER@10.10.0.100:2575"
    wait_until("event", lambda: namespace.events("AdapterReady"))


def test_nothing_has_a_finalizer_or_an_annotation_that_is_not_ours(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    for plural, name in [*ALL, ("dicomadapters", "ct-east")]:
        metadata = namespace.get(plural, name)["metadata"]
        assert "finalizers" not in metadata
        foreign = {key for key in metadata.get("annotations", {}) if "kopf" in key or "zalando" in key}
        assert not foreign


@pytest.mark.parametrize(
    ("plural", "body"),
    [
        ("services", {"kind": "Service", "apiVersion": "v1", "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}}}),
        (
            "deployments",
            {
                "kind": "Deployment",
                "apiVersion": "apps/v1",
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": {"app": "theirs"}},
                    "template": {
                        "metadata": {"labels": {"app": "theirs"}},
                        "spec": {"containers": [{"name": "nginx", "image": "nginx"}]},
                    },
                },
            },
        ),
    ],
)
def test_a_foreign_object_of_the_same_name_is_not_touched(namespace: Namespace, plural, body):
    before = namespace.create(plural, {**body, "metadata": {"name": "ct-east"}})
    namespace.adapter()
    ready = namespace.wait_condition("Ready", "NameConflict")
    kind = body["kind"]
    sentence = f"{kind} '{'ct-east'}' exists and is not controlled by this DicomAdapter; rename the DicomAdapter or delete the {kind}"
    assert ready["message"] == sentence
    assert namespace.condition("Stalled")["reason"] == "NameConflict"
    after = namespace.get(plural, "ct-east")
    assert after["spec"] == before["spec"]
    assert not any("dicom" in entry["manager"] for entry in after["metadata"]["managedFields"])
    assert children(namespace) == set()  # nothing half-made beside it
    wait_until("event", lambda: [item["message"] for item in namespace.events("NameConflict")] == [sentence])


@pytest.mark.parametrize(("plural", "name"), sorted(ALL))
def test_a_deleted_child_comes_back(namespace: Namespace, operator: OperatorProcess, plural, name):
    namespace.adapter()
    namespace.serve()
    uid = namespace.get(plural, name)["metadata"]["uid"]
    namespace.delete(plural, name)
    started = time.monotonic()
    kind = namespace.wait_for(plural, name, not_uid=uid)["kind"]
    print(f"{kind} {name} is back after {(time.monotonic() - started) * 1000:.0f} ms")
    wait_until(
        "event", lambda: f"{kind} '{name}' was deleted; made it again" in [item["message"] for item in namespace.events("ChildRestored")]
    )


@pytest.mark.parametrize(
    ("plural", "name", "patch", "field"),
    [
        ("deployments", "ct-east", {"spec": {"replicas": 5}}, "spec.replicas"),
        ("deployments", "ct-east", {"spec": {"template": {"spec": {"automountServiceAccountToken": None}}}}, ""),
        ("services", "ct-east", {"spec": {"externalTrafficPolicy": "Local"}}, "spec.externalTrafficPolicy"),
        ("services", "ct-east", {"spec": {"loadBalancerSourceRanges": ["0.0.0.0/0"]}}, "spec.loadBalancerSourceRanges"),
        ("configmaps", "ct-east", {"data": {"dicomadapter.yaml": "{}"}}, "data[dicomadapter.yaml]"),
        ("services", "ct-east", {"spec": {"selector": {"track": "canary"}}}, "spec.selector"),
        ("services", "ct-east", {"spec": {"ports": [{"name": "dicom", "port": 104, "targetPort": "dicom"}]}}, "spec.ports"),
        ("services", "ct-east", {"spec": {"ports": [DICOM_PORT, {"name": "web", "port": 80, "targetPort": "http"}]}}, "spec.ports"),
        ("networkpolicies", "ct-east", {"spec": {"ingress": None}}, "spec.ingress"),
        ("networkpolicies", "ct-east", {"spec": {"podSelector": {"matchLabels": {"track": "canary"}}}}, "spec.podSelector"),
        ("serviceaccounts", "ct-east", {"automountServiceAccountToken": True}, "automountServiceAccountToken"),
        ("services", "ct-east-http", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, ""),
    ],
)
def test_an_edited_child_is_put_right(namespace: Namespace, plural, name, patch, field):
    namespace.adapter()
    namespace.serve()
    relevant = ("spec", "data", "automountServiceAccountToken")
    before = {key: value for key, value in namespace.get(plural, name).items() if key in relevant}
    labels = namespace.get(plural, name)["metadata"]["labels"]
    namespace.patch(plural, name, patch)
    started = time.monotonic()

    def right() -> bool:
        now = namespace.get(plural, name)
        return {key: value for key, value in now.items() if key in relevant} == before and now["metadata"]["labels"] == labels

    wait_until("put right", right, every=0.01)
    print(f"{plural} {name} is right after {(time.monotonic() - started) * 1000:.0f} ms")
    if field:
        wait_until("event", lambda: [item for item in namespace.events("ChildRestored") if f"was changed at {field}" in item["message"]])


def test_a_port_that_was_put_back_follows_the_spec_again(namespace: Namespace):
    """What was put back is ours in another way than what was applied; a change of the spec must take it away all the same."""
    namespace.adapter(service={"type": "NodePort"})
    namespace.serve_inside()
    node_port = namespace.get("services", "ct-east")["spec"]["ports"][0]["nodePort"]
    for port in (104, 11112):
        edited = {"spec": {"ports": [{"name": "dicom", "port": 1, "targetPort": "dicom"}]}}
        namespace.patch("services", "ct-east", edited)
        wait_until("put back", lambda: namespace.get("services", "ct-east")["spec"]["ports"][0]["port"] != 1)
        namespace.change(port=port)
        (found,) = namespace.get("services", "ct-east")["spec"]["ports"]
        assert (found["port"], namespace.condition("Applied")["reason"]) == (port, "Applied")
    assert found["nodePort"] == node_port


def counted(namespace: Namespace, count: int) -> bool:
    return [item["count"] for item in namespace.events("ChildRestored")] == [count]


def test_the_same_restoration_again_is_counted_on_one_event(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    for count in (1, 2, 3):
        uid = namespace.get("services", "ct-east-http")["metadata"]["uid"]
        namespace.delete("services", "ct-east-http")
        namespace.wait_for("services", "ct-east-http", not_uid=uid)
        wait_until(f"count {count}", functools.partial(counted, namespace, count))


def test_what_others_add_stays(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.patch("services", "ct-east", {"metadata": {"annotations": {"cloud.example/health": "x"}}})
    namespace.delete("configmaps", "ct-east")  # makes it reconcile
    namespace.wait_for("configmaps", "ct-east")
    assert namespace.get("services", "ct-east")["metadata"]["annotations"]["cloud.example/health"] == "x"


def test_scaling_leaves_the_pod_template_alone(namespace: Namespace, api: Api):
    namespace.adapter()
    namespace.serve()
    template = namespace.get("deployments", "ct-east")["spec"]["template"]
    api.patch(f"{ADAPTERS}/namespaces/{namespace.name}/dicomadapters/ct-east/scale", {"spec": {"replicas": 3}})
    wait_until("scaled", lambda: namespace.get("deployments", "ct-east")["spec"]["replicas"] == 3)
    assert namespace.get("deployments", "ct-east")["spec"]["template"] == template
    assert namespace.wait_for("poddisruptionbudgets", "ct-east")["spec"]["maxUnavailable"] == 1
    for pod in namespace.pods(count=3):
        namespace.pod_ready(pod)
    wait_until("3/3", lambda: namespace.status()["replicasSummary"] == "3/3")
    scale = api.get(f"{ADAPTERS}/namespaces/{namespace.name}/dicomadapters/ct-east/scale")
    assert scale["status"] == {
        "replicas": 3,
        "selector": "app.kubernetes.io/name=dicom-adapter,app.kubernetes.io/instance=ct-east",
    }
    namespace.change(replicas=1)
    wait_until("budget pruned", lambda: namespace.get("poddisruptionbudgets", "ct-east") is None)


def versions(namespace: Namespace) -> dict[tuple[str, str], tuple[int | None, object]]:
    """What of each child would show that it was written with another content."""
    found = {}
    for plural, name in ALL:
        body = namespace.get(plural, name)
        found[plural, name] = (body["metadata"].get("generation"), body.get("spec", body.get("data")))
    return found


def test_a_new_port_changes_the_service_alone(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    before = versions(namespace)
    namespace.change(port=11113)
    namespace.wait_condition("Ready", "Available")
    after = versions(namespace)
    assert [key for key in ALL if before[key] != after[key]] == [("services", "ct-east")]
    (port,) = namespace.get("services", "ct-east")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (11113, "dicom")
    assert namespace.status()["endpoint"] == "IMPORTADAPTER@10.10.0.100:11113"


@pytest.mark.parametrize("change", [{"aeTitle": "NEWGATE"}, {"dicomStore": "https://pacs.example/dicom-web"}, {"drainSeconds": 20}])
def test_what_the_adapter_reads_rolls_the_pods(namespace: Namespace, change):
    namespace.adapter()
    namespace.serve()
    before = namespace.get("deployments", "ct-east")["spec"]["template"]
    namespace.change(**change)
    after = namespace.get("deployments", "ct-east")["spec"]["template"]
    hashes = [one["metadata"]["annotations"]["dicomadapter.io/config-hash"] for one in (before, after)]
    assert hashes[0] != hashes[1]
    ready = namespace.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "RollingOut")  # never Ready for a generation that is not served
    assert ready["observedGeneration"] == 2


def test_suspend_and_resume(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.change(suspend=True)
    assert namespace.condition("Ready")["reason"] == "Suspended"
    assert namespace.condition("Ready")["message"] == "spec.suspend is true: nothing receives; set it to false to go on"
    assert namespace.get("deployments", "ct-east")["spec"]["replicas"] == 0
    assert namespace.get("services", "ct-east")  # the address stays
    namespace.pods(count=0)
    namespace.change(suspend=False)
    assert namespace.get("deployments", "ct-east")["spec"]["replicas"] == 1
    for pod in namespace.pods():
        namespace.pod_ready(pod)
    namespace.wait_condition("Ready", "Available")
    wait_until("events", lambda: namespace.events("Suspended") and namespace.events("Resumed"))


def test_scaled_to_zero(namespace: Namespace):
    namespace.adapter(replicas=0)
    namespace.address()
    ready = namespace.wait_condition("Ready", "ScaledToZero")
    assert ready["message"] == "spec.replicas is 0: nothing receives; set it to 1 or more"


def test_paused_children_are_left_alone(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.patch("dicomadapters", "ct-east", {"metadata": {"annotations": {"dicomadapter.io/reconcile": "disabled"}}})
    paused = namespace.wait_condition("Applied", "Paused")
    assert paused["status"] == "Unknown"
    assert namespace.condition("Ready")["status"] == "True"
    namespace.patch("deployments", "ct-east", {"spec": {"replicas": 2}})
    namespace.patch("dicomadapters", "ct-east", {"spec": {"port": 11113, "aeTitle": "OTHER"}})
    wait_until("the pods of the edit are seen", lambda: namespace.status()["replicas"] == 2)
    assert namespace.get("deployments", "ct-east")["spec"]["replicas"] == 2
    assert namespace.get("services", "ct-east")["spec"]["ports"][0]["port"] == 2575
    status = namespace.status()
    assert (status["observedGeneration"], status["endpoint"]) == (1, "IMPORTADAPTER@10.10.0.100:2575")  # the change is not served
    namespace.patch("dicomadapters", "ct-east", {"metadata": {"annotations": {"dicomadapter.io/reconcile": None}}})
    wait_until("goes on", lambda: namespace.get("deployments", "ct-east")["spec"]["replicas"] == 1)
    wait_until("port", lambda: namespace.get("services", "ct-east")["spec"]["ports"][0]["port"] == 11113)


def test_deleting_the_adapter_removes_all_that_it_made(namespace: Namespace):
    namespace.adapter(replicas=2)
    namespace.serve(count=2)
    namespace.delete("dicomadapters", "ct-east")
    wait_until("nothing left", lambda: not children(namespace))
    assert namespace.get("dicomadapters", "ct-east") is None


def test_an_adapter_of_the_same_name_can_follow_at_once(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.delete("dicomadapters", "ct-east")
    uid = namespace.adapter(aeTitle="SECOND")["metadata"]["uid"]
    wait_until("all children belong to the new one", lambda: owners(namespace) == {(child, uid) for child in ALL}, seconds=90)
    assert namespace.events("NameConflict") == []  # what waits for the garbage collector is nobody's fault


def test_a_renamed_service_account_replaces_the_old_one_when_the_pods_have_moved(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.change(serviceAccount={"name": "imaging", "annotations": {"iam.gke.io/gcp-service-account": "a@b"}})
    assert namespace.get("serviceaccounts", "imaging")["metadata"]["annotations"]["iam.gke.io/gcp-service-account"] == "a@b"
    assert namespace.get("serviceaccounts", "ct-east")  # old pods still run under it
    for pod in namespace.pods(count=2):
        namespace.pod_ready(pod)
    for pod in namespace.pods(count=1):
        namespace.pod_ready(pod)
    wait_until("old account pruned", lambda: namespace.get("serviceaccounts", "ct-east") is None)
    assert namespace.get("deployments", "ct-east")["spec"]["template"]["spec"]["serviceAccountName"] == "imaging"


def test_source_ranges_are_those_of_the_services_family(namespace: Namespace):
    namespace.adapter()
    namespace.wait_condition("Ready", "RollingOut")
    spec = namespace.get("services", "ct-east")["spec"]
    assert spec["ipFamilies"] == ["IPv4"]
    assert spec["loadBalancerSourceRanges"] == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
    namespace.change(service={"sourceRanges": ["fc00::/7"]})
    # Only ranges of the other family: kube-proxy would ignore them and let everybody in.
    assert namespace.get("services", "ct-east")["spec"]["loadBalancerSourceRanges"] == ["255.255.255.255/32"]


def test_a_service_can_have_both_ip_families_and_one_again(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.change(service={"ipFamilyPolicy": "RequireDualStack"})
    spec = namespace.get("services", "ct-east")["spec"]
    assert spec["ipFamilies"] == ["IPv4", "IPv6"]
    assert spec["loadBalancerSourceRanges"] == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]
    namespace.change(service={"ipFamilyPolicy": "SingleStack"})
    spec = namespace.get("services", "ct-east")["spec"]
    assert spec["ipFamilies"] == ["IPv4"]
    assert "fc00::/7" not in spec["loadBalancerSourceRanges"]


def test_an_autoscaler_finds_what_it_scales(namespace: Namespace, api: Api):
    (example,) = yaml.safe_load_all((Path(__file__).parents[2] / "examples" / "autoscaler.yaml").read_text())
    target = example["spec"]["scaleTargetRef"]
    namespace.adapter(target["name"])
    namespace.serve(target["name"])
    autoscalers = f"/apis/autoscaling/v2/namespaces/{namespace.name}/horizontalpodautoscalers"
    api.create(autoscalers, example)

    def able() -> dict[str, Any]:
        return condition(api.get(f"{autoscalers}/{example['metadata']['name']}"), "AbleToScale")

    wait_until("it has raised the replicas to its minimum", lambda: namespace.get("dicomadapters", target["name"])["spec"]["replicas"] == 2)
    wait_until("it can scale", lambda: able().get("status") == "True")
    wait_until("the operator follows", lambda: namespace.get("deployments", target["name"])["spec"]["replicas"] == 2)


def test_a_load_balancer_can_become_a_cluster_ip_and_back(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.change(service={"type": "ClusterIP"})
    service = namespace.get("services", "ct-east")
    assert service["spec"]["type"] == "ClusterIP"
    assert not any("load-balancer" in key for key in service["metadata"]["annotations"])
    assert namespace.condition("AddressAssigned")["reason"] == "NotRequired"
    host = f"ct-east.{namespace.name}.svc"
    assert namespace.status()["endpoint"] == f"IMPORTADAPTER@{host}:2575"
    namespace.wait_condition("Ready", "Available")
    namespace.change(service={"type": "NodePort"})
    port = namespace.get("services", "ct-east")["spec"]["ports"][0]["nodePort"]
    assert namespace.condition("Ready")["message"] == f"images can be sent to IMPORTADAPTER at port {port} of every node"
    namespace.change(service={"type": "LoadBalancer"})
    assert namespace.get("services", "ct-east")["metadata"]["annotations"]["networking.gke.io/load-balancer-type"] == "Internal"

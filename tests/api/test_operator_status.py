"""What the conditions and events say when something is wrong, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.pages import PAGE_ADDRESS, StatusPage, report
from tests.api.support import IMAGE, Namespace, Refused
from tests.support.kubernetes import wait_until

pytestmark = pytest.mark.usefixtures("operator")


def event_messages(namespace: Namespace, reason: str) -> list[str]:
    return [item["message"] for item in namespace.events(reason)]


def test_an_image_that_is_not_allowed(namespace: Namespace):
    namespace.adapter(image="evil.example/miner:1")
    ready = namespace.wait_condition("Ready", "InvalidSpec")
    sentence = (
        "spec.image: 'evil.example/miner:1' is not allowed; write an image that begins with 'localhost/' or "
        f"'{IMAGE}', or have it allowed (chart value `adapter.allowedImages`)"
    )
    assert ready["message"] == sentence
    assert namespace.condition("Stalled")["reason"] == "InvalidSpec"
    assert namespace.get("deployments", "ct-east") is None
    wait_until("event", lambda: event_messages(namespace, "SpecInvalid") == [sentence])
    namespace.change(image="localhost/dicom-adapter:other")  # taken at once, no backoff
    assert namespace.condition("Applied")["status"] == "True"
    assert namespace.condition("Stalled") == {}


def test_a_spec_that_becomes_invalid_leaves_what_serves(namespace: Namespace):
    namespace.adapter()
    namespace.serve()
    namespace.change(image="evil.example/miner:1")
    assert namespace.condition("Ready")["reason"] == "InvalidSpec"
    assert namespace.condition("WorkloadAvailable")["status"] == "True"
    assert namespace.status()["endpoint"] == "IMPORTADAPTER@10.10.0.100:2575"
    (container,) = namespace.get("deployments", "ct-east")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE


def route(destination: str, keyword: str, *values: str, **match: str) -> dict[str, Any]:
    """One by an attribute."""
    return {"match": {"attributes": [{"keyword": keyword, "values": list(values)}], **match}, "destinations": [destination]}


ROUTES_REFUSED = [
    (
        [route("archive", "Modalty", "CT")],
        "spec.routes[0].match.attributes[0].keyword: 'Modalty' is neither the keyword of an attribute nor its tag as ggggeeee; "
        "did you mean 'Modality'?",
    ),
    (
        [route("archive", "Modality", "ct")],
        "spec.routes[0].match.attributes[0].values[0]: 'ct' matches no value of Modality, which is in capitals; write 'CT'",
    ),
    (
        [route("archive", "Modality", "CT", "MR"), route("dicomStore", "Modality", "CT", callingAETitle="CT1")],
        "spec.routes[1].match: is never reached: spec.routes[0] matches all of it; move it before that one, or remove it",
    ),
]


def test_routes_that_only_the_operator_can_judge_leave_what_serves(namespace: Namespace):
    namespace.adapter(destinations=[{"name": "archive", "dicomStore": "https://archive.example/dicom-web"}])
    namespace.serve()
    before = namespace.get("deployments", "ct-east")["metadata"]["generation"]
    for routes, sentence in ROUTES_REFUSED:
        namespace.change(routes=routes)
        ready = namespace.condition("Ready")
        assert (ready["status"], ready["reason"], ready["message"]) == ("False", "InvalidSpec", sentence)
        assert namespace.condition("WorkloadAvailable")["status"] == "True"
    wait_until("event", lambda: ROUTES_REFUSED[0][1] in event_messages(namespace, "SpecInvalid"))
    assert namespace.get("deployments", "ct-east")["metadata"]["generation"] == before
    namespace.change(routes=[route("archive", "Modality", "CT")])
    assert namespace.condition("Applied")["status"] == "True"


def test_a_public_address_is_never_ready(namespace: Namespace):
    namespace.adapter()
    namespace.address("34.1.2.3")
    for pod in namespace.pods():
        namespace.pod_ready(pod)
    ready = namespace.wait_condition("Ready", "PublicAddress")
    sentence = "Service 'ct-east' got the public address 34.1.2.3: set spec.service.provider, or allowPublicAddress if that is meant"
    assert (ready["status"], ready["message"]) == ("False", sentence)
    wait_until("event", lambda: event_messages(namespace, "PublicAddressRefused") == [sentence])
    namespace.change(service={"allowPublicAddress": True})
    namespace.wait_condition("Ready", "Available")


def test_an_address_that_is_a_name(namespace: Namespace):
    namespace.adapter()
    namespace.address("localhost")
    for pod in namespace.pods():
        namespace.pod_ready(pod)
    ready = namespace.wait_condition("Ready", "Available")
    assert ready["message"] == "images can be sent to IMPORTADAPTER@localhost:2575"


def test_an_address_that_does_not_come(namespace: Namespace):
    namespace.adapter()
    for pod in namespace.pods():
        namespace.pod_ready(pod)
    ready = namespace.wait_condition("Ready", "AddressPending")
    assert ready["message"] == "Service 'ct-east' has no address yet; `kubectl describe service ct-east` shows what its load balancer says"
    event = {
        "metadata": {"name": "ct-east.1"},
        "involvedObject": {"apiVersion": "v1", "kind": "Service", "name": "ct-east", "namespace": namespace.name},
        "source": {"component": "service-controller"},
        "type": "Warning",
        "reason": "SyncLoadBalancerFailed",
        "message": "Error syncing load balancer: failed to ensure load balancer: no subnet has free addresses",
    }
    namespace.create("events", event)
    namespace.patch("dicomadapters", "ct-east", {"metadata": {"labels": {"look": "again"}}})  # else it looks after 15 s
    sentence = f"Service 'ct-east' has no address yet; its last event: SyncLoadBalancerFailed: {event['message']}"
    wait_until("its event is told", lambda: namespace.condition("Ready")["message"] == sentence)


def test_an_image_that_cannot_be_pulled(namespace: Namespace):
    namespace.adapter()
    namespace.address()
    (pod,) = namespace.pods()
    name = pod["metadata"]["name"]
    for waiting in (
        {
            "reason": "ErrImagePull",
            "message": f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found',
        },
        {
            "reason": "ImagePullBackOff",
            "message": f'Back-off pulling image "{IMAGE}": ErrImagePull: rpc error: code = NotFound desc = {IMAGE}: not found',
        },
    ):
        namespace.container_status(pod, state={"waiting": waiting})
        ready = namespace.wait_condition("Ready", "ImagePullFailed")
        assert ready["message"] == f"pod {name}: image '{IMAGE}': not found"
    wait_until("event", lambda: event_messages(namespace, "AdapterNotReady") == [f"pod {name}: image '{IMAGE}': not found"])


def test_a_crash_loop_shows_the_last_line(namespace: Namespace):
    namespace.adapter()
    (pod,) = namespace.pods()
    ended = {"exitCode": 2, "reason": "Error", "message": "starting\nspec.aeTitle: is required\n"}
    namespace.container_status(
        pod, restartCount=3, state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}, lastState={"terminated": ended}
    )
    ready = namespace.wait_condition("Ready", "CrashLooping")
    assert ready["message"] == f"pod {pod['metadata']['name']} ended with exit 2; its last line: spec.aeTitle: is required"


def test_killed_for_memory(namespace: Namespace):
    namespace.adapter()
    (pod,) = namespace.pods()
    namespace.container_status(
        pod, restartCount=1, state={"running": {}}, lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    )
    ready = namespace.wait_condition("Ready", "OutOfMemory")
    name = pod["metadata"]["name"]
    assert (
        ready["message"] == f"pod {name} was killed at its memory limit of 1Gi: raise spec.resources or lower spec.limits.maxAssociations"
    )


def test_no_node_has_room(namespace: Namespace):
    namespace.adapter()
    (pod,) = namespace.pods()
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/5 nodes are available: 5 Insufficient cpu.",
    }
    namespace.kubelet(pod, {"conditions": [condition]})
    assert namespace.wait_condition("Ready", "Unschedulable")["message"] == condition["message"]


def wait_refused(namespace: Namespace, plural: str, body: dict[str, Any], sentence: str) -> None:
    """Waits until the API server refuses such an object with this sentence: what it reads of policies and quotas is a moment old."""

    def in_force() -> bool:
        try:
            namespace.api.create(namespace.path(plural) + "?dryRun=All", {"apiVersion": "v1", "metadata": {"name": "x"}, **body})
        except Refused as refusal:
            return sentence in refusal.message
        return False

    wait_until(f"{sentence} is in force", in_force)


POD: dict[str, Any] = {"kind": "Pod", "spec": {"containers": [{"name": "x", "image": "x"}]}}
SERVICE: dict[str, Any] = {"kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{"port": 104}]}}


def allow_none(namespace: Namespace, what: str, plural: str, body: dict[str, Any]) -> None:
    """A quota under which an object like this one is too many."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": {what: "0"}}}
    namespace.api.create(f"/api/v1/namespaces/{namespace.name}/resourcequotas", quota)
    wait_refused(namespace, plural, body, "exceeded quota: team")


def test_a_quota(namespace: Namespace):
    allow_none(namespace, "pods", "pods", POD)
    namespace.adapter()
    ready = namespace.wait_condition("Ready", "ReplicaFailure")
    assert "is forbidden: exceeded quota: team" in ready["message"]


def test_an_admission_policy_that_refuses_the_pods(namespace: Namespace):
    """Pod Security, or a policy of the cluster: its own words are shown."""
    root = "/apis/admissionregistration.k8s.io/v1"
    name, sentence = f"no-pods-{namespace.name}", "pods of this namespace must come from the hospital's registry"
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false", "message": sentence}]}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}}
    for plural, kind, spec in (
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", policy),
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", binding),
    ):
        body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        namespace.api.create(f"{root}/{plural}", body)
    wait_refused(namespace, "pods", POD, sentence)
    namespace.adapter()
    ready = namespace.wait_condition("Ready", "ReplicaFailure")
    assert ready["message"].startswith('pods "ct-east-')
    assert ready["message"].endswith(f"denied request: {sentence}")
    wait_until("event", lambda: event_messages(namespace, "AdapterNotReady") == [ready["message"]])


def test_a_namespace_that_enforces_restricted_admits_the_pods(namespace: Namespace):
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    namespace.api.patch(f"/api/v1/namespaces/{namespace.name}", {"metadata": {"labels": labels}})
    namespace.adapter()
    namespace.serve()


def test_a_port_that_is_in_use_in_the_pod(namespace: Namespace):
    """A sidecar that was injected listens where the adapter wants to: the adapter's last line says so."""
    namespace.adapter()
    (pod,) = namespace.pods()
    line = "--port: port 11112 cannot be opened (address already in use); free it or choose another"
    namespace.container_status(
        pod, restartCount=2, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"exitCode": 1, "message": line}}
    )
    assert (
        namespace.wait_condition("Ready", "CrashLooping")["message"]
        == f"pod {pod['metadata']['name']} ended with exit 1; its last line: {line}"
    )


def test_annotations_that_are_too_long_together(namespace: Namespace):
    """The API server's words, when it will not have the Service."""
    namespace.adapter(service={"annotations": {"x/" + "y" * 63: "z" * 4000, **{f"x/{n}": "z" * 4090 for n in range(63)}}})
    ready = namespace.wait_condition("Ready", "Rejected")
    assert ready["message"].startswith(
        "the API server refused Service 'ct-east': Service \"ct-east\" is invalid: metadata.annotations: Too long"
    )


def test_an_object_that_the_api_server_refuses(namespace: Namespace):
    allow_none(namespace, "services.loadbalancers", "services", SERVICE)
    namespace.adapter()
    ready = namespace.wait_condition("Ready", "Rejected")
    assert ready["message"].startswith("the API server refused Service 'ct-east': services \"ct-east\" is forbidden: exceeded quota: team")
    assert namespace.condition("Stalled")["reason"] == "Rejected"
    assert namespace.get("networkpolicies", "ct-east")  # what can be served is
    wait_until("event", lambda: event_messages(namespace, "ApplyRejected") == [ready["message"]])


def test_an_affinity_that_kubernetes_does_not_know(namespace: Namespace):
    namespace.adapter(affinity={"nodeAffinity": {"nonsense": 1}})
    ready = namespace.wait_condition("Ready", "Rejected")
    assert ready["message"].startswith("the API server refused Deployment 'ct-east': ")
    assert "nonsense" in ready["message"]


def test_what_the_adapter_finds_at_the_store_is_a_condition_that_never_gates_ready(namespace: Namespace, status_page: type[StatusPage]):
    unauthorized = (
        "the store answers 401 UNAUTHENTICATED: the credentials in Secret 'gcs-key', key 'key.json', are not accepted; "
        "renew them, no restart is needed"
    )
    away = {"name": "archive", "reachable": False, "reason": "Unreachable", "message": "10.1.2.3:443 refuses connections"}
    status_page.answer = report(store="Unauthorized", store_message=unauthorized, destinations=[away])
    namespace.adapter(destinations=[{"name": "archive", "dicomStore": "https://10.1.2.3/dicom-web"}])
    namespace.address()
    (pod,) = namespace.pods()
    assert namespace.condition("StoreReachable") == {}  # before the first probe
    namespace.pod_ready(pod, PAGE_ADDRESS)
    found = namespace.wait_condition("StoreReachable", "Unauthorized")
    assert (found["status"], found["message"]) == ("False", unauthorized)
    assert namespace.wait_condition("Ready", "Available")["status"] == "True"
    assert namespace.status()["destinations"] == [away]
    wait_until("event", lambda: event_messages(namespace, "StoreUnavailable") == [unauthorized])
    status_page.answer = report()
    assert namespace.wait_condition("StoreReachable", "Reachable")["status"] == "True"
    wait_until("event", lambda: event_messages(namespace, "StoreRecovered") == ["the store can be reached again"])
    status_page.answer = b"not json"
    assert namespace.wait_condition("StoreReachable", "NotProbed")["status"] == "Unknown"


def test_a_missing_secret_is_named_by_the_adapter(namespace: Namespace, status_page: type[StatusPage]):
    missing = "Secret 'gcs-key' does not exist in namespace 'rad'; create it, no restart is needed"
    status_page.answer = report(ready=False, reason="SecretMissing", message=missing, store="NotProbed", store_message="")
    namespace.adapter(credentials={"basicAuthSecret": {"name": "gcs-key"}, "allowInsecure": True})
    namespace.address()
    (pod,) = namespace.pods()
    namespace.kubelet(pod, {"phase": "Running", "podIP": PAGE_ADDRESS, "podIPs": [{"ip": PAGE_ADDRESS}]})
    ready = namespace.wait_condition("Ready", "SecretMissing")
    assert ready["message"] == missing
    wait_until("event", lambda: event_messages(namespace, "AdapterNotReady") == [missing])

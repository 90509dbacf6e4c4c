"""What the conditions and events say when something is wrong, word for word."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.api.support import IMAGE, Namespace
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


def test_a_quota(namespace: Namespace):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": {"pods": "0"}}}
    namespace.api.create(f"/api/v1/namespaces/{namespace.name}/resourcequotas", quota)
    wait_until(
        "quota counts", lambda: namespace.api.get(f"/api/v1/namespaces/{namespace.name}/resourcequotas/team").get("status", {}).get("hard")
    )
    namespace.adapter()
    ready = namespace.wait_condition("Ready", "ReplicaFailure")
    assert "is forbidden: exceeded quota: team" in ready["message"]


def test_an_object_that_the_api_server_refuses(namespace: Namespace):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": {"services.loadbalancers": "0"}}}
    namespace.api.create(f"/api/v1/namespaces/{namespace.name}/resourcequotas", quota)
    wait_until(
        "quota counts", lambda: namespace.api.get(f"/api/v1/namespaces/{namespace.name}/resourcequotas/team").get("status", {}).get("hard")
    )
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


class StatusPage(BaseHTTPRequestHandler):
    answer: bytes = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def status_page() -> Iterator[type[StatusPage]]:
    """An adapter's HTTP port, at an address that no other test's pods have."""
    page = type("Page", (StatusPage,), {})
    server = ThreadingHTTPServer(("127.77.0.1", 8080), page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield page
    server.shutdown()
    thread.join()
    server.server_close()


def report(
    *, ready: bool = True, reason: str = "Ready", message: str = "", store: str = "Reachable", store_message: str = "the store answers"
) -> bytes:
    body = {
        "version": 1,
        "ready": ready,
        "reason": reason,
        "message": message,
        "store": {"url": "x", "reason": store, "message": store_message},
    }
    return json.dumps(body).encode()


def test_what_the_adapter_finds_at_the_store_is_a_condition_that_never_gates_ready(namespace: Namespace, status_page: type[StatusPage]):
    unauthorized = (
        "the store answers 401 UNAUTHENTICATED: the credentials in Secret 'gcs-key', key 'key.json', are not accepted; "
        "renew them, no restart is needed"
    )
    status_page.answer = report(store="Unauthorized", store_message=unauthorized)
    namespace.adapter()
    namespace.address()
    (pod,) = namespace.pods()
    assert namespace.condition("StoreReachable") == {}  # before the first probe
    namespace.pod_ready(pod, "127.77.0.1")
    found = namespace.wait_condition("StoreReachable", "Unauthorized")
    assert (found["status"], found["message"]) == ("False", unauthorized)
    assert namespace.wait_condition("Ready", "Available")["status"] == "True"
    wait_until("event", lambda: event_messages(namespace, "StoreUnavailable") == [unauthorized])
    status_page.answer = report()
    assert namespace.wait_condition("StoreReachable", "Reachable")["status"] == "True"
    wait_until("event", lambda: event_messages(namespace, "StoreRecovered") == ["the store can be reached again"])
    status_page.answer = b"not json"
    assert namespace.wait_condition("StoreReachable", "NotProbed")["status"] == "Unknown"


def test_a_missing_secret_is_named_by_the_adapter(namespace: Namespace, status_page: type[StatusPage]):
    missing = "Secret 'gcs-key' does not exist in namespace 'rad'; add it, no restart is needed"
    status_page.answer = report(ready=False, reason="SecretMissing", message=missing, store="NotProbed", store_message="")
    namespace.adapter(credentials={"basicAuthSecret": {"name": "gcs-key"}, "allowInsecure": True})
    namespace.address()
    (pod,) = namespace.pods()
    namespace.kubelet(pod, {"phase": "Running", "podIP": "127.77.0.1", "podIPs": [{"ip": "127.77.0.1"}]})
    ready = namespace.wait_condition("Ready", "SecretMissing")
    assert ready["message"] == missing
    wait_until("event", lambda: event_messages(namespace, "AdapterNotReady") == [missing])

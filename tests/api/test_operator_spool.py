"""An adapter with a spool against the real controllers: pods on paper, whose status pages say what is in their spools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.pages import PAGE_ADDRESS, StatusPage, report, spool
from tests.api.support import OWNED, Namespace
from tests.support.kubernetes import wait_until

pytestmark = pytest.mark.usefixtures("operator")
SPOOL: dict[str, Any] = {"delivery": {"acknowledge": "AfterSpool"}, "spool": {"persistent": {"size": "1Gi", "storageClassName": "none"}}}
AFTER_STORE: dict[str, Any] = {"delivery": {"acknowledge": "AfterStore"}}
OURS = "app.kubernetes.io/managed-by=dicom-operator"
WAITS = "pod ct-east-{} leaves when its images for 'dicomStore' are delivered"


def run_pods(namespace: Namespace, count: int = 1) -> None:
    """What kubelets and a provisioner do; every pod has the same status page."""
    for pod in namespace.pods(count=count):
        name = f"spool-{pod['metadata']['name']}"
        if pod["metadata"]["name"].removeprefix("ct-east-").isdecimal():
            namespace.wait_for("persistentvolumeclaims", name)
            namespace.patch("persistentvolumeclaims", name, {"status": {"phase": "Bound"}}, "status")
        namespace.pod_ready(pod, PAGE_ADDRESS)


def generation(namespace: Namespace) -> int:
    return int(namespace.get("dicomadapters", "ct-east")["metadata"]["generation"])


def claims(namespace: Namespace) -> dict[str, str]:
    """Names, and whether they are marked."""
    return {
        found["metadata"]["name"]: found["metadata"]["labels"].get("dicomadapter.io/spool-kept", "")
        for found in namespace.all("persistentvolumeclaims")
    }


@pytest.fixture
def served(namespace: Namespace, status_page: type[StatusPage]) -> tuple[Namespace, type[StatusPage]]:
    status_page.answer = report(**spool())
    namespace.adapter(**SPOOL, replicas=2)
    namespace.address()
    run_pods(namespace, 2)
    namespace.wait_condition("Ready", "Available")
    return namespace, status_page


def test_what_the_spools_hold_is_told_and_fewer_replicas_wait_for_it(served: tuple[Namespace, type[StatusPage]]) -> None:
    namespace, page = served
    assert namespace.get("deployments", "ct-east") is None
    assert namespace.status()["replicasSummary"] == "2/2"
    page.answer = report(**spool(612, failed=1, reason="Backlogged"))
    namespace.wait_condition("Delivering", "Backlogged")
    told = namespace.status()["spool"]  # by one pod, or by both
    assert told in [{"waiting": waiting, "failed": n, "oldestTime": "2026-11-23T10:00:00Z"} for waiting, n in ((610, 1), (1200, 2))]
    assert namespace.condition("Ready")["status"] == "True"
    wait_until("event", lambda: [event["message"] for event in namespace.events("DeliveryBacklogged")] == ["it is Backlogged"])
    wait_until("event", lambda: namespace.events("InstancesRefused"))
    namespace.change(replicas=1)
    wait_until("the other has told it too", lambda: namespace.condition("Reconciling").get("message") == WAITS.format(1))
    assert namespace.get("statefulsets", "ct-east")["spec"]["replicas"] == 2
    orders = json.loads(namespace.get("configmaps", "ct-east")["data"]["orders.json"])
    assert orders == {"generation": generation(namespace), "replicas": 1, "suspend": False}
    page.answer = report(**spool(generation=generation(namespace) - 1, closed=True))
    text = "pod ct-east-1 leaves when its associations have ended and its images are delivered"
    wait_until("told", lambda: namespace.condition("Reconciling").get("message") == text)
    page.answer = report(**spool(generation=generation(namespace), closed=True))
    (left,) = namespace.pods(count=1)
    assert left["metadata"]["name"] == "ct-east-0"
    wait_until("at rest", lambda: namespace.condition("Reconciling") == {})
    assert claims(namespace) == {"spool-ct-east-0": "", "spool-ct-east-1": ""}


def test_deleted_with_a_backlog_and_made_again(served: tuple[Namespace, type[StatusPage]]) -> None:
    namespace, page = served
    page.answer = report(**spool(2, reason="Backlogged"))
    namespace.wait_condition("Delivering", "Backlogged")
    wait_until("both pods have been asked", lambda: namespace.status()["spool"]["waiting"] == 4)
    namespace.delete("dicomadapters", "ct-east")
    wait_until("marked", lambda: set(claims(namespace).values()) == {"true"})
    sentence = (
        "4 images are undelivered: claims 'spool-ct-east-0', 'spool-ct-east-1' are kept; a DicomAdapter of the same name delivers them"
    )
    wait_until("event", lambda: [event["message"] for event in namespace.events("SpoolKept")] == [sentence])
    wait_until("the garbage collector has been there", lambda: not any(namespace.all(plural, OURS) for plural in (*OWNED, "pods")))
    namespace.adapter(**SPOOL)
    run_pods(namespace, 2)  # one more than wanted: it has images
    assert namespace.wait_condition("Reconciling", "Progressing")
    wait_until("taken over", lambda: set(claims(namespace).values()) == {""})
    page.answer = report(**spool(generation=1, closed=True))
    namespace.pods(count=1)


def test_from_a_deployment_to_a_spool_and_back(namespace: Namespace, status_page: type[StatusPage]) -> None:
    status_page.answer = report()
    namespace.adapter(spool=SPOOL["spool"])
    namespace.address()
    run_pods(namespace)
    namespace.wait_condition("Ready", "Available")
    status_page.answer = report(**spool(3))
    namespace.change(**SPOOL)
    assert namespace.get("deployments", "ct-east")
    run_pods(namespace, 2)
    wait_until("the Deployment is gone", lambda: namespace.get("deployments", "ct-east") is None)
    namespace.wait_condition("Ready", "Available")
    old = namespace.pods(count=1)[0]["metadata"]["uid"]
    namespace.change(**AFTER_STORE)
    assert namespace.get("deployments", "ct-east") is None
    wait_until("rolled", lambda: namespace.pods(count=1)[0]["metadata"]["uid"] != old)
    run_pods(namespace)
    wait_until("told", lambda: namespace.condition("Reconciling").get("message") == WAITS.format(0))
    status_page.answer = report(**spool())
    namespace.wait_for("deployments", "ct-east")
    run_pods(namespace, 2)
    wait_until("the StatefulSet is gone", lambda: namespace.get("statefulsets", "ct-east") is None)
    wait_until("at rest", lambda: namespace.condition("Reconciling") == {})
    assert namespace.condition("Ready")["reason"] == "Available"
    status_page.answer = report()
    wait_until("no spool", lambda: namespace.condition("Delivering") == {})
    assert "spool" not in namespace.status()
    assert list(claims(namespace)) == ["spool-ct-east-0"]

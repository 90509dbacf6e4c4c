"""A DicomExport against the real controllers: its pods are on paper, and a page says what an exporter's `/status` says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.pages import PAGE_ADDRESS, StatusPage, exporting
from tests.api.support import OWNED, Namespace
from tests.support.kubernetes import condition, wait_until

pytestmark = pytest.mark.usefixtures("operator")
NAME = "to-pacs"
REFUSED = "nothing listens at 10.1.2.3:104"


def found(namespace: Namespace) -> dict[str, Any]:
    return dict(namespace.get("dicomexports", NAME))


def wait_reason(namespace: Namespace, kind: str, reason: str) -> dict[str, Any]:
    return wait_until(f"{kind} {reason}", lambda: one if (one := condition(found(namespace), kind)).get("reason") == reason else None) or {}


def events(namespace: Namespace) -> list[tuple[str, str]]:
    told = [item for item in namespace.all("events") if item["involvedObject"]["kind"] == "DicomExport"]
    return [(item["reason"], item["message"]) for item in told]


def names(namespace: Namespace) -> set[tuple[str, str]]:
    """Kind and name of what the operator made."""
    ours = "app.kubernetes.io/managed-by=dicom-operator"
    return {(plural, item["metadata"]["name"]) for plural in OWNED for item in namespace.all(plural, ours)}


def test_from_apply_to_ready_and_back(namespace: Namespace, status_page: type[StatusPage]) -> None:
    status_page.answer = exporting()
    namespace.export(replicas=2)
    for pod in namespace.pods(NAME, 2):
        namespace.pod_ready(pod, PAGE_ADDRESS)
    assert wait_reason(namespace, "Ready", "Available")["message"] == "what arrives is sent to PACS@10.1.2.3:104"
    wait_reason(namespace, "DestinationReachable", "Reachable")
    plurals = ("serviceaccounts", "configmaps", "deployments", "networkpolicies", "poddisruptionbudgets")
    assert names(namespace) == {(plural, NAME) for plural in plurals}
    spec = json.loads(namespace.get("configmaps", NAME)["data"]["dicomexport.yaml"])["spec"]
    assert spec["destination"] == {"peer": {"aeTitle": "PACS", "host": "10.1.2.3", "port": 104}}

    status_page.answer = exporting(destination="Refused", message=REFUSED, delivering="DestinationDown", exported=612)
    assert wait_reason(namespace, "DestinationReachable", "Refused")["message"] == REFUSED
    wait_reason(namespace, "Delivering", "DestinationDown")
    assert condition(found(namespace), "Ready")["status"] == "True", "an outage of the node makes no exporter unready"
    wait_until("both pods were asked", lambda: found(namespace)["status"]["exported"] in (610, 1200))
    status_page.answer = exporting()
    wait_reason(namespace, "Delivering", "Delivering")
    expected = [
        ("DestinationRecovered", "the destination can be reached again"),
        ("DestinationUnavailable", REFUSED),
        ("ExportReady", "what arrives is sent to PACS@10.1.2.3:104"),
    ]
    wait_until("each transition is told once", lambda: sorted(events(namespace)) == expected)

    namespace.patch("dicomexports", NAME, {"spec": {"suspend": True}})
    wait_reason(namespace, "Ready", "Suspended")
    wait_until("no pods are wanted", lambda: namespace.get("deployments", NAME)["spec"]["replicas"] == 0)
    namespace.delete("dicomexports", NAME)
    wait_until("all of it is gone", lambda: names(namespace) == set())


def test_what_is_deleted_or_edited_by_hand_is_put_right(namespace: Namespace) -> None:
    namespace.export()
    uid = namespace.wait_for("networkpolicies", NAME)["metadata"]["uid"]
    wait_reason(namespace, "Applied", "Applied")
    namespace.delete("networkpolicies", NAME)
    namespace.wait_for("networkpolicies", NAME, not_uid=uid)
    namespace.patch("deployments", NAME, {"spec": {"replicas": 5}})
    wait_until("put back", lambda: namespace.get("deployments", NAME)["spec"]["replicas"] == 1)


def test_a_ledger_comes_and_goes(namespace: Namespace) -> None:
    """The API server takes the other strategy onto the Deployment that is there."""
    store = {
        "dicomStore": "projects/p/locations/l/datasets/d/dicomStores/s",
        "pubsub": {"subscription": "projects/p/subscriptions/to-pacs"},
    }
    namespace.export(source={**store, "reconcile": {}})

    def strategy() -> str:
        return str(namespace.get("deployments", NAME)["spec"]["strategy"]["type"])

    namespace.wait_for("deployments", NAME)
    assert strategy() == "RollingUpdate"
    for ledger, expected in (({"persistentVolumeClaim": "exported"}, "Recreate"), (None, "RollingUpdate")):
        namespace.patch("dicomexports", NAME, {"spec": {"ledger": ledger}})
        wait_until(f"{expected}; {condition(found(namespace), 'Applied')}", lambda expected=expected: strategy() == expected)  # type: ignore[misc]


def test_an_adapter_of_the_same_name_keeps_its_objects(namespace: Namespace) -> None:
    namespace.adapter(NAME)
    namespace.wait_condition("Applied", "Applied", NAME)
    before = namespace.get("deployments", NAME)["metadata"]["uid"]
    namespace.export()
    message = wait_reason(namespace, "Applied", "NameConflict")["message"]
    assert (
        message
        == "ServiceAccount 'to-pacs' exists and is not controlled by this DicomExport; rename the DicomExport or delete the ServiceAccount"
    )
    assert namespace.get("deployments", NAME)["metadata"]["uid"] == before

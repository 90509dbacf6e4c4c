"""Conditions and the rest of the status, from what is observed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dicom_operator.api import DEPLOYMENT, SERVICE, ConditionType, Key, Reason
from dicom_operator.model.adapter import parse
from dicom_operator.observed.objects import Observed, PodReport, is_ours, owner_key, pods_of
from dicom_operator.status import document, workload
from dicom_operator.status.adapter import adapter_parts
from dicom_operator.status.conditions import Condition, render
from dicom_operator.status.document import View, applied
from tests.unit.operator.builders import CONFIG, READY, body, container, deployment, pod, ready_pods, service, serving

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
GOOD = applied("True", Reason.APPLIED, "all objects are as the spec wants them")


def counted(workload: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a Deployment counts as ready."""
    return ready_pods(workload.get("status", {}).get("readyReplicas", 0))


def build(
    adapter: dict[str, Any],
    *,
    workload: dict[str, Any] | None = None,
    address: dict[str, Any] | None = None,
    pods: list[Any] | None = None,
    reports: dict[str, PodReport | None] | None = None,
    condition: Condition = GOOD,
    parsed: bool = True,
    names: dict[str, bool | None] | None = None,
) -> dict[str, Any]:
    children = {}
    if workload:
        children[DEPLOYMENT.kind, "ct-east"] = workload
    if address:
        children[SERVICE.kind, "ct-east"] = address
    observed = Observed(children, counted(workload or {}) if pods is None else pods, reports or {})
    return document.build(View(adapter, parse(adapter) if parsed else None, condition, observed, names or {}), CONFIG, NOW, adapter_parts)


def conditions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}


def test_what_is_not_there_because_it_was_not_applied_is_not_called_late():
    """A Deployment of that name may be there, of somebody else."""
    taken = applied("False", Reason.NAME_CONFLICT, "Deployment 'ct-east' exists")
    messages = {item["type"]: item["message"] for item in build(body(), condition=taken)["conditions"]}
    assert messages["WorkloadAvailable"] == "this DicomAdapter has no Deployment: condition Applied says why"
    assert messages["AddressAssigned"] == "this DicomAdapter has no Service: condition Applied says why"


def test_ready():
    found = build(body(), workload=serving(), address=service("10.8.0.4"))
    assert conditions(found) == {
        "Ready": ("True", "Available"),
        "Applied": ("True", "Applied"),
        "WorkloadAvailable": ("True", "MinimumReplicasAvailable"),
        "AddressAssigned": ("True", "Assigned"),
    }
    assert {key: value for key, value in found.items() if key != "conditions"} == {
        "observedGeneration": 3,
        "replicas": 1,
        "readyReplicas": 1,
        "replicasSummary": "1/1",
        "selector": "app.kubernetes.io/name=dicom-adapter,app.kubernetes.io/instance=ct-east",
        "operatorVersion": "0.1.0",
        "adapterImage": "ghcr.io/acme/dicom-adapter:0.1.0",
        "address": "10.8.0.4",
        "port": 11112,
        "endpoint": "GATE@10.8.0.4:11112",
    }


def test_an_ipv6_endpoint_has_brackets():
    assert build(body(), workload=serving(), address=service("fd00::4"))["endpoint"] == "GATE@[fd00::4]:11112"


@pytest.mark.parametrize(
    ("case", "ready", "extra"),
    [
        ({"workload": serving()}, ("Unknown", "Reconciling"), ("Reconciling", "Progressing")),
        ({"workload": serving(), "address": service()}, ("False", "AddressPending"), ("Reconciling", "Progressing")),
        ({"workload": serving(), "address": service("34.1.2.3")}, ("False", "PublicAddress"), None),
        ({"workload": serving(), "address": service("lb.example"), "names": {"lb.example": True}}, ("False", "PublicAddress"), None),
        ({"workload": serving(), "address": service("lb.example"), "names": {"lb.example": None}}, ("True", "Available"), None),
        ({"address": service("10.8.0.4")}, ("Unknown", "Reconciling"), ("Reconciling", "Progressing")),
        ({"workload": deployment(), "address": service("10.8.0.4")}, ("False", "RollingOut"), ("Reconciling", "Progressing")),
        ({"condition": applied("False", Reason.NAME_CONFLICT, "x")}, ("False", "NameConflict"), ("Stalled", "NameConflict")),
        ({"condition": applied("False", Reason.FORBIDDEN, "x")}, ("False", "Forbidden"), ("Stalled", "Forbidden")),
        ({"condition": applied("False", Reason.REJECTED, "x")}, ("False", "Rejected"), ("Stalled", "Rejected")),
        ({"condition": applied("False", Reason.APPLY_FAILED, "x")}, ("False", "ApplyFailed"), ("Reconciling", "ProgressingWithRetry")),
        (
            {"condition": applied("False", Reason.INVALID_SPEC, "x"), "parsed": False, "workload": serving()},
            ("False", "InvalidSpec"),
            ("Stalled", "InvalidSpec"),
        ),
        (
            {
                "workload": deployment(conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]),
                "address": service("10.8.0.4"),
            },
            ("False", "ProgressDeadlineExceeded"),
            ("Stalled", "ProgressDeadlineExceeded"),
        ),
    ],
)
def test_the_summary_is_the_first_part_that_fails_under_its_own_reason(case, ready, extra):
    found = conditions(build(body(), **case))
    assert found["Ready"] == ready
    abnormal = {key: value[1] for key, value in found.items() if key in ("Reconciling", "Stalled")}
    assert abnormal == (dict([extra]) if extra else {})


def test_no_address_of_several_may_be_public():
    balanced = service("10.8.0.4")
    balanced["status"]["loadBalancer"]["ingress"] += [{"hostname": "lb.example"}, {"ip": "2600:1900::7"}]
    found = build(body(), workload=serving(), address=balanced, names={"lb.example": False})
    assert conditions(found)["Ready"] == ("False", "PublicAddress")
    assert "2600:1900::7" in next(item["message"] for item in found["conditions"] if item["type"] == "Ready")
    assert conditions(build(body(), workload=serving(), address=balanced, names={"lb.example": True}))["Ready"] == (
        "False",
        "PublicAddress",
    )
    meant = build(body(service={"allowPublicAddress": True}), workload=serving(), address=balanced, names={"lb.example": False})
    assert (meant["address"], conditions(meant)["Ready"]) == ("10.8.0.4", ("True", "Available"))


def test_suspended_and_scaled_to_zero():
    zero = deployment(wanted=0)
    assert conditions(build(body(suspend=True), workload=zero, address=service("10.8.0.4")))["Ready"] == ("False", "Suspended")
    found = conditions(build(body(replicas=0), workload=zero, address=service("10.8.0.4")))
    assert found["Ready"] == found["WorkloadAvailable"] == ("False", "ScaledToZero")
    assert not {"Reconciling", "Stalled"} & set(found)


def test_paused_ready_goes_on_and_the_generation_is_the_one_before():
    paused = applied("Unknown", Reason.PAUSED, "x")
    before = {**build(body(), workload=serving(), address=service("10.8.0.4")), "observedGeneration": 2}
    found = build(body(status=before), workload=serving(), address=service("10.8.0.4"), condition=paused)
    assert conditions(found)["Ready"] == ("True", "Available")
    assert conditions(found)["Applied"] == ("Unknown", "Paused")
    assert found["observedGeneration"] == 2


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_paused_the_status_tells_what_is_served_not_what_is_written(kind):
    """While paused the spec may change: senders still meet the AE title, port and image of the generation before."""
    before = build(body(service={"type": kind}), workload=serving(), address=service("10.8.0.4"))
    changed = body(status={**before, "observedGeneration": 2}, aeTitle="OTHER", port=104, replicas=3, suspend=True, service={"type": kind})
    found = build(changed, workload=serving(), address=service("10.8.0.4"), condition=applied("Unknown", Reason.PAUSED, "x"))
    assert conditions(found)["Ready"] == ("True", "Available")
    for name in ("address", "port", "endpoint", "replicasSummary", "adapterImage"):
        assert found.get(name) == before.get(name), name
    message = next(item["message"] for item in found["conditions"] if item["type"] == "Ready")
    assert (
        message
        == {"LoadBalancer": "images can be sent to GATE@10.8.0.4:11112", "NodePort": "it is reached at port 30123 of every node"}[kind]
    )


def test_an_address_that_another_version_told_is_no_error():
    told = {"type": "AddressAssigned", "status": "True", "reason": "SomethingNew", "message": "x"}
    invalid = applied("False", Reason.INVALID_SPEC, "x")
    found = build(body(status={"conditions": [told]}), workload=serving(), condition=invalid, parsed=False)
    assert conditions(found)["AddressAssigned"] == ("Unknown", "NotObserved")


def test_a_spec_that_cannot_be_read_keeps_the_address():
    before = build(body(), workload=serving(), address=service("10.8.0.4"))
    invalid = applied("False", Reason.INVALID_SPEC, "x")
    after = build(body(status=before), workload=serving(), address=service("10.8.0.4"), condition=invalid, parsed=False)
    assert after["endpoint"] == before["endpoint"]
    assert conditions(after)["AddressAssigned"] == ("True", "Assigned")


def test_the_same_observation_makes_the_same_status():
    first = build(body(), workload=serving(), address=service("10.8.0.4"))
    assert build(body(status=first), workload=serving(), address=service("10.8.0.4")) == first


def test_transition_times_move_only_with_the_status():
    old = [{"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z", "reason": "RollingOut", "message": "a"}]
    same = Condition(ConditionType.READY, "False", Reason.ADDRESS_PENDING, "b")
    other = Condition(ConditionType.READY, "True", Reason.AVAILABLE, "b")
    assert render([same], old, 1, "now")[0]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert render([other], old, 1, "now")[0]["lastTransitionTime"] == "now"


# The workload ----------------------------------------------------------------------------------------------------------


def available(deployment_body: dict[str, Any], *pods: dict[str, Any], wanted: int = 1, reports: dict[str, PodReport] | None = None):
    found = workload.available(wanted, deployment_body, pods, reports or {})
    return str(found.reason), found.message


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        (deployment(), 1, ("RollingOut", "0 of 1 replica is ready; waiting for the pods")),
        (
            deployment(wanted=3, replicas=3, updatedReplicas=3, readyReplicas=2, availableReplicas=2),
            3,
            ("RollingOut", "2 of 3 replicas are ready; waiting for the pods"),
        ),
        (
            deployment(generation=2, replicas=1, updatedReplicas=1, readyReplicas=1, availableReplicas=1),
            1,
            ("RollingOut", "the new replicas are starting; the old ones serve until they are ready"),
        ),
        (
            deployment(replicas=2, updatedReplicas=1, readyReplicas=2, availableReplicas=2),
            1,
            ("RollingOut", "the new replicas are ready; the old ones finish their associations"),
        ),
        (
            deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota: team'}]),
            1,
            ("ReplicaFailure", 'pods "x" is forbidden: exceeded quota: team'),
        ),
        (
            deployment(conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]),
            1,
            (
                "ProgressDeadlineExceeded",
                "the new pods did not become ready within 300 s; `kubectl describe pods` and `kubectl logs` show why",
            ),
        ),
        (serving(2), 2, ("MinimumReplicasAvailable", "2 of 2 replicas are ready")),
    ],
)
def test_what_the_deployment_says(found, wanted, expected):
    assert available(found, *counted(found), wanted=wanted) == expected


def test_a_deployment_that_still_counts_pods_of_before_is_not_believed():
    """Scaled to zero and up again: of the new generation it says at first what its ReplicaSet has counted of the old one."""
    assert available(serving()) == ("RollingOut", "0 of 1 replica is ready; waiting for the pods")
    assert available(serving(), pod()) == ("RollingOut", "0 of 1 replica is ready; waiting for the pods")
    assert available(serving(2), *ready_pods(), wanted=2) == ("RollingOut", "1 of 2 replicas are ready; waiting for the pods")
    assert available({**serving(), "kind": "StatefulSet"}, *ready_pods())[0] == "RollingOut"  # of the Deployment beside it


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(state={"waiting": {"reason": reason, "message": message}})


def ended(code: int, **more: Any) -> dict[str, Any]:
    return container(
        restartCount=1, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"exitCode": code, **more}}
    )


POD = "pod ct-east-7c9-x"
IMAGE = "ghcr.io/acme/dicom-adapter:0.1.0"
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/5 nodes are available: taint"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (waiting("ErrImagePull", "not found"), ("ImagePullFailed", f"{POD}: image '{IMAGE}': not found")),
        (waiting("ImagePullBackOff"), ("ImagePullFailed", f"{POD}: image '{IMAGE}': cannot be pulled")),
        (ended(2, message="a\nthe last\n\n"), ("CrashLooping", f"{POD} ended with exit 2; its last line: the last")),
        (
            ended(1),
            ("CrashLooping", f"{POD} ended with exit 1 and said nothing; `kubectl logs --previous ct-east-7c9-x` may show more"),
        ),
        (
            ended(137, reason="OOMKilled"),
            ("OutOfMemory", f"{POD} was killed at its memory limit of 1Gi: raise spec.resources or lower spec.limits.maxAssociations"),
        ),
        ({"conditions": [UNSCHEDULABLE]}, ("Unschedulable", "0/5 nodes are available: taint")),
        (
            waiting("CreateContainerConfigError", "no such key"),
            ("RollingOut", f"0 of 1 replica is ready; {POD}: CreateContainerConfigError: no such key"),
        ),
        (waiting("ContainerCreating"), ("RollingOut", "0 of 1 replica is ready; waiting for the pods")),
    ],
)
def test_what_a_pod_says(state, expected):
    assert available(deployment(), pod(**state)) == expected


def test_a_container_that_ended_before_and_is_ready_now_is_fine():
    state = container(ready=True, lastState={"terminated": {"exitCode": 1}})
    assert available(deployment(), pod(**state))[0] == "RollingOut"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'Back-off pulling image "{IMAGE}"', "cannot be pulled"),
        (f'Back-off pulling image "{IMAGE}": ErrImagePull: rpc error: code = NotFound desc = {IMAGE}: not found', "not found"),
        (f'rpc error: code = Unknown desc = failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": 401', "401"),
        (f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found', "not found"),
    ],
)
def test_the_two_texts_of_the_kubelet_become_one(text, expected):
    assert workload.pull_failure(text) == expected


def report(store: str = "Reachable", *, ready: bool = True, reason: str = "Ready", message: str = "") -> PodReport:
    return PodReport(ready, reason, message, store, f"store {store}")


def test_what_the_adapter_says_of_itself():
    one = pod()
    missing = report(ready=False, reason="SecretMissing", message="Secret 'gcs-key' does not exist in namespace 'rad'")
    assert available(deployment(), one, reports={"ct-east-7c9-x": missing}) == ("SecretMissing", missing.message)
    draining = report(ready=False, reason="CredentialsUnavailable", message="no token yet")
    found = available(deployment(), one, reports={"ct-east-7c9-x": draining})
    assert found == ("RollingOut", "0 of 1 replica is ready; no token yet")


def test_what_a_pod_said_stands_until_it_was_asked_again():
    """A restarted operator knows no answers: without this each adapter that is not ready would be written twice."""
    parts: dict[str, Any] = {"workload": deployment(), "address": service("10.8.0.4"), "pods": [pod(podIP="10.0.0.1", conditions=[READY])]}
    missing = report(ready=False, reason="SecretMissing", message="Secret 'gcs-key' does not exist in namespace 'rad'")
    before = build(body(), **parts, reports={"ct-east-7c9-x": missing})
    assert build(body(status=before), **parts) == before
    asked = build(body(status=before), **parts, reports={"ct-east-7c9-x": None})
    assert conditions(asked)["WorkloadAvailable"] == ("False", "RollingOut")
    serves = build(body(status=before), **{**parts, "workload": serving()})
    assert conditions(serves)["WorkloadAvailable"] == ("True", "MinimumReplicasAvailable")
    changed = body(status=before)
    changed["metadata"]["generation"] += 1
    assert conditions(build(changed, **parts))["WorkloadAvailable"] == ("False", "RollingOut")


def test_the_store_is_what_the_worst_pod_says_and_never_gates_ready():
    pods = [pod("ct-east-7c9-a", conditions=[READY]), pod("ct-east-7c9-b", conditions=[READY])]
    good: dict[str, Any] = {"workload": serving(2), "address": service("10.8.0.4"), "pods": pods}
    assert "StoreReachable" not in conditions(build(body(replicas=2), **good))
    first = build(body(replicas=2), **good, reports={"ct-east-7c9-a": report(), "ct-east-7c9-b": report("Unauthorized")})
    assert conditions(first)["StoreReachable"] == ("False", "Unauthorized")
    assert conditions(first)["Ready"] == ("True", "Available")
    silent = build(body(replicas=2, status=first), **good)
    assert conditions(silent)["StoreReachable"] == ("Unknown", "NotProbed")
    addressed = {**good, "pods": [pod("ct-east-7c9-a", podIP="10.0.0.1"), pod("ct-east-7c9-b", podIP="10.0.0.2")]}
    restarted = build(body(replicas=2, status=first), **addressed)  # nobody has been asked yet
    assert conditions(restarted)["StoreReachable"] == ("False", "Unauthorized")
    deaf = build(body(replicas=2, status=first), **addressed, reports={"ct-east-7c9-a": None, "ct-east-7c9-b": None})
    assert conditions(deaf)["StoreReachable"] == ("Unknown", "NotProbed")
    assert conditions(build(body(replicas=2), **good, reports={"ct-east-7c9-a": report("Nonsense")})).get("StoreReachable") is None


# Observing -------------------------------------------------------------------------------------------------------------


def test_pods_of_a_deployment_newest_first():
    old, new = pod("ct-east-7c9-a"), pod("ct-east-8d1-b", created="2026-02-01T00:00:00Z")
    leaving = pod("ct-east-7c9-c")
    leaving["metadata"]["deletionTimestamp"] = "2026-02-01T00:00:00Z"
    other = pod("ct-east-2-7c9-d")
    evicted = pod("ct-east-7c9-e", phase="Failed", reason="Evicted")  # it stays listed, but never runs again
    assert pods_of([old, leaving, other, evicted, new], "ct-east") == [new, old]


def test_whose_an_object_is():
    owner = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter", "name": "a", "uid": "u", "controller": True}
    labels = {"app.kubernetes.io/managed-by": "dicom-operator", "app.kubernetes.io/instance": "b"}
    owned = {"metadata": {"namespace": "rad", "ownerReferences": [owner], "labels": labels}}
    assert is_ours(owned, "u")
    assert not is_ours(owned, "other")
    assert owner_key(owned) == Key("rad", "a")
    assert owner_key({"metadata": {"namespace": "rad", "labels": labels}}) == Key("rad", "b")
    assert owner_key({"metadata": {"namespace": "rad", "ownerReferences": [{**owner, "controller": False}]}}) is None
    assert not is_ours({"metadata": {"ownerReferences": [{**owner, "controller": False}]}}, "u")

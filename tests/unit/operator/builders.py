"""Documents for the tests of the operator's pure parts."""

from __future__ import annotations

from typing import Any

from dicom_operator.api import Reason
from dicom_operator.config import Config
from dicom_operator.model.adapter import DicomAdapter, parse
from dicom_operator.observed.backlog import Lane, SpoolReport
from dicom_operator.observed.objects import PodReport

CONFIG = Config(adapter_image="ghcr.io/acme/dicom-adapter:0.1.0", operator_namespace="dicom-system")
STORE = "https://pacs.hospital.example/dicom-web"
HEALTHCARE = "projects/p/locations/europe-west4/datasets/d/dicomStores/s"


def body(annotations: dict[str, str] | None = None, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A DicomAdapter as the API server holds it; None takes a field away."""
    merged = {"aeTitle": "GATE", "dicomStore": STORE, **spec}
    return {
        "apiVersion": "dicomadapter.io/v1alpha1",
        "kind": "DicomAdapter",
        "metadata": {
            "name": "ct-east",
            "namespace": "rad",
            "uid": "uid-1",
            "generation": 3,
            "resourceVersion": "10",
            "annotations": annotations or {},
        },
        "spec": {key: value for key, value in merged.items() if value is not None},
        "status": status or {},
    }


def adapter(**spec: Any) -> DicomAdapter:
    return parse(body(**spec))


def deployment(*, wanted: int = 1, generation: int = 1, conditions: list[Any] | None = None, **status: int) -> dict[str, Any]:
    """A Deployment whose controller has seen generation 1, with that many replicas in each state."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "ct-east", "namespace": "rad", "generation": generation},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": 1, "conditions": conditions or [], **status},
    }


def serving(count: int = 1) -> dict[str, Any]:
    """A Deployment that is rolled out."""
    return deployment(wanted=count, replicas=count, readyReplicas=count, updatedReplicas=count, availableReplicas=count)


SPOOL: dict[str, Any] = {"delivery": {"acknowledge": "AfterSpool"}, "spool": {"persistent": {"size": "20Gi"}}}
"""The fields of an adapter with a spool."""


def stateful(*, wanted: int = 1, replicas: int | None = None, ready: int | None = None) -> dict[str, Any]:
    """A StatefulSet that is rolled out, or has so many pods."""
    total = wanted if replicas is None else replicas
    up = total if ready is None else ready
    found = deployment(wanted=wanted, replicas=total, updatedReplicas=total, readyReplicas=up, availableReplicas=up)
    return {**found, "kind": "StatefulSet"}


def claim(number: int = 0, phase: str = "Bound", name: str = "ct-east", **labels: str) -> dict[str, Any]:
    """The volume claim of a pod."""
    marks = {"app.kubernetes.io/instance": name, **labels}
    metadata = {"name": f"spool-{name}-{number}", "namespace": "rad", "labels": marks, "resourceVersion": "1"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "status": {"phase": phase}}


def spooled(number: int = 0, config_hash: str = "") -> dict[str, Any]:
    """A pod of the StatefulSet `ct-east`."""
    found = pod(f"ct-east-{number}", podIP="10.0.0.1", conditions=[READY])
    found["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "name": "ct-east", "controller": True, "uid": "sts"}]
    found["metadata"]["annotations"] = {"dicomadapter.io/config-hash": config_hash}
    return found


def report(instances: int = 0, *, failed: int = 0, closed: bool = False, generation: int = 3, reason: str = "Delivering") -> PodReport:
    """What a pod with a spool says."""
    lanes = (Lane("dicomStore", instances, failed), Lane("archive", 0, 0))
    oldest = "2026-11-23T10:00:00Z" if instances else ""
    spool = SpoolReport(Reason(reason), f"it is {reason}", oldest, lanes, generation, closed)
    return PodReport(not closed, "Ready", "it receives", "Reachable", "the store answers", spool)


def service(address: str = "", **spec: Any) -> dict[str, Any]:
    """The Service, with the address that its load balancer gave."""
    kind = "ip" if address[-1:].isdigit() or ":" in address else "hostname"
    ingress = [{kind: address}] if address else []
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "ct-east", "namespace": "rad"},
        "spec": {"ports": [{"port": 11112, "nodePort": 30123}], **spec},
        "status": {"loadBalancer": {"ingress": ingress}},
    }


def pod(name: str = "ct-east-7c9-x", *, created: str = "2026-01-01T00:00:00Z", uid: str = "", **status: Any) -> dict[str, Any]:
    """A pod of the Deployment `ct-east`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "rad",
            "uid": uid or name,
            "creationTimestamp": created,
            "labels": {"app.kubernetes.io/instance": "ct-east"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": name.rpartition("-")[0], "controller": True, "uid": "rs"}],
        },
        "spec": {
            "containers": [{"name": "adapter", "image": "ghcr.io/acme/dicom-adapter:0.1.0", "resources": {"limits": {"memory": "1Gi"}}}]
        },
        "status": status,
    }


READY = {"type": "Ready", "status": "True"}


def ready_pods(count: int = 1) -> list[dict[str, Any]]:
    """So many pods of the Deployment `ct-east`, all of them ready."""
    return [pod(f"ct-east-7c9-{number}", conditions=[READY]) for number in range(count)]


def container(**status: Any) -> dict[str, Any]:
    """`status.containerStatuses` of a pod."""
    return {"containerStatuses": [{"name": "adapter", "ready": False, "restartCount": 0, "state": {}, **status}]}

"""What a DicomAdapter becomes: its children as documents to apply. Pure: the same adapter and settings give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_operator import api
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model.adapter import DicomAdapter
from dicom_operator.render import loadbalancer
from dicom_operator.render.meta import child as frame
from dicom_operator.render.meta import labels, selector
from dicom_operator.render.network import network_policy
from dicom_operator.render.pod import SPOOL_FLAGS, Process, config_argument, pod_template
from dicom_operator.render.workload import (
    adapter_image,
    config_hash,
    configuration,
    deployment,
    disruption_budget,
    sealed,
    service_account,
)
from dicom_operator.spec.spool import Claim


@dataclass(frozen=True, slots=True)
class Plan:
    """The workloads to apply, and those to leave alone."""

    deployment: bool
    stateful: int | None = None
    """Replicas of the StatefulSet; None: it is not applied."""
    kept: frozenset[tuple[str, str]] = frozenset()
    """Kind and name of what is not applied, and not pruned yet either."""
    waits: str = ""
    """What has to happen before less is there."""


def lasting(adapter: DicomAdapter) -> Plan:
    """The workload of a spec, when nothing else is there."""
    return Plan(deployment=False, stateful=adapter.replicas) if adapter.spools else Plan(deployment=True)


def desired(adapter: DicomAdapter, config: Config, families: Iterable[str] = (), plan: Plan | None = None) -> list[Json]:
    """Every child that should exist, in the order in which it is applied.

    What a pod needs comes before the pods. `families` are the IP families of the Service, as far as it exists.
    """
    plan = plan or lasting(adapter)
    children = [
        service_account(adapter),
        config_map(adapter, orders=plan.stateful is not None),
        *([deployment(adapter, config, _process(spool=False))] if plan.deployment else ()),
        *([stateful_set(adapter, config, plan.stateful)] if plan.stateful is not None else ()),
        dicom_service(adapter, families),
        http_service(adapter),
        network_policy(adapter, config),
    ]
    if adapter.replicas > 1:
        children.append(disruption_budget(adapter))
    return sealed(children)


def config_map(adapter: DicomAdapter, *, orders: bool = False) -> Json:
    """What the adapter reads and nothing else, so that scaling rolls no pod.

    With orders for pods that have a spool: they heed them without a restart, and say which ones they have seen.
    """
    child = configuration(adapter)
    if orders:
        receiving = adapter.replicas if adapter.spools else None
        wanted = {"generation": adapter.generation, "replicas": receiving, "suspend": adapter.suspend}
        child["data"][api.ORDERS_KEY] = json.dumps(wanted, sort_keys=True) + "\n"
    return child


def _process(*, spool: bool) -> Process:
    """What runs in a pod; the volume of a spool comes from the StatefulSet's claim template."""
    return Process(
        args=("import", config_argument(api.ADAPTER.kind), *(SPOOL_FLAGS if spool else ())),
        ports=(("dicom", api.DICOM_PORT), ("http", api.HTTP_PORT)),
        mounts=({"name": api.SPOOL, "mountPath": api.SPOOL_DIRECTORY},) if spool else (),
        owns_volume=spool,
    )


def stateful_set(adapter: DicomAdapter, config: Config, replicas: int) -> Json:
    """The pods with a spool, each with a volume of its own that outlives it, the StatefulSet and the DicomAdapter.

    In parallel: they need not each other, and a broken pod does not keep its successor from being tried.
    """
    child = frame(api.STATEFUL_SET, adapter, adapter.key.name)
    child["spec"] = {
        "replicas": replicas,
        "selector": {"matchLabels": selector(adapter.key)},
        "serviceName": f"{adapter.key.name}-http",
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "revisionHistoryLimit": 3,
        "template": pod_template(adapter, adapter_image(adapter, config), config_hash(adapter), _process(spool=True)),
        **({"volumeClaimTemplates": [claim_template(adapter, adapter.claim)]} if adapter.claim else {}),
    }
    return child


def claim_template(adapter: DicomAdapter, claim: Claim) -> Json:
    """The claim of each pod."""
    spec: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": claim.size}}}
    if claim.storage_class_name is not None:
        spec["storageClassName"] = claim.storage_class_name
    return {
        "apiVersion": api.CLAIM.api_version,
        "kind": api.CLAIM.kind,
        "metadata": {"name": api.SPOOL, "labels": labels(adapter.key)},
        "spec": spec,
    }


def dicom_service(adapter: DicomAdapter, families: Iterable[str] = ()) -> Json:
    """Where senders connect: the DICOM port and nothing else."""
    wanted = adapter.service
    child = frame(api.SERVICE, adapter, adapter.key.name)
    if annotations := loadbalancer.service_annotations(wanted):
        child["metadata"]["annotations"] = annotations
    spec: Json = {
        "type": wanted.type,
        "selector": selector(adapter.key),
        "ipFamilyPolicy": wanted.ip_family_policy,
        "ports": [{"name": "dicom", "port": adapter.port, "targetPort": "dicom", "protocol": "TCP"}],
    }
    if wanted.type != "ClusterIP":
        spec["externalTrafficPolicy"] = wanted.external_traffic_policy
    if wanted.type == "LoadBalancer":
        spec["loadBalancerSourceRanges"] = loadbalancer.source_ranges(wanted.source_ranges, families)
        if wanted.load_balancer_class:
            spec["loadBalancerClass"] = wanted.load_balancer_class
    child["spec"] = spec
    return child


def http_service(adapter: DicomAdapter) -> Json:
    """Metrics and status inside the cluster: HTTP never rides on the load balancer."""
    child = frame(api.SERVICE, adapter, f"{adapter.key.name}-http")
    child["spec"] = {
        "type": "ClusterIP",
        "selector": selector(adapter.key),
        "ports": [{"name": "http", "port": api.HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
    }
    return child

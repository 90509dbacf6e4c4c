"""What a DicomAdapter becomes: its children as documents to apply. Pure: the same adapter and settings give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable

from dicom_operator import api, loadbalancer
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model import DicomAdapter
from dicom_operator.render_meta import child as frame
from dicom_operator.render_meta import digest, selector
from dicom_operator.render_network import network_policy
from dicom_operator.render_pod import pod_template

PROGRESS_DEADLINE_SECONDS = 300


def desired(adapter: DicomAdapter, config: Config, families: Iterable[str] = ()) -> list[Json]:
    """Every child that should exist, in the order in which it is applied.

    What a pod needs comes before the Deployment. `families` are the IP families of the Service, as far as it exists.
    """
    configuration = config_map(adapter)
    children = [
        service_account(adapter),
        configuration,
        deployment(adapter, config, digest(configuration["data"])),
        dicom_service(adapter, families),
        http_service(adapter),
        network_policy(adapter, config),
    ]
    if adapter.replicas > 1:
        children.append(disruption_budget(adapter))
    for child in children:
        child["metadata"].setdefault("annotations", {})[api.APPLIED_HASH_ANNOTATION] = digest(child)
    return children


def adapter_image(adapter: DicomAdapter, config: Config) -> str:
    """The image that the pods run."""
    return adapter.pod.image or config.adapter_image


def service_account(adapter: DicomAdapter) -> Json:
    """An identity for the cloud (workload identity); it has no right in Kubernetes."""
    child = frame(api.SERVICE_ACCOUNT, adapter, adapter.pod.service_account_name, adapter.pod.service_account_labels)
    if adapter.pod.service_account_annotations:
        child["metadata"]["annotations"] = dict(adapter.pod.service_account_annotations)
    child["automountServiceAccountToken"] = False
    return child


def config_map(adapter: DicomAdapter) -> Json:
    """The adapter's configuration: a document with what the adapter reads and nothing else, so that scaling rolls no pod."""
    document = {
        "apiVersion": api.ADAPTER.api_version,
        "kind": api.ADAPTER.kind,
        "metadata": {"name": adapter.key.name, "namespace": adapter.key.namespace},
        "spec": adapter.adapter_spec,
    }
    child = frame(api.CONFIG_MAP, adapter, adapter.key.name)
    child["data"] = {api.CONFIG_KEY: json.dumps(document, indent=2, sort_keys=True) + "\n"}
    return child


def deployment(adapter: DicomAdapter, config: Config, config_hash: str) -> Json:
    """The pods. A new pod is ready before an old one goes, and drains before it ends: no sender meets a closed door."""
    child = frame(api.DEPLOYMENT, adapter, adapter.key.name)
    child["spec"] = {
        "replicas": adapter.wanted_replicas,
        "selector": {"matchLabels": selector(adapter)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": 3,
        "template": pod_template(adapter, adapter_image(adapter, config), config_hash),
    }
    return child


def dicom_service(adapter: DicomAdapter, families: Iterable[str] = ()) -> Json:
    """Where senders connect: the DICOM port and nothing else."""
    wanted = adapter.service
    child = frame(api.SERVICE, adapter, adapter.key.name)
    if annotations := loadbalancer.service_annotations(wanted):
        child["metadata"]["annotations"] = annotations
    spec: Json = {
        "type": wanted.type,
        "selector": selector(adapter),
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
        "selector": selector(adapter),
        "ports": [{"name": "http", "port": api.HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
    }
    return child


def disruption_budget(adapter: DicomAdapter) -> Json:
    """Node drains take one replica at a time; with a single replica it would block them for ever."""
    child = frame(api.DISRUPTION_BUDGET, adapter, adapter.key.name)
    child["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": selector(adapter)}}
    return child

"""What adapters and exporters become alike: an identity, a configuration, pods. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

from dicom_operator import api
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model.managed import Managed
from dicom_operator.render.meta import child as frame
from dicom_operator.render.meta import digest, selector
from dicom_operator.render.pod import Process, pod_template

PROGRESS_DEADLINE_SECONDS = 300
ROLLING: Json = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def sealed(children: Sequence[Json]) -> list[Json]:
    """Each with the hash of what it is."""
    for child in children:
        child["metadata"].setdefault("annotations", {})[api.APPLIED_HASH_ANNOTATION] = digest(child)
    return list(children)


def adapter_image(owner: Managed, config: Config) -> str:
    """The image that the pods run."""
    return owner.pod.image or config.adapter_image


def service_account(owner: Managed) -> Json:
    """An identity for the cloud (workload identity); it has no right in Kubernetes."""
    child = frame(api.SERVICE_ACCOUNT, owner, owner.pod.service_account_name, owner.pod.service_account_labels)
    if owner.pod.service_account_annotations:
        child["metadata"]["annotations"] = dict(owner.pod.service_account_annotations)
    child["automountServiceAccountToken"] = False
    return child


def configuration(owner: Managed) -> Json:
    """The ConfigMap with what the pods read and nothing else, so that scaling rolls no pod."""
    child = frame(api.CONFIG_MAP, owner, owner.key.name)
    child["data"] = {api.CONFIG_KEYS[owner.key.kind]: _document(owner)}
    return child


def config_hash(owner: Managed) -> str:
    """Rolls the pods when it changes."""
    return digest({api.CONFIG_KEYS[owner.key.kind]: _document(owner)})


def _document(owner: Managed) -> str:
    document = {
        "apiVersion": owner.key.resource.api_version,
        "kind": owner.key.kind,
        "metadata": {"name": owner.key.name, "namespace": owner.key.namespace},
        "spec": owner.pod_spec,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def deployment(owner: Managed, config: Config, process: Process, strategy: Json = ROLLING) -> Json:
    """The pods. By default a new pod is ready before an old one goes, and drains before it ends: no sender meets a closed door."""
    child = frame(api.DEPLOYMENT, owner, owner.key.name)
    child["spec"] = {
        "replicas": owner.wanted_replicas,
        "selector": {"matchLabels": selector(owner.key)},
        "strategy": copy.deepcopy(strategy),
        "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
        "revisionHistoryLimit": 3,
        "template": pod_template(owner, adapter_image(owner, config), config_hash(owner), process),
    }
    return child


def disruption_budget(owner: Managed) -> Json:
    """Node drains take one replica at a time; with a single replica it would block them for ever."""
    child = frame(api.DISRUPTION_BUDGET, owner, owner.key.name)
    child["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": selector(owner.key)}}
    return child

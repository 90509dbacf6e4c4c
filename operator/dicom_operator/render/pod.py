"""The pod of an adapter or exporter. Pure."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from dicom_operator import api
from dicom_operator.api import Json
from dicom_operator.model.managed import Managed
from dicom_operator.quantity import parse_quantity
from dicom_operator.render.meta import labels, selector

DEFAULT_RESOURCES: Json = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


SPOOL_FLAGS = (f"--spool_directory={api.SPOOL_DIRECTORY}", f"--orders={api.MOUNTS}/config/{api.ORDERS_KEY}")
GROUP_ID = 65532
"""The group that the volume of a spool is given to: that of the image's user."""


@dataclass(frozen=True, slots=True)
class Process:
    """What runs in a pod."""

    args: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    """Names and numbers."""
    mounts: tuple[Json, ...] = ()
    """What is mounted beside the configuration, Secrets and ConfigMaps."""
    volumes: tuple[Json, ...] = ()
    """Where that comes from."""
    owns_volume: bool = False
    """Whether a volume is given to the group of the image's user."""


def config_argument(kind: str) -> str:
    """The flag that names the configuration."""
    return f"--config={api.MOUNTS}/config/{api.CONFIG_KEYS[kind]}"


def pod_template(owner: Managed, image: str, config_hash: str, process: Process) -> Json:
    """The template of the pods: any change of it rolls them, so nothing that need not roll them is in it."""
    overrides = owner.pod
    spec: Json = {
        "serviceAccountName": overrides.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": owner.termination_grace_seconds,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(owner, image, process)],
        "volumes": [*_volumes(owner), *process.volumes],
        "topologySpreadConstraints": _spread(owner),
    }
    if process.owns_volume:
        spec["securityContext"] |= {"fsGroup": GROUP_ID, "fsGroupChangePolicy": "OnRootMismatch"}
    if overrides.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in overrides.image_pull_secrets]
    if overrides.node_selector:
        spec["nodeSelector"] = dict(overrides.node_selector)
    if overrides.tolerations:
        spec["tolerations"] = copy.deepcopy(overrides.tolerations)
    if overrides.affinity:
        spec["affinity"] = copy.deepcopy(overrides.affinity)
    if overrides.priority_class_name:
        spec["priorityClassName"] = overrides.priority_class_name
    return {
        "metadata": {
            "labels": {**overrides.labels, **labels(owner.key)},
            "annotations": {**overrides.annotations, api.CONFIG_HASH_ANNOTATION: config_hash},
        },
        "spec": spec,
    }


def resources(owner: Managed) -> Json:
    """Requests and limits: the user's, each kind defaulted by itself; a default never puts a request above its limit."""
    own = owner.pod.resources or {}
    result: Json = {
        kind: {name: str(value) for name, value in (own.get(kind) or default).items()} for kind, default in DEFAULT_RESOURCES.items()
    }
    requests, limits = result["requests"], result["limits"]
    for name in requests.keys() & limits.keys():
        if parse_quantity(requests[name]) > parse_quantity(limits[name]):
            if not own.get("limits"):
                limits[name] = requests[name]
            elif not own.get("requests"):
                requests[name] = limits[name]
    return result


def _container(owner: Managed, image: str, process: Process) -> Json:
    return {
        "name": api.CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(process.args),
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in process.ports],
        # HTTP on a port of its own: a TCP probe of the DICOM port would log a bogus association every period.
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "resources": resources(owner),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",  # the last error line reaches the pod's status, and so the condition
        "volumeMounts": [
            {"name": "config", "mountPath": f"{api.MOUNTS}/config", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the pod
            *process.mounts,
            *(
                {"name": f"secret-{i}", "mountPath": f"{api.MOUNTS}/secrets/{name}", "readOnly": True}
                for i, name in enumerate(owner.secrets)
            ),
            *(
                {"name": f"configmap-{i}", "mountPath": f"{api.MOUNTS}/configmaps/{name}", "readOnly": True}
                for i, name in enumerate(owner.config_maps)
            ),
        ],
    }


def _volumes(owner: Managed) -> list[Json]:
    # Optional: without its Secret the adapter starts, stays unready and says which Secret and key are missing.
    return [
        {"name": "config", "configMap": {"name": owner.key.name}},
        {"name": "tmp", "emptyDir": {}},
        *({"name": f"secret-{i}", "secret": {"secretName": name, "optional": True}} for i, name in enumerate(owner.secrets)),
        *({"name": f"configmap-{i}", "configMap": {"name": name, "optional": True}} for i, name in enumerate(owner.config_maps)),
    ]


def _spread(owner: Managed) -> list[Json]:
    """Softly over nodes and zones. For a single replica too: were it not there, scaling would change the template and roll the pods."""
    if owner.pod.topology_spread_constraints is not None:
        return copy.deepcopy(owner.pod.topology_spread_constraints)
    return [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": selector(owner.key)}}
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def _probe(path: str, *, period: int, failures: int) -> Json:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures}

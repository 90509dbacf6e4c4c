"""The pod of an adapter. Pure."""

from __future__ import annotations

import copy

from dicom_operator import api
from dicom_operator.api import Json
from dicom_operator.model import DicomAdapter
from dicom_operator.quantity import parse_quantity
from dicom_operator.render_meta import labels, selector

DEFAULT_RESOURCES: Json = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


SPOOL_FLAGS = (f"--spool_directory={api.SPOOL_DIRECTORY}", f"--orders={api.MOUNTS}/config/{api.ORDERS_KEY}")
GROUP_ID = 65532
"""The group that the volume of a spool is given to: that of the image's user."""


def pod_template(adapter: DicomAdapter, image: str, config_hash: str, *, spool: bool = False) -> Json:
    """The template of the pods: any change of it rolls them, so nothing that need not roll them is in it."""
    overrides = adapter.pod
    spec: Json = {
        "serviceAccountName": overrides.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": adapter.termination_grace_seconds,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(adapter, image, spool=spool)],
        "volumes": _volumes(adapter),
        "topologySpreadConstraints": _spread(adapter),
    }
    if spool:
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
            "labels": {**overrides.labels, **labels(adapter)},
            "annotations": {**overrides.annotations, api.CONFIG_HASH_ANNOTATION: config_hash},
        },
        "spec": spec,
    }


def resources(adapter: DicomAdapter) -> Json:
    """Requests and limits: the user's, each kind defaulted by itself; a default never puts a request above its limit."""
    own = adapter.pod.resources or {}
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


def _container(adapter: DicomAdapter, image: str, *, spool: bool) -> Json:
    return {
        "name": api.CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["import", f"--config={api.MOUNTS}/config/{api.CONFIG_KEY}", *(SPOOL_FLAGS if spool else ())],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": [
            {"name": "dicom", "containerPort": api.DICOM_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": api.HTTP_PORT, "protocol": "TCP"},
        ],
        # HTTP on a port of its own: a TCP probe of the DICOM port would log a bogus association every period.
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "resources": resources(adapter),
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
            *([{"name": api.SPOOL, "mountPath": api.SPOOL_DIRECTORY}] if spool else ()),
            *(
                {"name": f"secret-{i}", "mountPath": f"{api.MOUNTS}/secrets/{name}", "readOnly": True}
                for i, name in enumerate(adapter.secrets)
            ),
            *(
                {"name": f"configmap-{i}", "mountPath": f"{api.MOUNTS}/configmaps/{name}", "readOnly": True}
                for i, name in enumerate(adapter.config_maps)
            ),
        ],
    }


def _volumes(adapter: DicomAdapter) -> list[Json]:
    # Optional: without its Secret the adapter starts, stays unready and says which Secret and key are missing.
    return [
        {"name": "config", "configMap": {"name": adapter.key.name}},
        {"name": "tmp", "emptyDir": {}},
        *({"name": f"secret-{i}", "secret": {"secretName": name, "optional": True}} for i, name in enumerate(adapter.secrets)),
        *({"name": f"configmap-{i}", "configMap": {"name": name, "optional": True}} for i, name in enumerate(adapter.config_maps)),
    ]


def _spread(adapter: DicomAdapter) -> list[Json]:
    """Softly over nodes and zones. For a single replica too: were it not there, scaling would change the template and roll the pods."""
    if adapter.pod.topology_spread_constraints is not None:
        return copy.deepcopy(adapter.pod.topology_spread_constraints)
    return [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": selector(adapter)}}
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def _probe(path: str, *, period: int, failures: int) -> Json:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures}

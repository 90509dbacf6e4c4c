"""What all children have in common: names, labels, the owner. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from dicom_operator import api
from dicom_operator.api import Json, Resource
from dicom_operator.model import DicomAdapter


def labels(adapter: DicomAdapter) -> dict[str, str]:
    """Labels of every child and pod."""
    return {
        **selector(adapter),
        api.COMPONENT_LABEL: "adapter",
        api.PART_OF_LABEL: "dicom-operator",
        api.MANAGED_BY_LABEL: api.MANAGED_BY,
    }


def selector(adapter: DicomAdapter) -> dict[str, str]:
    """What selects the pods. A Deployment's selector is immutable: these two labels never change."""
    return {api.NAME_LABEL: api.APP_NAME, api.INSTANCE_LABEL: adapter.key.name}


def child(resource: Resource, adapter: DicomAdapter, name: str, more_labels: Mapping[str, str] | None = None) -> Json:
    """The frame of a child: the garbage collector deletes it when the adapter goes, which waits for it in a foreground deletion."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": adapter.key.namespace,
            "labels": {**(more_labels or {}), **labels(adapter)},
            "ownerReferences": [
                {
                    "apiVersion": api.ADAPTER.api_version,
                    "kind": api.ADAPTER.kind,
                    "name": adapter.key.name,
                    "uid": adapter.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }


def digest(value: object) -> str:
    """A short stable hash."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]

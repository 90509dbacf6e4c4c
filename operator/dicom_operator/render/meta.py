"""What all children have in common: names, labels, the owner. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from dicom_operator import api
from dicom_operator.api import Json, Key, Resource
from dicom_operator.model.managed import Managed


def labels(key: Key) -> dict[str, str]:
    """Labels of every child and pod."""
    return {
        **selector(key),
        api.COMPONENT_LABEL: api.COMPONENTS[key.kind],
        api.PART_OF_LABEL: "dicom-operator",
        api.MANAGED_BY_LABEL: api.MANAGED_BY,
    }


def selector(key: Key) -> dict[str, str]:
    """What selects the pods. A Deployment's selector is immutable: these labels never change."""
    own = {api.COMPONENT_LABEL: api.COMPONENTS[key.kind]} if key.kind == api.EXPORT.kind else {}
    return {api.NAME_LABEL: api.APP_NAME, api.INSTANCE_LABEL: key.name, **own}


def child(resource: Resource, owner: Managed, name: str, more_labels: Mapping[str, str] | None = None) -> Json:
    """The frame of a child: the garbage collector deletes it when its owner goes, which waits for it in a foreground deletion."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": owner.key.namespace,
            "labels": {**(more_labels or {}), **labels(owner.key)},
            "ownerReferences": [
                {
                    "apiVersion": owner.key.resource.api_version,
                    "kind": owner.key.kind,
                    "name": owner.key.name,
                    "uid": owner.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }


def digest(value: object) -> str:
    """A short stable hash."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]

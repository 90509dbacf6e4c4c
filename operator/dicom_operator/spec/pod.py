"""What the user sets on the pods, in Kubernetes' own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_operator.api import Json
from dicom_operator.spec.section import Section


@dataclass(frozen=True, slots=True)
class PodOverrides:
    """What the user sets on the pods, in Kubernetes' own words."""

    image: str
    image_pull_secrets: tuple[str, ...]
    resources: Json | None
    node_selector: Json
    tolerations: list[Json]
    affinity: Json
    topology_spread_constraints: list[Json] | None
    priority_class_name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account_name: str
    service_account_annotations: Mapping[str, str]
    service_account_labels: Mapping[str, str]


def pod_overrides(spec: Section, name: str) -> PodOverrides:
    """The pod fields of the spec; `name` is the resource's, the default of its service account."""
    account = spec.section("serviceAccount")
    resources = spec.value.get("resources")
    return PodOverrides(
        image=spec.text("image", ""),
        image_pull_secrets=tuple(item["name"] for item in spec.items("imagePullSecrets")),
        resources=dict(spec.section("resources").value) if resources else None,
        node_selector=dict(spec.strings("nodeSelector")),
        tolerations=spec.items("tolerations"),
        affinity=dict(spec.section("affinity").value),
        topology_spread_constraints=spec.items("topologySpreadConstraints") if spec.has("topologySpreadConstraints") else None,
        priority_class_name=spec.text("priorityClassName", ""),
        labels=spec.strings("podLabels"),
        annotations=spec.strings("podAnnotations"),
        service_account_name=account.text("name", "") or name,
        service_account_annotations=account.strings("annotations"),
        service_account_labels=account.strings("labels"),
    )

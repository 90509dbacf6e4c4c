"""What there is: an adapter's children and pods at one moment, and whose they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dicom_operator import api
from dicom_operator.api import Json, Key, Resource
from dicom_operator.observed.backlog import SpoolReport
from dicom_operator.observed.destinations import DestinationReport
from dicom_operator.observed.exporting import ExportReport

Ref = tuple[str, str]
"""Kind and name of a child."""


@dataclass(frozen=True, slots=True)
class PodReport:
    """What an adapter pod said of itself in `/status`."""

    ready: bool
    reason: str
    message: str
    store_reason: str
    store_message: str
    spool: SpoolReport | None = None
    destinations: tuple[DestinationReport, ...] = ()
    export: ExportReport | None = None
    """What an exporter says, which knows two sides and no store."""


@dataclass(slots=True)
class Observed:
    """The children that are there, the pods, and what the pods say."""

    children: dict[Ref, Json] = field(default_factory=dict)
    pods: list[Json] = field(default_factory=list)
    reports: Mapping[str, PodReport | None] = field(default_factory=dict)
    """By the uid of the pod; None: it was asked and gave no answer."""
    claims: list[Json] = field(default_factory=list)
    """The volume claims that were made for the adapter's pods."""

    @property
    def asked(self) -> bool:
        """Whether every pod that can be asked has been, since this process began to lead."""
        return all(pod["metadata"]["uid"] in self.reports for pod in self.pods if (pod.get("status") or {}).get("podIP"))

    @property
    def spools(self) -> list[SpoolReport]:
        """What the pods said of their spools."""
        reports = (self.reports.get(pod["metadata"]["uid"]) for pod in self.pods)
        return [report.spool for report in reports if report and report.spool]

    @property
    def exports(self) -> list[ExportReport]:
        """What the exporters said."""
        reports = (self.reports.get(pod["metadata"]["uid"]) for pod in self.pods)
        return [report.export for report in reports if report and report.export]

    def spool_of(self, name: str) -> SpoolReport | None:
        """What a pod said of its spool; None when it said nothing."""
        pod = self._pod(name)
        report = self.reports.get(pod["metadata"]["uid"]) if pod else None
        return report.spool if report else None

    def config_of(self, name: str) -> str:
        """The hash of the configuration that a pod was started with."""
        pod = self._pod(name)
        return str((pod["metadata"].get("annotations") or {}).get(api.CONFIG_HASH_ANNOTATION, "")) if pod else ""

    def may_hold_images(self, number: int) -> bool:
        """Whether the volume of a pod has ever been there."""
        return any(ordinal(claim) == number and (claim.get("status") or {}).get("phase") != "Pending" for claim in self.claims)

    def _pod(self, name: str) -> Json | None:
        return next((pod for pod in self.pods if pod["metadata"]["name"] == name), None)

    def child(self, resource: Resource, name: str) -> Json | None:
        """One child."""
        return self.children.get((resource.kind, name))


def ref(body: Json) -> Ref:
    """Kind and name."""
    return body["kind"], body["metadata"]["name"]


def controller(body: Json) -> Json:
    """The controlling owner (at most one, metav1.OwnerReference), or {}."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def is_ours(body: Json, uid: str) -> bool:
    """Whether the adapter with this uid controls the object."""
    return controller(body).get("uid") == uid


def controlling(body: Json) -> Key | None:
    """The DicomAdapter or DicomExport that controls an object; one of this name, perhaps an earlier one."""
    owner = controller(body)
    if owner.get("kind") in api.COMPONENTS and owner["apiVersion"].startswith(f"{api.GROUP}/"):
        return Key(body["metadata"]["namespace"], owner["name"], owner["kind"])
    return None


def owner_key(body: Json) -> Key | None:
    """What an object belongs to: its controller; else what its labels say, since somebody may have stripped the owner."""
    if key := controlling(body):
        return key
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    if labels.get(api.MANAGED_BY_LABEL) == api.MANAGED_BY and api.INSTANCE_LABEL in labels:
        kinds = (kind for kind, component in api.COMPONENTS.items() if labels.get(api.COMPONENT_LABEL) == component)
        return Key(metadata["namespace"], labels[api.INSTANCE_LABEL], next(kinds, api.ADAPTER.kind))
    return None


def ended(pod: Json) -> bool:
    """Whether a pod will never run again (evicted, its node shut down). It stays listed, and its address may be another's by now."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def of_kind(pods: Iterable[Json], kind: str) -> list[Json]:
    """Without those of the other kind, which may have the same name."""
    mine = api.COMPONENTS[kind]
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(api.COMPONENT_LABEL, mine) == mine]


def pods_of(pods: Iterable[Json], workload: str) -> list[Json]:
    """The living pods of a Deployment (a ReplicaSet named after it controls them) or StatefulSet of this name, newest first."""
    living = (pod for pod in pods if not ended(pod) and not pod["metadata"].get("deletionTimestamp"))
    own = [pod for pod in living if workload in (_replica_set(pod).rpartition("-")[0], _stateful_set(pod))]
    return sorted(own, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]), reverse=True)


def has_ordinal(pod: Json) -> bool:
    """Whether a pod is one of a StatefulSet."""
    return bool(_stateful_set(pod))


def claims_of(claims: Iterable[Json], adapter: str) -> list[Json]:
    """The volume claims that a StatefulSet of this name makes: `spool-NAME-ORDINAL`."""
    prefix = f"{api.SPOOL}-{adapter}-"
    return [claim for claim in claims if claim["metadata"]["name"].removeprefix(prefix).isdecimal()]


def ordinal(body: Json) -> int:
    """The number at the end of the name of a StatefulSet's pod, or of its claim."""
    return int(body["metadata"]["name"].rpartition("-")[2])


def _replica_set(pod: Json) -> str:
    owner = controller(pod)
    return str(owner["name"]) if owner.get("kind") == "ReplicaSet" else ""


def _stateful_set(pod: Json) -> str:
    owner = controller(pod)
    return str(owner["name"]) if owner.get("kind") == api.STATEFUL_SET.kind else ""

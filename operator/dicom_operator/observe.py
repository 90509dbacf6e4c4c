"""What there is: an adapter's children and pods at one moment, and whose they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dicom_operator import api
from dicom_operator.api import Json, Key, Resource

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


@dataclass(slots=True)
class Observed:
    """The children that are there, the pods, and what the pods say."""

    children: dict[Ref, Json] = field(default_factory=dict)
    pods: list[Json] = field(default_factory=list)
    reports: Mapping[str, PodReport | None] = field(default_factory=dict)
    """By the uid of the pod; None: it was asked and gave no answer."""

    @property
    def asked(self) -> bool:
        """Whether every pod that can be asked has been, since this process began to lead."""
        return all(pod["metadata"]["uid"] in self.reports for pod in self.pods if (pod.get("status") or {}).get("podIP"))

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


def controlling_adapter(body: Json) -> Key | None:
    """The DicomAdapter that controls an object; one of this name, perhaps an earlier one."""
    owner = controller(body)
    if owner.get("kind") == api.ADAPTER.kind and owner["apiVersion"].startswith(f"{api.GROUP}/"):
        return Key(body["metadata"]["namespace"], owner["name"])
    return None


def owner_key(body: Json) -> Key | None:
    """The DicomAdapter that an object belongs to: its controller; else what its labels say, since somebody may have stripped the owner."""
    if key := controlling_adapter(body):
        return key
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    if labels.get(api.MANAGED_BY_LABEL) == api.MANAGED_BY and api.INSTANCE_LABEL in labels:
        return Key(metadata["namespace"], labels[api.INSTANCE_LABEL])
    return None


def ended(pod: Json) -> bool:
    """Whether a pod will never run again (evicted, its node shut down). It stays listed, and its address may be another's by now."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def pods_of(pods: Iterable[Json], deployment: str) -> list[Json]:
    """The living pods of a Deployment, newest first: a ReplicaSet named after it controls them."""
    living = (pod for pod in pods if not ended(pod) and not pod["metadata"].get("deletionTimestamp"))
    own = [pod for pod in living if _replica_set(pod).rpartition("-")[0] == deployment]
    return sorted(own, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]), reverse=True)


def _replica_set(pod: Json) -> str:
    owner = controller(pod)
    return str(owner["name"]) if owner.get("kind") == "ReplicaSet" else ""

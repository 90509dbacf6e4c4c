"""The names that are API: kinds, labels, annotations, condition types, reasons and event reasons. Names only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

Json = dict[str, Any]
"""A Kubernetes object as it comes from, and goes to, the API server."""

GROUP = "dicomadapter.io"
VERSION = "v1alpha1"
FIELD_MANAGER = "dicom-operator"
"""The field manager of every apply. It never changes: another name would leave the old one's fields behind."""

MANAGED_BY = "dicom-operator"
NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
PART_OF_LABEL = "app.kubernetes.io/part-of"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APP_NAME = "dicom-adapter"
SCRAPE_LABEL = f"{GROUP}/scrape"
"""Namespaces labelled with it (value "true") may read the adapters' HTTP port."""

OWNED_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{NAME_LABEL}={APP_NAME}"
"""Selects every object that the operator makes, and the pods made from them."""

RECONCILE_ANNOTATION = f"{GROUP}/reconcile"
RECONCILE_DISABLED = "disabled"
CONFIG_HASH_ANNOTATION = f"{GROUP}/config-hash"
APPLIED_HASH_ANNOTATION = f"{GROUP}/applied-hash"
"""Hash of what was applied: tells a changed spec from an object that somebody else changed."""

CONTAINER = "adapter"
DICOM_PORT = 11112
HTTP_PORT = 8080
CONFIG_KEYS = {"DicomAdapter": "dicomadapter.yaml", "DicomExport": "dicomexport.yaml"}
"""The key of the ConfigMap that holds what the pods read, by kind."""
ORDERS_KEY = "orders.json"
"""Beside the configuration: what the pods of a StatefulSet heed without a restart."""
SPOOL = "spool"
"""The volume, and the beginning of the claims' names: `spool-ct-east-0`."""
SPOOL_DIRECTORY = "/var/spool/dicom-adapter"
LEDGER_DIRECTORY = "/var/lib/dicom-adapter"
"""Where the claim is that remembers what was exported."""
KEPT_LABEL = f"{GROUP}/spool-kept"
"""On a claim whose DicomAdapter was deleted while images in it were undelivered."""
MOUNTS = "/etc/dicom-adapter"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server serves it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """What `apiVersion` says: group and version, the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`plural.group`, as RBAC and kubectl write it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


ADAPTER = Resource(GROUP, VERSION, "dicomadapters", "DicomAdapter")
EXPORT = Resource(GROUP, VERSION, "dicomexports", "DicomExport")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
SERVICE = Resource("", "v1", "services", "Service")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
POD = Resource("", "v1", "pods", "Pod")
CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
EVENT = Resource("", "v1", "events", "Event")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")

OWNED = (SERVICE_ACCOUNT, CONFIG_MAP, DEPLOYMENT, STATEFUL_SET, SERVICE, NETWORK_POLICY, DISRUPTION_BUDGET)
"""The kinds of the children."""
RECONCILED = (ADAPTER, EXPORT)
"""The kinds that users write."""
WATCHED = (*RECONCILED, *OWNED, POD, CLAIM)
BY_KIND = {resource.kind: resource for resource in (*WATCHED, EVENT)}
COMPONENTS = {ADAPTER.kind: "adapter", EXPORT.kind: "exporter"}
"""What children and pods say in their component label, by the kind that they belong to."""
LOGGED_AS = {ADAPTER.kind: "adapter", EXPORT.kind: "export"}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """A DicomAdapter or DicomExport by its name: what the work queue holds."""

    namespace: str
    name: str
    kind: str = ADAPTER.kind

    @classmethod
    def of(cls, kind: str, body: Json) -> Self:
        """Of an object of this kind: in a listing none says what it is."""
        return cls(body["metadata"]["namespace"], body["metadata"]["name"], kind)

    @property
    def resource(self) -> Resource:
        """Its kind as the API server serves it."""
        return BY_KIND[self.kind]

    @property
    def about(self) -> dict[str, str]:
        """What a line of the log is about."""
        return {"namespace": self.namespace, LOGGED_AS[self.kind]: self.name}


class ConditionType(StrEnum):
    """Types of status conditions."""

    READY = "Ready"
    APPLIED = "Applied"
    WORKLOAD_AVAILABLE = "WorkloadAvailable"
    ADDRESS_ASSIGNED = "AddressAssigned"
    STORE_REACHABLE = "StoreReachable"
    SOURCE_REACHABLE = "SourceReachable"
    DESTINATION_REACHABLE = "DestinationReachable"
    DELIVERING = "Delivering"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Reason(StrEnum):
    """Reasons of conditions."""

    AVAILABLE = "Available"
    RECONCILING = "Reconciling"
    SUSPENDED = "Suspended"
    ADDRESS_PENDING = "AddressPending"
    APPLIED = "Applied"
    PAUSED = "Paused"
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    APPLY_FAILED = "ApplyFailed"
    FORBIDDEN = "Forbidden"
    REJECTED = "Rejected"
    MINIMUM_REPLICAS_AVAILABLE = "MinimumReplicasAvailable"
    ROLLING_OUT = "RollingOut"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    REPLICA_FAILURE = "ReplicaFailure"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CRASH_LOOPING = "CrashLooping"
    OUT_OF_MEMORY = "OutOfMemory"
    UNSCHEDULABLE = "Unschedulable"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - the name of a reason, not a secret
    SCALED_TO_ZERO = "ScaledToZero"
    NOT_OBSERVED = "NotObserved"
    ASSIGNED = "Assigned"
    NOT_REQUIRED = "NotRequired"
    PENDING = "Pending"
    PUBLIC_ADDRESS = "PublicAddress"
    REACHABLE = "Reachable"
    UNAUTHORIZED = "Unauthorized"
    NOT_FOUND = "NotFound"
    UNREACHABLE = "Unreachable"
    THROTTLED = "Throttled"
    SUBSCRIPTION_NOT_FOUND = "SubscriptionNotFound"
    REFUSED = "Refused"
    FAILING = "Failing"
    NOT_PROBED = "NotProbed"
    DELIVERING = "Delivering"
    BACKLOGGED = "Backlogged"
    DESTINATION_DOWN = "DestinationDown"
    SOURCE_DOWN = "SourceDown"
    POISON_MESSAGES = "PoisonMessages"
    RETENTION_ENDS_SOON = "RetentionEndsSoon"
    SPOOL_FULL = "SpoolFull"
    SPOOL_FAULTY = "SpoolFaulty"
    PROGRESSING = "Progressing"
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"


class EventReason(StrEnum):
    """Reasons of events on a DicomAdapter or DicomExport."""

    ADAPTER_READY = "AdapterReady"
    ADAPTER_NOT_READY = "AdapterNotReady"
    EXPORT_READY = "ExportReady"
    EXPORT_NOT_READY = "ExportNotReady"
    SPEC_INVALID = "SpecInvalid"
    NAME_CONFLICT = "NameConflict"
    APPLY_REJECTED = "ApplyRejected"
    CHILD_RESTORED = "ChildRestored"
    PUBLIC_ADDRESS_REFUSED = "PublicAddressRefused"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    STORE_UNAVAILABLE = "StoreUnavailable"
    STORE_RECOVERED = "StoreRecovered"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_RECOVERED = "SourceRecovered"
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"
    DESTINATION_RECOVERED = "DestinationRecovered"
    POISON_MESSAGES = "PoisonMessages"
    RETENTION_ENDS_SOON = "RetentionEndsSoon"
    DELIVERY_BACKLOGGED = "DeliveryBacklogged"
    DELIVERY_RECOVERED = "DeliveryRecovered"
    SPOOL_FULL = "SpoolFull"
    SPOOL_KEPT = "SpoolKept"
    INSTANCES_REFUSED = "InstancesRefused"

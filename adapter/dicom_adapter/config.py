"""The configuration: the part of a DicomAdapter's `spec` that the adapter reads, as frozen dataclasses.

`document.py` builds it from a document and flags; nothing after that sees an unchecked value.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter.attributes import Attribute
from dicom_adapter.patterns import Pattern

HEALTHCARE_SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"
API_VERSION = "dicomadapter.io/v1alpha1"
KIND = "DicomAdapter"
DICOM_STORE = "dicomStore"
"""The destination that `spec.dicomStore` is, by the name that routes have for it."""


class ConfigError(Exception):
    """One thing wrong in the configuration: where, and a sentence that says what to write instead."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class ConfigErrors(Exception):
    """Everything wrong in one configuration, in the order of the document."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


class LogLevel(StrEnum):
    """`spec.logLevel`."""

    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"


class ServiceName(StrEnum):
    """A word of `spec.services` and `spec.peers[].allow`."""

    VERIFICATION = "Verification"
    STORAGE = "Storage"
    QUERY = "Query"
    RETRIEVE = "Retrieve"
    STORAGE_COMMITMENT = "StorageCommitment"


class UnknownPeers(StrEnum):
    """`spec.unknownPeers`: what becomes of calling AE titles that `spec.peers` does not list."""

    ACCEPT = "Accept"
    REJECT = "Reject"


class CredentialKind(StrEnum):
    """Which of the alternatives of `spec.credentials` is in force."""

    GOOGLE_DEFAULT = "googleApplicationDefault"
    GOOGLE_KEY = "googleKeySecret"
    BEARER = "bearerTokenSecret"
    BASIC = "basicAuthSecret"
    CLIENT_CERTIFICATE = "clientCertificateSecret"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """A key in a Secret or ConfigMap that is mounted into the pod."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class DicomStore:
    """`spec.dicomStore`: the DICOMweb base URL, and the Healthcare path when it is a store of Google's."""

    url: str
    healthcare_path: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """`spec.credentials`. Of basicAuthSecret and clientCertificateSecret only the name counts: their types fix the keys."""

    kind: CredentialKind = CredentialKind.NONE
    secret: ObjectKey | None = None
    scopes: tuple[str, ...] = (HEALTHCARE_SCOPE,)
    ca_bundle: ObjectKey | None = None
    allow_insecure: bool = False
    proxy: str = ""


class OnConflict(StrEnum):
    """`spec.delivery.onConflict`: what becomes of an instance that the store has with other content."""

    FAIL = "Fail"
    KEEP = "Keep"
    OVERWRITE = "Overwrite"


@dataclass(frozen=True, slots=True)
class Retry:
    """`spec.delivery.retry`."""

    max_attempts: int = 4
    initial_delay_milliseconds: int = 200
    max_delay_milliseconds: int = 5000
    status_codes: tuple[int, ...] = (408, 429, 500, 502, 503, 504)


class Acknowledge(StrEnum):
    """`spec.delivery.acknowledge`: what a success tells the sender."""

    AFTER_STORE = "AfterStore"  # the store has it
    AFTER_SPOOL = "AfterSpool"  # it is on disk, and will be delivered


@dataclass(frozen=True, slots=True)
class BacklogThresholds:
    """`spec.delivery.backlogThresholds`: the age of the oldest image, or the number of images, from which a spool is backlogged."""

    seconds: int = 300
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Spool:
    """`spec.spool`, what of it is the adapter's: the bytes that may wait, and those that stay free on its volume."""

    max_bytes: int | None = None
    reserve_bytes: int | None = None  # a tenth of the volume, at most 1 GiB


@dataclass(frozen=True, slots=True)
class Delivery:
    """`spec.delivery`."""

    timeout_seconds: int = 20
    on_conflict: OnConflict = OnConflict.FAIL
    retry: Retry = Retry()
    max_concurrent_uploads: int = 32
    max_requests_per_minute: int | None = None
    acknowledge: Acknowledge = Acknowledge.AFTER_STORE
    backlog_thresholds: BacklogThresholds = BacklogThresholds()


@dataclass(frozen=True, slots=True)
class Query:
    """`spec.query`."""

    fuzzy_matching: bool = False
    max_results: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """`spec.limits`."""

    max_associations: int = 100
    max_associations_per_peer: int = 32
    max_pdu_bytes: int = 131072
    association_timeout_seconds: int = 30
    dimse_timeout_seconds: int = 60
    idle_timeout_seconds: int = 600


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ALL_SERVICES = tuple(ServiceName)


@dataclass(frozen=True, slots=True)
class Peer:
    """An item of `spec.peers`. Without `host` it is never called, without `addresses` it may call from anywhere."""

    ae_title: str
    host: str = ""
    port: int = 0
    allow: tuple[ServiceName, ...] = ALL_SERVICES
    addresses: tuple[Network, ...] = ()


class Routing(StrEnum):
    """`spec.routing`: whether the first route that matches decides, or all of them do."""

    FIRST_MATCH = "FirstMatch"
    ALL_MATCHES = "AllMatches"


@dataclass(frozen=True, slots=True)
class DicomwebDestination:
    """An item of `spec.destinations` with a `dicomStore`."""

    name: str
    store: DicomStore
    credentials: Credentials = Credentials()


@dataclass(frozen=True, slots=True)
class DimseDestination:
    """An item of `spec.destinations` with an `aeTitle`."""

    name: str
    ae_title: str
    host: str
    port: int


Destination = DicomwebDestination | DimseDestination


@dataclass(frozen=True, slots=True)
class AttributeMatch:
    """An item of `spec.routes[].match.attributes`: one of the patterns has to match one of the attribute's values."""

    attribute: Attribute
    values: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """An item of `spec.routes`; without anything to match it matches everything."""

    destinations: tuple[str, ...]
    calling_ae_title: Pattern | None = None
    attributes: tuple[AttributeMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration."""

    ae_title: str
    store: DicomStore
    accepted_ae_titles: tuple[str, ...] = ()
    calling_ae_title: str = ""
    port: int = 11112
    credentials: Credentials = Credentials()
    delivery: Delivery = Delivery()
    spool: Spool = Spool()
    query: Query = Query()
    services: tuple[ServiceName, ...] = ALL_SERVICES
    peers: tuple[Peer, ...] = ()
    unknown_peers: UnknownPeers = UnknownPeers.ACCEPT
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()
    routing: Routing = Routing.FIRST_MATCH
    limits: Limits = Limits()
    drain_seconds: int = 10
    termination_grace_period_seconds: int = 120
    log_level: LogLevel = LogLevel.INFO
    name: str = ""
    namespace: str = ""

    @property
    def calling(self) -> str:
        """The AE title that our own requests go by."""
        return self.calling_ae_title or self.ae_title

    def peer(self, ae_title: str) -> Peer | None:
        """The peer of this name."""
        return next((peer for peer in self.peers if peer.ae_title == ae_title), None)

"""The configuration of an exporter: the part of a DicomExport's `spec` that it reads, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter.config import HEALTHCARE_SCOPE, AttributeMatch, Credentials, DicomStore, LogLevel

KIND = "DicomExport"
PUBSUB_URL = "https://pubsub.googleapis.com"
PUBSUB_SCOPE = "https://www.googleapis.com/auth/pubsub"
SCOPES = (HEALTHCARE_SCOPE, PUBSUB_SCOPE)
_NONE = Credentials()


class Grouping(StrEnum):
    """`spec.grouping`: whether an association serves whatever comes, or one study from its first to its last image."""

    INSTANCE = "Instance"
    STUDY = "Study"


class Transcode(StrEnum):
    """`spec.transcode`: whether an image may be sent uncompressed to a peer that does not take it as it is stored."""

    WHEN_REFUSED = "WhenRefused"
    NEVER = "Never"


@dataclass(frozen=True, slots=True)
class PubSub:
    """`spec.source.pubsub`. `ours`: the endpoint is one that our Google token may go to."""

    subscription: str
    url: str = PUBSUB_URL
    ours: bool = True


EVERY_DAY = 36_500
"""`lookbackDays` that stand for everything, also what has no Study Date."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """`spec.source.poll` and `spec.source.reconcile`: how often the store is searched, and how many days of studies."""

    interval_seconds: int
    lookback_days: int


@dataclass(frozen=True, slots=True)
class Source:
    """`spec.source`."""

    store: DicomStore
    credentials: Credentials = _NONE
    pubsub: PubSub | None = None
    poll: Sweep | None = None
    reconcile: Sweep | None = None


@dataclass(frozen=True, slots=True)
class PeerTls:
    """`spec.destination.peer.tls`: whom we trust and what we show; `name` is whom the node's certificate is for, by default its host."""

    credentials: Credentials = _NONE
    name: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """`spec.destination.peer`."""

    ae_title: str
    host: str
    port: int
    tls: PeerTls | None = None


@dataclass(frozen=True, slots=True)
class Web:
    """`spec.destination.dicomweb`. Its credentials are its own: those of the source never go there."""

    store: DicomStore
    credentials: Credentials = _NONE


@dataclass(frozen=True, slots=True)
class Delivery:
    """`spec.delivery`."""

    max_delivery_attempts: int = 5
    max_outstanding: int = 256
    max_concurrent_fetches: int = 32
    max_associations: int = 2
    max_requests_per_minute: int | None = None
    dead_letter_topic: str = ""


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """A checked configuration."""

    source: Source
    destination: Peer | Web
    calling_ae_title: str = "EXPORTADAPTER"
    filter: tuple[AttributeMatch, ...] = ()
    grouping: Grouping = Grouping.INSTANCE
    settle_seconds: int = 30
    transcode: Transcode = Transcode.WHEN_REFUSED
    delivery: Delivery = Delivery()
    termination_grace_period_seconds: int = 120
    log_level: LogLevel = LogLevel.INFO
    name: str = ""
    namespace: str = ""

"""From a DicomExport document, or its bare spec, and flag values to an `ExportConfig`: every error found, none guessed away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from dicom_adapter import attributes, document
from dicom_adapter.config import HEALTHCARE_SCOPE, AttributeMatch, ConfigErrors, CredentialKind, DicomStore, LogLevel
from dicom_adapter.export.config import (
    EVERY_DAY,
    KIND,
    PUBSUB_URL,
    SCOPES,
    Delivery,
    ExportConfig,
    Grouping,
    Peer,
    PeerTls,
    PubSub,
    Source,
    Sweep,
    Transcode,
    Web,
)
from dicom_adapter.patterns import Effort, Pattern
from dicom_adapter.reader import Problems, Reader
from dicom_adapter.spec import credentials, store
from dicom_adapter.spec.routes import MOST_ATTRIBUTES, MOST_VALUES, attribute_match
from dicom_adapter.spec.store import GOOGLE_HOSTS, is_google_host

_READ = (
    "source", "destination", "callingAETitle", "filter", "grouping", "settleSeconds", "transcode", "delivery",
    "terminationGracePeriodSeconds", "logLevel",
)  # fmt: skip
_FOR_KUBERNETES = (
    "ledger", "replicas", "suspend", "image", "imagePullSecrets", "resources", "nodeSelector", "tolerations", "affinity",
    "topologySpreadConstraints", "priorityClassName", "podLabels", "podAnnotations", "serviceAccount",
)  # fmt: skip
_SUBSCRIPTION = re.compile(r"projects/[^/\s?#:]+/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_TOPIC = re.compile(r"projects/[^/\s?#:]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_CODE_STRING = re.compile(r"[A-Z0-9_]{1,16}")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._:-]{0,251}[A-Za-z0-9_.])?")


def load(
    text: str | None, overrides: Mapping[str, Any], *, aliases: Mapping[str, str], google_hosts: Iterable[str] = GOOGLE_HOSTS
) -> ExportConfig:
    """Builds the configuration; raises ConfigErrors. The arguments are those of `dicom_adapter.document.load`."""
    problems = Problems(aliases)
    root = document.document(text, problems, KIND, "source and destination")
    metadata = root.mapping("metadata") if root.path == "" and root.has("metadata") else None
    spec = root if root.path == "spec" else (root.mapping("spec") or Reader({}, "spec", problems))
    spec = document.overridden(spec, overrides, problems)
    config = _spec(spec, problems, tuple(google_hosts), metadata)
    if problems.errors or config is None:
        raise ConfigErrors(problems.errors)
    return config


def _spec(spec: Reader, problems: Problems, google_hosts: tuple[str, ...], metadata: Reader | None) -> ExportConfig | None:
    spec.close((*_READ, *_FOR_KUBERNETES))
    source = _source(spec, problems, google_hosts)
    destination = _destination(spec, problems, google_hosts)
    calling = spec.text("callingAETitle", "EXPORTADAPTER")
    spec.check_ae_title("callingAETitle", calling)
    wanted = _filter(spec.mapping("filter"))
    grouping = spec.choice("grouping", Grouping.INSTANCE)
    settle = spec.integer("settleSeconds", 30, 1, 300)
    transcode = spec.choice("transcode", Transcode.WHEN_REFUSED)
    delivery = _delivery(spec.mapping("delivery"))
    if delivery.dead_letter_topic and source is not None and source.poll is not None:
        spec.problem("delivery.deadLetter", "is a topic of Pub/Sub, which poll does without; remove it")
    grace = spec.integer("terminationGracePeriodSeconds", 120, 20, 3600)
    level = spec.choice("logLevel", LogLevel.INFO)
    if source is None or destination is None:
        return None
    return ExportConfig(
        source=source,
        destination=destination,
        calling_ae_title=calling,
        filter=wanted,
        grouping=grouping,
        settle_seconds=settle,
        transcode=transcode,
        delivery=delivery,
        termination_grace_period_seconds=grace,
        log_level=level,
        name=metadata.text("name") if metadata else "",
        namespace=metadata.text("namespace") if metadata and metadata.has("namespace") else "",
    )


# -- the source ------------------------------------------------------------------------------------


def _source(spec: Reader, problems: Problems, google_hosts: tuple[str, ...]) -> Source | None:
    reader = spec.mapping("source")
    if reader is None:
        spec.problem("source", "is missing; write dicomStore and pubsub below it")
        return None
    reader.close(("dicomStore", "credentials", "pubsub", "poll", "reconcile"))
    found = store.read(reader, google_hosts)
    access = credentials.read(reader, found, problems, google_hosts)
    if access.scopes == (HEALTHCARE_SCOPE,):
        access = replace(access, scopes=SCOPES)
    google = access.kind in (CredentialKind.GOOGLE_DEFAULT, CredentialKind.GOOGLE_KEY)
    if reader.has("pubsub") and reader.has("poll"):
        spec.problem("source", "holds pubsub and poll; keep one of them")
    elif not reader.has("pubsub") and not reader.has("poll"):
        reader.problem(
            "pubsub", "is missing; write subscription: projects/P/subscriptions/S below it; a store without Pub/Sub has poll: {} instead"
        )
    if reader.has("poll") and reader.has("reconcile"):
        reader.problem("reconcile", "belongs to pubsub: poll sees everything; remove it")
    return Source(
        found or DicomStore(url=""),
        access,
        _pubsub(reader, google, google_hosts),
        _sweep(reader.mapping("poll"), Sweep(60, 2)),
        _sweep(reader.mapping("reconcile"), Sweep(86_400, 7)),
    )


def _sweep(reader: Reader | None, default: Sweep) -> Sweep | None:
    if reader is None:
        return None
    reader.close(("intervalSeconds", "lookbackDays"))
    return Sweep(
        reader.integer("intervalSeconds", default.interval_seconds, 1, 7 * 86_400),
        reader.integer("lookbackDays", default.lookback_days, 1, EVERY_DAY),
    )


def _pubsub(source: Reader, google: bool, google_hosts: tuple[str, ...]) -> PubSub | None:
    reader = source.mapping("pubsub")
    if reader is None:
        return None
    reader.close(("subscription", "endpoint", "allowInsecure"))
    subscription = reader.text("subscription", required="write projects/P/subscriptions/S").strip("/")
    if subscription and not _SUBSCRIPTION.fullmatch(subscription):
        reader.problem("subscription", f"{subscription[:100]!r} names no subscription; write projects/P/subscriptions/S")
    insecure = reader.boolean("allowInsecure", False)
    url = reader.text("endpoint", PUBSUB_URL).rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host or "@" in url or parts.path or parts.query or parts.fragment:
        reader.problem("endpoint", "is no address of Pub/Sub; write https://HOST, or http://HOST:PORT for an emulator")
        return None
    if parts.scheme == "http" and not insecure:
        reader.problem("endpoint", "is http://, and messages would cross the network in the clear; write https://, or allowInsecure: true")
    ours = is_google_host(host, google_hosts)
    if ours and not google:
        reader.problem(
            "subscription",
            "Pub/Sub wants a Google account; write googleApplicationDefault or googleKeySecret in spec.source.credentials",
        )
    return PubSub(subscription, url, ours)


# -- the destination -------------------------------------------------------------------------------


def _destination(spec: Reader, problems: Problems, google_hosts: tuple[str, ...]) -> Peer | Web | None:
    reader = spec.mapping("destination")
    given = [key for key in ("peer", "dicomweb") if reader and reader.has(key)]
    if reader is None or not given:
        spec.problem("destination", "is missing; write peer or dicomweb below it")
        return None
    reader.close(("peer", "dicomweb"))
    if len(given) > 1:
        spec.problem("destination", "holds peer and dicomweb; keep one of them")
        return None
    return _web(reader, problems, google_hosts) if given == ["dicomweb"] else _peer(reader)


def _peer(destination: Reader) -> Peer | None:
    reader = destination.mapping("peer")
    if reader is None:
        return None
    reader.close(("aeTitle", "host", "port", "tls"))
    title = reader.text("aeTitle", required="write the AE title of the node")
    reader.check_ae_title("aeTitle", title)
    host = reader.text("host", required="write the host name or address of the node")
    if host and not _HOST.fullmatch(host):
        reader.problem("host", f"{host[:60]!r} is neither a host name nor an address; write it without scheme and port")
    if not reader.has("port"):
        reader.problem("port", "is missing; write the port that the node listens on, often 104 or 11112")
    return Peer(title, host, reader.integer("port", 104, 1, 65535), _tls(reader) if reader.has("tls") else None)


def _tls(peer: Reader) -> PeerTls | None:
    reader = peer.mapping("tls")
    if reader is None:
        return None
    reader.close(("caBundle", "clientCertificateSecret", "serverName"))
    name = reader.text("serverName")
    if name and not _HOST.fullmatch(name):
        reader.problem("serverName", f"{name[:60]!r} is neither a host name nor an address; write whom the node's certificate is for")
    return PeerTls(credentials.tls(reader), name)


def _web(destination: Reader, problems: Problems, google_hosts: tuple[str, ...]) -> Web | None:
    reader = destination.mapping("dicomweb")
    if reader is None:
        return None
    reader.close(("url", "credentials"))
    found = store.read(reader, google_hosts, "url")
    if found is None:
        return None
    if not reader.has("credentials"):  # never a token that nobody asked for: not even to Google
        return Web(found)
    return Web(found, credentials.read(reader, found, problems, google_hosts))


def _filter(reader: Reader | None) -> tuple[AttributeMatch, ...]:
    if reader is None:
        return ()
    reader.close(("modalities", "attributes"))
    modalities = reader.texts("modalities", (), MOST_VALUES)
    for index, modality in enumerate(modalities):
        if not _CODE_STRING.fullmatch(modality):
            reader.problem(f"modalities[{index}]", f"{modality[:20]!r} is no modality; write its code, such as CT")
    effort = Effort()
    found = [match for inner in reader.mappings("attributes", MOST_ATTRIBUTES) if (match := attribute_match(inner, effort))]
    if modalities:
        found.insert(0, AttributeMatch(attributes.parse("Modality"), tuple(map(Pattern, modalities))))
    elif not reader.has("attributes"):
        reader.problem("modalities", "is missing; write modalities or attributes below it, or remove filter")
    return tuple(found)


def _delivery(reader: Reader | None) -> Delivery:
    default = Delivery()
    if reader is None:
        return default
    reader.close(("maxDeliveryAttempts", "maxOutstanding", "maxConcurrentFetches", "maxAssociations", "maxRequestsPerMinute", "deadLetter"))
    letters = reader.mapping("deadLetter")
    topic = ""
    if letters:
        letters.close(("topic",))
        topic = letters.text("topic", required="write projects/P/topics/T").strip("/")
        if topic and not _TOPIC.fullmatch(topic):
            letters.problem("topic", f"{topic[:100]!r} names no topic; write projects/P/topics/T")
    return Delivery(
        reader.integer("maxDeliveryAttempts", default.max_delivery_attempts, 1, 100),
        reader.integer("maxOutstanding", default.max_outstanding, 1, 1000),
        reader.integer("maxConcurrentFetches", default.max_concurrent_fetches, 1, 64),
        reader.integer("maxAssociations", default.max_associations, 1, 32),
        reader.integer("maxRequestsPerMinute", 0, 1, 1_000_000) or None,
        topic,
    )

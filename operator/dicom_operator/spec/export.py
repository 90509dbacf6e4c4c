"""The sections of a DicomExport that its pods read: `source`, `destination`, `filter`, `delivery`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.spec.credentials import credentials, tls
from dicom_operator.spec.patterns import Effort
from dicom_operator.spec.peers import host_of
from dicom_operator.spec.routes import attribute
from dicom_operator.spec.section import Section
from dicom_operator.spec.store import parse_store
from dicom_operator.spec.titles import ae_title

PUBSUB = "https://pubsub.googleapis.com"
SUBSCRIPTION = re.compile(r"projects/[^/\s?#:]+/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
TOPIC = re.compile(r"projects/[^/\s?#:]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
MODALITY = re.compile(r"[A-Z0-9_]{1,16}")
DAY = 86_400
Place = tuple[str, int]
"""Host and port."""


def source(section: Section) -> tuple[Json, list[Place], Json]:
    """The section with its defaults, the places that it is reached at, and the credentials shown there."""
    store = parse_store(section.text("dicomStore"), f"{section.path}.dicomStore")
    shown = credentials(section.section("credentials"), store)
    if section.has("pubsub") == section.has("poll"):
        raise SpecError(section.path, messages.export.pubsub_or_poll())
    if section.has("poll") and section.has("reconcile"):
        raise SpecError(f"{section.path}.reconcile", messages.export.reconcile_of_poll())
    result: Json = {"dicomStore": store.text, "credentials": shown}
    places = [(store.host, store.port)]
    if section.has("pubsub"):
        result["pubsub"], place = _pubsub(section.section("pubsub"))
        if f".{place[0]}".endswith(".googleapis.com") and not any(kind.startswith("google") for kind in shown):
            raise SpecError(f"{section.path}.credentials", messages.export.google_account())
        places.append(place)
    for name, interval, days in (("poll", 60, 2), ("reconcile", DAY, 7)):
        if section.has(name):
            sweep = section.section(name)
            result[name] = {
                "intervalSeconds": sweep.integer("intervalSeconds", interval, 1, 7 * DAY),
                "lookbackDays": sweep.integer("lookbackDays", days, 1, 36_500),
            }
    return result, places, shown


def _pubsub(section: Section) -> tuple[Json, Place]:
    subscription = section.text("subscription")
    if not SUBSCRIPTION.fullmatch(subscription):
        raise SpecError(f"{section.path}.subscription", messages.export.subscription(subscription))
    url, insecure = section.text("endpoint", PUBSUB).rstrip("/"), section.boolean("allowInsecure")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SpecError(f"{section.path}.endpoint", messages.export.endpoint()) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in url or parts.path or parts.query or parts.fragment:
        raise SpecError(f"{section.path}.endpoint", messages.export.endpoint())
    if parts.scheme == "http" and not insecure:
        raise SpecError(f"{section.path}.allowInsecure", messages.export.endpoint_in_the_clear())
    place = (parts.hostname, port or (443 if parts.scheme == "https" else 80))
    return {"subscription": subscription, "endpoint": url, "allowInsecure": insecure}, place


def destination(section: Section) -> tuple[Json, Place, Json | None]:
    """The section with its defaults, where it is, and the credentials shown there; none unless they are written."""
    if section.has("peer") == section.has("dicomweb"):
        raise SpecError(section.path, messages.export.peer_or_dicomweb())
    if section.has("peer"):
        peer = section.section("peer")
        title, host = ae_title(f"{peer.path}.aeTitle", peer.text("aeTitle")), host_of(peer)
        if not peer.has("port"):
            raise SpecError(f"{peer.path}.port", messages.required())
        port = peer.integer("port", 0, 1, 65535)
        node: Json = {"aeTitle": title, "host": host, "port": port}
        if not peer.has("tls"):
            return {"peer": node}, (host, port), None
        secured = peer.section("tls")
        node["tls"] = shown = tls(secured) | ({"serverName": host_of(secured, "serverName")} if secured.has("serverName") else {})
        return {"peer": node}, (host, port), shown
    web = section.section("dicomweb")
    store = parse_store(web.text("url"), f"{web.path}.url")
    found: Json = {"url": store.text}
    if web.has("credentials"):
        found["credentials"] = credentials(web.section("credentials"), store)
    return {"dicomweb": found}, (store.host, store.port), found.get("credentials")


def wanted(section: Section) -> Json:
    """`filter`."""
    modalities = section.items("modalities")
    for index, modality in enumerate(modalities):
        if not isinstance(modality, str) or not MODALITY.fullmatch(modality):
            raise SpecError(f"{section.path}.modalities[{index}]", messages.export.modality(modality))
    effort = Effort()
    attributes = [attribute(item, effort)[1] for item in section.sections("attributes")]
    if not modalities and not attributes:
        raise SpecError(section.path, messages.export.empty_filter())
    result: Json = {"modalities": modalities} if modalities else {}
    return result | ({"attributes": attributes} if attributes else {})


def delivery(section: Section) -> Json:
    """The section with its defaults."""
    result: Json = {
        "maxDeliveryAttempts": section.integer("maxDeliveryAttempts", 5, 1, 100),
        "maxOutstanding": section.integer("maxOutstanding", 256, 1, 1000),
        "maxConcurrentFetches": section.integer("maxConcurrentFetches", 32, 1, 64),
        "maxAssociations": section.integer("maxAssociations", 2, 1, 32),
    }
    if section.has("maxRequestsPerMinute"):
        result["maxRequestsPerMinute"] = section.integer("maxRequestsPerMinute", 0, 1, 1_000_000)
    if section.has("deadLetter"):
        topic = section.section("deadLetter").text("topic")
        if not TOPIC.fullmatch(topic):
            raise SpecError(f"{section.path}.deadLetter.topic", messages.export.topic(topic))
        result["deadLetter"] = {"topic": topic}
    return result

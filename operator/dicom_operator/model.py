"""A DicomAdapter as the rest of the operator sees it: parsed once, frozen, valid.

The API server has validated the resource already (structural schema and CEL). This is the second line, for a CRD that is older
or newer than this operator: what cannot work is refused with a sentence, what is unknown is left alone. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from dicom_operator import messages
from dicom_operator.api import RECONCILE_ANNOTATION, RECONCILE_DISABLED, Json, Key
from dicom_operator.errors import SpecError

AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
HEALTHCARE_PATH = re.compile(r"projects/[^/]+/locations/[^/]+/datasets/[^/]+/dicomStores/[^/]+")
HEALTHCARE_HOST = "healthcare.googleapis.com"
HEALTHCARE_SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"
CREDENTIAL_KINDS = (
    "googleApplicationDefault",
    "googleKeySecret",
    "bearerTokenSecret",
    "basicAuthSecret",
    "clientCertificateSecret",
    "none",
)
PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
"""RFC 1918, RFC 6598 (shared address space) and RFC 4193 (unique local): where senders are in a hospital."""

DEFAULT_LIMITS = {
    "maxAssociations": 100,
    "maxAssociationsPerPeer": 32,
    "maxPDUBytes": 131072,
    "associationTimeoutSeconds": 30,
    "dimseTimeoutSeconds": 60,
    "idleTimeoutSeconds": 600,
}

RETRIED = (408, 429, 500, 502, 503, 504)
"""HTTP statuses after which an upload is tried again, unless `delivery.retry.statusCodes` says others."""

HTTP_PROXY = re.compile(r"http://([^/@?#:\s\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Store:
    """Where images go."""

    text: str
    host: str
    port: int
    secure: bool
    healthcare: bool


@dataclass(frozen=True, slots=True)
class Service:
    """How senders reach the adapter."""

    type: Literal["LoadBalancer", "ClusterIP", "NodePort"]
    provider: Literal["Auto", "GoogleCloud", "AWS", "Azure", "Other"]
    annotations: Mapping[str, str]
    load_balancer_class: str
    source_ranges: tuple[Network, ...]
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"]
    external_traffic_policy: Literal["Cluster", "Local"]
    allow_public_address: bool


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


@dataclass(frozen=True, slots=True)
class DicomAdapter:
    """One resource, whole and valid."""

    key: Key
    uid: str
    generation: int
    ae_title: str
    port: int
    store: Store
    replicas: int
    suspend: bool
    termination_grace_seconds: int
    service: Service
    pod: PodOverrides
    secrets: tuple[str, ...]
    config_maps: tuple[str, ...]
    adapter_spec: Json
    """The part of the spec that the adapter reads, with every default written out."""

    @property
    def wanted_replicas(self) -> int:
        """Pods that should run now."""
        return 0 if self.suspend else self.replicas


def is_paused(body: Json) -> bool:
    """Whether the user asked us to leave the children alone."""
    return bool((body["metadata"].get("annotations") or {}).get(RECONCILE_ANNOTATION) == RECONCILE_DISABLED)


def parse(body: Json) -> DicomAdapter:
    """A DicomAdapter from what the API server holds; raises SpecError for the first field that cannot work."""
    metadata = body["metadata"]
    spec = Section(body.get("spec") or {}, "spec")
    store = parse_store(spec.text("dicomStore"))
    credentials = _credentials(spec.section("credentials"), store)
    drain = spec.integer("drainSeconds", 10, 0, 600)
    grace = spec.integer("terminationGracePeriodSeconds", 120, 10, 3600)
    if grace < drain + 10:
        raise SpecError("spec.terminationGracePeriodSeconds", messages.grace_period(drain))
    pod = _pod(spec, metadata["name"])
    return DicomAdapter(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        generation=metadata["generation"],
        ae_title=_ae_title("spec.aeTitle", spec.text("aeTitle")),
        port=spec.integer("port", 11112, 1, 65535),
        store=store,
        replicas=spec.integer("replicas", 1, 0, 32),
        suspend=spec.boolean("suspend"),
        termination_grace_seconds=grace,
        service=_service(spec.section("service")),
        pod=pod,
        secrets=tuple(sorted({value["name"] for kind, value in credentials.items() if kind.endswith("Secret")})),
        config_maps=(credentials["caBundle"]["configMap"],) if "caBundle" in credentials else (),
        adapter_spec={
            "aeTitle": spec.text("aeTitle"),
            "acceptedAETitles": [_ae_title(f"spec.acceptedAETitles[{i}]", title) for i, title in enumerate(spec.items("acceptedAETitles"))],
            "dicomStore": store.text,
            "credentials": credentials,
            "delivery": _delivery(spec.section("delivery")),
            "limits": {name: spec.section("limits").integer(name, default, 1, 1 << 20) for name, default in DEFAULT_LIMITS.items()},
            "drainSeconds": drain,
            "terminationGracePeriodSeconds": grace,
            "logLevel": spec.choice("logLevel", "Info", "Debug", "Warning", "Error"),
        },
    )


def parse_store(text: str) -> Store:
    """A Cloud Healthcare path or a DICOMweb base URL; raises SpecError with what to write instead."""
    path = "spec.dicomStore"
    text = text.rstrip("/")
    if text.endswith("/studies"):
        raise SpecError(path, messages.store_studies())
    if text.startswith("projects/"):
        if not HEALTHCARE_PATH.fullmatch(text):
            raise SpecError(path, messages.store_path_incomplete())
        return Store(text, HEALTHCARE_HOST, 443, secure=True, healthcare=True)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SpecError(path, messages.store_scheme()) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(path, messages.store_scheme())
    if parts.username is not None or parts.password is not None:
        raise SpecError(path, messages.store_userinfo())
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise SpecError(path, messages.store_query())
    secure = parts.scheme == "https"
    return Store(text, parts.hostname, port or (443 if secure else 80), secure, healthcare=parts.hostname == HEALTHCARE_HOST)


def _credentials(section: Section, store: Store) -> Json:
    found = [kind for kind in CREDENTIAL_KINDS if section.has(kind)]
    if len(found) > 1:
        raise SpecError(section.path, messages.one_of(CREDENTIAL_KINDS, found))
    insecure = section.boolean("allowInsecure")
    result: Json = {"allowInsecure": insecure}
    kind = found[0] if found else ("googleApplicationDefault" if store.healthcare else "none")
    chosen = section.section(kind)
    match kind:
        case "googleKeySecret":
            result[kind] = {"name": chosen.text("name"), "key": chosen.text("key", "key.json")}
        case "bearerTokenSecret":
            result[kind] = {"name": chosen.text("name"), "key": chosen.text("key", "token")}
        case "basicAuthSecret" | "clientCertificateSecret":
            result[kind] = {"name": chosen.text("name")}
        case _:
            result[kind] = {}
    if kind in ("bearerTokenSecret", "basicAuthSecret") and not store.secure and not insecure:
        raise SpecError("spec.credentials.allowInsecure", messages.insecure_credentials())
    if kind == "clientCertificateSecret" and not store.secure:
        raise SpecError("spec.credentials.clientCertificateSecret", messages.certificate_without_tls())
    if kind.startswith("google"):
        result["scopes"] = section.items("scopes") or [HEALTHCARE_SCOPE]
    if section.has("proxy"):
        result["proxy"] = _proxy(section)
    if section.has("caBundle"):
        bundle = section.section("caBundle")
        result["caBundle"] = {"configMap": bundle.text("configMap"), "key": bundle.text("key", "ca.crt")}
    return result


def _proxy(section: Section) -> str:
    text = section.text("proxy").rstrip("/")
    try:
        good = HTTP_PROXY.fullmatch(text) and urlsplit(text).port != 0
    except ValueError:  # a port above 65535, an address that is none
        good = False
    if not good:
        raise SpecError(f"{section.path}.proxy", messages.proxy())
    return text


def _delivery(section: Section) -> Json:
    retry = section.section("retry")
    initial = retry.integer("initialDelayMilliseconds", 200, 10, 60_000)
    result: Json = {
        "timeoutSeconds": section.integer("timeoutSeconds", 20, 1, 600),
        "onConflict": section.choice("onConflict", "Fail", "Keep", "Overwrite"),
        "maxConcurrentUploads": section.integer("maxConcurrentUploads", 32, 1, 256),
        "retry": {
            "maxAttempts": retry.integer("maxAttempts", 4, 1, 20),
            "initialDelayMilliseconds": initial,
            "maxDelayMilliseconds": retry.integer("maxDelayMilliseconds", max(initial, 5000), initial, 300_000),
            "statusCodes": retry.items("statusCodes") if retry.has("statusCodes") else list(RETRIED),
        },
    }
    if section.has("maxRequestsPerMinute"):
        result["maxRequestsPerMinute"] = section.integer("maxRequestsPerMinute", 1, 1, 1_000_000)
    return result


def _service(section: Section) -> Service:
    ranges = section.items("sourceRanges") or list(PRIVATE_RANGES)
    networks = []
    for index, text in enumerate(ranges):
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise SpecError(f"{section.path}.sourceRanges[{index}]", messages.not_a_network(text)) from error
    return Service(
        type=section.choice("type", "LoadBalancer", "ClusterIP", "NodePort"),
        provider=section.choice("provider", "Auto", "GoogleCloud", "AWS", "Azure", "Other"),
        annotations=section.strings("annotations"),
        load_balancer_class=section.text("loadBalancerClass", ""),
        source_ranges=tuple(dict.fromkeys(networks)),
        ip_family_policy=section.choice("ipFamilyPolicy", "SingleStack", "PreferDualStack", "RequireDualStack"),
        external_traffic_policy=section.choice("externalTrafficPolicy", "Cluster", "Local"),
        allow_public_address=section.boolean("allowPublicAddress"),
    )


def _pod(spec: Section, name: str) -> PodOverrides:
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


def _ae_title(path: str, value: Any) -> str:
    if not isinstance(value, str) or not AE_TITLE.fullmatch(value):
        raise SpecError(path, messages.ae_title(value))
    return value


@dataclass(frozen=True, slots=True)
class Section:
    """An object inside the spec, with its path for error messages. Past it everything is typed."""

    value: Json
    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise SpecError(self.path, messages.must_be("an object", self.value))

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.value.get(name) is not None

    def section(self, name: str) -> Section:
        """A nested object; empty when absent."""
        found = self.value.get(name)
        return Section({} if found is None else found, f"{self.path}.{name}")

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required without default."""
        found = self.value.get(name)
        if found is None:
            if default is None:
                raise SpecError(f"{self.path}.{name}", messages.required())
            return default
        if not isinstance(found, str):
            raise SpecError(f"{self.path}.{name}", messages.must_be("a string", found))
        return found

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A bounded integer."""
        found = self.value.get(name, default)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise SpecError(f"{self.path}.{name}", messages.must_be(f"a whole number between {low} and {high}", found))
        return found

    def boolean(self, name: str) -> bool:
        """A boolean, false by default."""
        found = self.value.get(name, False)
        if not isinstance(found, bool):
            raise SpecError(f"{self.path}.{name}", messages.must_be("true or false", found))
        return found

    def choice(self, name: str, *choices: str) -> Any:
        """One of an enumeration; the first is the default."""
        found = self.value.get(name, choices[0])
        if found not in choices:
            raise SpecError(f"{self.path}.{name}", messages.must_be(f"one of {', '.join(choices)}", found))
        return found

    def items(self, name: str) -> list[Any]:
        """A list; empty when absent."""
        found = self.value.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise SpecError(f"{self.path}.{name}", messages.must_be("a list", found))
        return list(found)

    def strings(self, name: str) -> Mapping[str, str]:
        """A map of strings; empty when absent."""
        found = self.section(name).value
        if not all(isinstance(value, str) for value in found.values()):
            raise SpecError(f"{self.path}.{name}", messages.must_be("a map of strings", found))
        return dict(found)

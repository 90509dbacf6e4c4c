"""From a DicomAdapter document, or its bare spec, and flag values to a `Config`: every error found, none guessed away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from dicom_adapter import dicomstore
from dicom_adapter.config import (
    API_VERSION,
    HEALTHCARE_SCOPE,
    KIND,
    Config,
    ConfigError,
    ConfigErrors,
    CredentialKind,
    Credentials,
    Delivery,
    DicomStore,
    Limits,
    LogLevel,
    ObjectKey,
    Retry,
)
from dicom_adapter.reader import Problems, Reader

GOOGLE_HOSTS = ("googleapis.com",)
_READ = (
    "aeTitle", "acceptedAETitles", "port", "dicomStore", "credentials", "delivery", "limits", "drainSeconds",
    "terminationGracePeriodSeconds", "logLevel",
)  # fmt: skip
_FOR_KUBERNETES = (
    "replicas", "suspend", "service", "image", "imagePullSecrets", "resources", "nodeSelector", "tolerations", "affinity",
    "topologySpreadConstraints", "priorityClassName", "podLabels", "podAnnotations", "serviceAccount",
)  # fmt: skip
_ALTERNATIVES = tuple(str(kind) for kind in CredentialKind)
_GOOGLE_KINDS = (CredentialKind.GOOGLE_DEFAULT, CredentialKind.GOOGLE_KEY)
_SECRET_KEYS = {CredentialKind.GOOGLE_KEY: "key.json", CredentialKind.BEARER: "token", CredentialKind.CLIENT_CERTIFICATE: "tls.crt"}
_FIXED_KEYS = (CredentialKind.BASIC, CredentialKind.CLIENT_CERTIFICATE)


def is_google_host(host: str, google_hosts: Iterable[str] = GOOGLE_HOSTS) -> bool:
    """Whether a Google token may go to this host: one of the domains, or a host inside one."""
    return any(host == domain or host.endswith(f".{domain}") for domain in google_hosts)


def load(
    text: str | None, overrides: Mapping[str, Any], *, aliases: Mapping[str, str], google_hosts: Iterable[str] = GOOGLE_HOSTS
) -> Config:
    """Builds the configuration; raises ConfigErrors.

    Args:
        text: the document, or None when flags say everything.
        overrides: values of flags by the dotted path of the field that they stand for; they win over the document.
        aliases: what to call such a path in an error: the flag.
        google_hosts: domains that Google tokens may be sent to.
    """
    problems = Problems(aliases)
    root = _document(text, problems)
    metadata = root.mapping("metadata") if root.path == "" and root.has("metadata") else None
    spec = root if root.path == "spec" else (root.mapping("spec") or Reader({}, "spec", problems))
    spec = _overridden(spec, overrides, problems)
    config = _spec(spec, problems, tuple(google_hosts), metadata)
    if problems.errors:
        raise ConfigErrors(problems.errors)
    return config


def _document(text: str | None, problems: Problems) -> Reader:
    if text is None:
        return Reader({}, "spec", problems)
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise ConfigErrors([ConfigError("--config", f"the file is not valid YAML{where}; write a DicomAdapter document")]) from error
    if not isinstance(value, Mapping):
        raise ConfigErrors([ConfigError("--config", "the file holds no mapping; write a DicomAdapter document or its spec")])
    if not {"apiVersion", "kind", "metadata", "spec"} & set(value):
        return Reader(value, "spec", problems)
    root = Reader(value, "", problems)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if root.text(key, required=f"write {key}: {wanted}") not in (wanted, ""):
            root.problem(key, f"'{root.text(key)}' is not for this adapter; write {wanted}")
    root.close(("apiVersion", "kind", "metadata", "spec", "status"))
    if not root.has("spec"):
        root.problem("spec", "is missing; write aeTitle and dicomStore below it")
    return root


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a key that is there twice, as the API server does with strict validation."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is not a field name", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _overridden(spec: Reader, overrides: Mapping[str, Any], problems: Problems) -> Reader:
    values: dict[Any, Any] = dict(spec.raw())
    for path, value in overrides.items():
        *parents, last = path.removeprefix("spec.").split(".")
        inner: dict[Any, Any] = values
        for parent in parents:
            child = inner.get(parent)
            inner[parent] = inner = dict(child) if isinstance(child, Mapping) else {}
        inner[last] = value
    return Reader(values, spec.path, problems)


def _spec(spec: Reader, problems: Problems, google_hosts: tuple[str, ...], metadata: Reader | None) -> Config:
    spec.close((*_READ, *_FOR_KUBERNETES))
    ae_title = spec.text("aeTitle", required="write the AE title that senders call, for example IMPORTADAPTER")
    spec.check_ae_title("aeTitle", ae_title)
    accepted = spec.texts("acceptedAETitles", (), 16)
    for index, title in enumerate(accepted):
        spec.check_ae_title(f"acceptedAETitles[{index}]", title)
    port = spec.integer("port", 11112, 1, 65535)
    store = _store(spec, google_hosts)
    credentials = _credentials(spec, store, problems, google_hosts)
    drain = spec.integer("drainSeconds", 10, 0, 600)
    grace = spec.integer("terminationGracePeriodSeconds", 120, 10, 3600)
    if grace < drain + 10:
        spec.problem("terminationGracePeriodSeconds", f"{grace} is too short to drain in; write at least drainSeconds + 10 = {drain + 10}")
    return Config(
        ae_title=ae_title,
        store=store or DicomStore(url=""),
        accepted_ae_titles=accepted,
        port=port,
        credentials=credentials,
        delivery=_delivery(spec.mapping("delivery")),
        limits=_limits(spec.mapping("limits")),
        drain_seconds=drain,
        termination_grace_period_seconds=grace,
        log_level=spec.choice("logLevel", LogLevel.INFO),
        name=metadata.text("name") if metadata else "",
        namespace=metadata.text("namespace") if metadata and metadata.has("namespace") else "",
    )


def _store(spec: Reader, google_hosts: tuple[str, ...]) -> DicomStore | None:
    text = spec.text("dicomStore", required="write projects/P/locations/L/datasets/D/dicomStores/S or the base URL of a DICOMweb service")
    if not text:
        return None
    try:
        return dicomstore.parse(text, lambda host: is_google_host(host, google_hosts))
    except ValueError as error:
        spec.problem("dicomStore", str(error))
        return None


def _credentials(spec: Reader, store: DicomStore | None, problems: Problems, google_hosts: tuple[str, ...]) -> Credentials:
    reader = spec.mapping("credentials") or Reader({}, spec.where("credentials"), problems)
    reader.close((*_ALTERNATIVES, "scopes", "caBundle", "proxy", "allowInsecure"))
    chosen = [kind for kind in CredentialKind if reader.has(kind)]
    if len(chosen) > 1:
        spec.problem("credentials", f"holds {' and '.join(chosen)}; keep one of them")
    default = CredentialKind.GOOGLE_DEFAULT if store and store.healthcare_path else CredentialKind.NONE
    kind = chosen[0] if chosen else default
    secret = None
    body = reader.mapping(kind)
    if kind in (CredentialKind.GOOGLE_DEFAULT, CredentialKind.NONE):
        if body:
            body.close(())
    elif body:
        body.close(("name",) if kind in _FIXED_KEYS else ("name", "key"))
        secret = ObjectKey(_object_name(body, "Secret"), _file_name(body, _SECRET_KEYS.get(kind, "username")))
    bundle = reader.mapping("caBundle")
    ca_bundle = None
    if bundle:
        bundle.close(("configMap", "key"))
        ca_bundle = ObjectKey(_object_name(bundle, "ConfigMap", "configMap"), _file_name(bundle, "ca.crt"))
    allow_insecure = reader.boolean("allowInsecure", False)
    if store:
        _check_origin(reader, kind, urlsplit(store.url), allow_insecure, google_hosts)
    scopes = reader.texts("scopes", (HEALTHCARE_SCOPE,), 16)
    return Credentials(kind, secret, scopes or (HEALTHCARE_SCOPE,), ca_bundle, allow_insecure, _proxy(reader))


def _proxy(reader: Reader) -> str:
    text = reader.text("proxy").rstrip("/")
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        bare = parts.scheme == "http" and parts.hostname and not (parts.path or parts.query or parts.fragment)
        port = parts.port
    except ValueError:
        bare, port = False, None
    if "@" in text:  # said without quoting it: there is a password in it
        reader.problem("proxy", "holds a user or password; write the URL without it")
    elif not bare or port == 0:
        reader.problem("proxy", f"{text[:60]!r} is no HTTP proxy; write http://HOST:PORT")
    return text


def _check_origin(reader: Reader, kind: CredentialKind, url: Any, allow_insecure: bool, google_hosts: tuple[str, ...]) -> None:
    """A token or password never leaves for an origin other than the one it is for, nor unencrypted unless that is asked for."""
    if kind in _GOOGLE_KINDS and not is_google_host(url.hostname, google_hosts):
        reader.problem(
            kind, f"a Google token goes to Google's hosts only, not to '{url.hostname}'; use another kind of credentials or none: {{}}"
        )
    elif kind in _GOOGLE_KINDS and url.scheme == "http" and is_google_host(url.hostname):
        reader.problem(kind, "a Google token is not sent over http://; write an https:// URL in spec.dicomStore")
    elif kind in (CredentialKind.BEARER, CredentialKind.BASIC) and url.scheme == "http" and not allow_insecure:
        what = "the token" if kind is CredentialKind.BEARER else "the password"
        reader.problem(kind, f"{what} would cross the network in the clear; use an https:// dicomStore, or write allowInsecure: true")
    elif kind is CredentialKind.CLIENT_CERTIFICATE and url.scheme == "http":
        reader.problem(kind, "a client certificate is shown in TLS, which http:// has not; write an https:// URL in spec.dicomStore")


def _object_name(reader: Reader, what: str, key: str = "name") -> str:
    name = reader.text(key, required=f"write the name of the {what}")
    if "/" in name or name.startswith("."):
        reader.problem(key, f"'{name}' cannot be the name of a {what}; write its name alone")
    return name


def _file_name(reader: Reader, default: str) -> str:
    key = reader.text("key", default)
    if "/" in key or key in (".", ".."):
        reader.problem("key", f"'{key}' cannot be a key; write the name of a key alone")
    return key


def _delivery(reader: Reader | None) -> Delivery:
    if reader is None:
        return Delivery()
    default = Delivery()
    reader.close(("timeoutSeconds", "onConflict", "retry", "maxConcurrentUploads", "maxRequestsPerMinute"))
    return Delivery(
        timeout_seconds=reader.integer("timeoutSeconds", default.timeout_seconds, 1, 600),
        on_conflict=reader.choice("onConflict", default.on_conflict),
        retry=_retry(reader.mapping("retry")),
        max_concurrent_uploads=reader.integer("maxConcurrentUploads", default.max_concurrent_uploads, 1, 256),
        max_requests_per_minute=reader.integer("maxRequestsPerMinute", 0, 1, 1_000_000) or None,
    )


def _retry(reader: Reader | None) -> Retry:
    default = Retry()
    if reader is None:
        return default
    reader.close(("maxAttempts", "initialDelayMilliseconds", "maxDelayMilliseconds", "statusCodes"))
    initial = reader.integer("initialDelayMilliseconds", default.initial_delay_milliseconds, 10, 60_000)
    longest = reader.integer("maxDelayMilliseconds", max(initial, default.max_delay_milliseconds), 10, 300_000)
    if longest < initial:
        reader.problem("maxDelayMilliseconds", f"{longest} is less than initialDelayMilliseconds; write at least {initial}")
    codes = reader.integers("statusCodes", default.status_codes, 400, 599, 32)
    return Retry(reader.integer("maxAttempts", default.max_attempts, 1, 20), initial, longest, codes)


def _limits(reader: Reader | None) -> Limits:
    default = Limits()
    if reader is None:
        return default
    fields = {
        "maxAssociations": (default.max_associations, 1, 1000),
        "maxAssociationsPerPeer": (default.max_associations_per_peer, 1, 1000),
        "maxPDUBytes": (default.max_pdu_bytes, 4096, 1048576),
        "associationTimeoutSeconds": (default.association_timeout_seconds, 1, 300),
        "dimseTimeoutSeconds": (default.dimse_timeout_seconds, 1, 3600),
        "idleTimeoutSeconds": (default.idle_timeout_seconds, 1, 86400),
    }
    reader.close(fields)
    return Limits(*(reader.integer(key, *bounds) for key, bounds in fields.items()))

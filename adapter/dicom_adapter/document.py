"""From a DicomAdapter document, or its bare spec, and flag values to a `Config`: every error found, none guessed away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from dicom_adapter.config import API_VERSION, KIND, Config, ConfigError, ConfigErrors, DicomStore, LogLevel, Routing, UnknownPeers
from dicom_adapter.reader import Problems, Reader
from dicom_adapter.spec import credentials, delivery, destinations, limits, peers, query, routes, store
from dicom_adapter.spec.store import GOOGLE_HOSTS

_READ = (
    "aeTitle", "acceptedAETitles", "callingAETitle", "port", "dicomStore", "credentials", "delivery", "spool", "query", "services", "peers",
    "unknownPeers", "destinations", "routes", "routing", "limits", "drainSeconds", "terminationGracePeriodSeconds", "logLevel",
)  # fmt: skip
_FOR_KUBERNETES = (
    "replicas", "suspend", "service", "image", "imagePullSecrets", "resources", "nodeSelector", "tolerations", "affinity",
    "topologySpreadConstraints", "priorityClassName", "podLabels", "podAnnotations", "serviceAccount",
)  # fmt: skip


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
    root = document(text, problems)
    metadata = root.mapping("metadata") if root.path == "" and root.has("metadata") else None
    spec = root if root.path == "spec" else (root.mapping("spec") or Reader({}, "spec", problems))
    spec = overridden(spec, overrides, problems)
    config = _spec(spec, problems, tuple(google_hosts), metadata)
    if problems.errors:
        raise ConfigErrors(problems.errors)
    return config


def document(text: str | None, problems: Problems, kind: str = KIND, needs: str = "aeTitle and dicomStore") -> Reader:
    """The root of a document of this kind, or its bare spec as `spec`; `needs` is what a spec has at least. Raises ConfigErrors."""
    if text is None:
        return Reader({}, "spec", problems)
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise ConfigErrors([ConfigError("--config", f"the file is not valid YAML{where}; write a {kind} document")]) from error
    if not isinstance(value, Mapping):
        raise ConfigErrors([ConfigError("--config", f"the file holds no mapping; write a {kind} document or its spec")])
    if not {"apiVersion", "kind", "metadata", "spec"} & set(value):
        return Reader(value, "spec", problems)
    root = Reader(value, "", problems)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        if root.text(key, required=f"write {key}: {wanted}") not in (wanted, ""):
            root.problem(key, f"'{root.text(key)}' is not for this adapter; write {wanted}")
    root.close(("apiVersion", "kind", "metadata", "spec", "status"))
    if not root.has("spec"):
        root.problem("spec", f"is missing; write {needs} below it")
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


def overridden(spec: Reader, overrides: Mapping[str, Any], problems: Problems) -> Reader:
    """A spec in which flags have set fields, by dotted paths."""
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
    calling = spec.text("callingAETitle")
    spec.check_ae_title("callingAETitle", calling)
    port = spec.integer("port", 11112, 1, 65535)
    dicom_store = store.read(spec, google_hosts)
    routing = spec.choice("routing", Routing.FIRST_MATCH)
    others = destinations.read(spec, problems, google_hosts)
    drain = spec.integer("drainSeconds", 10, 0, 600)
    grace = spec.integer("terminationGracePeriodSeconds", 120, 10, 3600)
    if grace < drain + 10:
        spec.problem("terminationGracePeriodSeconds", f"{grace} is too short to drain in; write at least drainSeconds + 10 = {drain + 10}")
    return Config(
        ae_title=ae_title,
        store=dicom_store or DicomStore(url=""),
        accepted_ae_titles=accepted,
        calling_ae_title=calling,
        port=port,
        credentials=credentials.read(spec, dicom_store, problems, google_hosts),
        delivery=delivery.read(spec.mapping("delivery")),
        spool=delivery.read_spool(spec.mapping("spool")),
        query=query.read(spec.mapping("query")),
        services=peers.services(spec),
        peers=peers.read(spec),
        unknown_peers=spec.choice("unknownPeers", UnknownPeers.ACCEPT),
        destinations=others,
        routes=routes.read(spec, routing, others),
        routing=routing,
        limits=limits.read(spec.mapping("limits")),
        drain_seconds=drain,
        termination_grace_period_seconds=grace,
        log_level=spec.choice("logLevel", LogLevel.INFO),
        name=metadata.text("name") if metadata else "",
        namespace=metadata.text("namespace") if metadata and metadata.has("namespace") else "",
    )

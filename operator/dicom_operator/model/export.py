"""A DicomExport as the rest of the operator sees it: parsed once, frozen, valid.. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_operator import messages
from dicom_operator.api import EXPORT, Json, Key
from dicom_operator.errors import SpecError
from dicom_operator.spec.export import Place, delivery, destination, source, wanted
from dicom_operator.spec.pod import PodOverrides, pod_overrides
from dicom_operator.spec.section import Section
from dicom_operator.spec.titles import ae_title


@dataclass(frozen=True, slots=True)
class DicomExport:
    """One resource, whole and valid."""

    key: Key
    uid: str
    destination: str
    """What is called the destination in sentences and columns."""
    replicas: int
    suspend: bool
    termination_grace_seconds: int
    pod: PodOverrides
    ledger: str
    """The claim that remembers what was exported, or ""."""
    places: tuple[Place, ...]
    """Where its pods connect to over HTTP."""
    peer: Place | None
    """Where they connect to over DIMSE."""
    credentials: tuple[Json, ...]
    secrets: tuple[str, ...]
    config_maps: tuple[str, ...]
    pod_spec: Json

    @property
    def spools(self) -> bool:
        """Never: what is not delivered is still in the subscription and in the store."""
        return False

    @property
    def wanted_replicas(self) -> int:
        """Pods that should run now."""
        return 0 if self.suspend else self.replicas


def parse(body: Json) -> DicomExport:
    """A DicomExport from what the API server holds; raises SpecError for the first field that cannot work."""
    metadata, spec = body["metadata"], Section(body.get("spec") or {}, "spec")
    grace = spec.integer("terminationGracePeriodSeconds", 120, 20, 3600)
    found, places, shown = source(spec.section("source"))
    target, place, target_shown = destination(spec.section("destination"))
    delivered = delivery(spec.section("delivery"))
    if "deadLetter" in delivered and "poll" in found:
        raise SpecError("spec.delivery.deadLetter", messages.export.dead_letter_of_poll())
    credentials = (shown, *([target_shown] if target_shown else ()))
    replicas = spec.integer("replicas", 1, 0, 32)
    return DicomExport(
        key=Key(metadata["namespace"], metadata["name"], EXPORT.kind),
        uid=metadata["uid"],
        destination=_name(target),
        replicas=replicas,
        suspend=spec.boolean("suspend"),
        termination_grace_seconds=grace,
        pod=pod_overrides(spec, metadata["name"]),
        ledger=_ledger(spec, found, replicas),
        places=(*places, *([place] if "dicomweb" in target else ())),
        peer=place if "peer" in target else None,
        credentials=credentials,
        secrets=tuple(sorted({value["name"] for one in credentials for kind, value in one.items() if kind.endswith("Secret")})),
        config_maps=tuple(sorted({one["caBundle"]["configMap"] for one in credentials if "caBundle" in one})),
        pod_spec={
            "source": found,
            "destination": target,
            "callingAETitle": ae_title("spec.callingAETitle", spec.text("callingAETitle", "EXPORTADAPTER")),
            **({"filter": wanted(spec.section("filter"))} if spec.has("filter") else {}),
            "grouping": spec.choice("grouping", "Instance", "Study"),
            "settleSeconds": spec.integer("settleSeconds", 30, 1, 300),
            "transcode": spec.choice("transcode", "WhenRefused", "Never"),
            "delivery": delivered,
            "terminationGracePeriodSeconds": grace,
            "logLevel": spec.choice("logLevel", "Info", "Debug", "Warning", "Error"),
        },
    )


def _name(target: Json) -> str:
    """As the pods write it in their /status."""
    if "dicomweb" in target:
        return str(target["dicomweb"]["url"])
    return "{aeTitle}@{host}:{port}".format_map(target["peer"])


def _ledger(spec: Section, found: Json, replicas: int) -> str:
    searches = "poll" in found or "reconcile" in found
    if searches and replicas > 1:
        raise SpecError("spec.replicas", messages.export.one_searches())
    if spec.has("ledger"):
        if not searches:
            raise SpecError("spec.ledger", messages.export.ledger_of_nothing())
        return spec.section("ledger").text("persistentVolumeClaim")
    if "poll" in found:
        raise SpecError("spec.ledger", messages.export.ledger_needed())
    return ""

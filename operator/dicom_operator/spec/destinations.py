"""`destinations`: further places that images can go to, DICOMweb services and DICOM nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.spec.credentials import credentials
from dicom_operator.spec.peers import host_of
from dicom_operator.spec.section import Section
from dicom_operator.spec.store import Store, parse_store
from dicom_operator.spec.titles import ae_title

DICOM_STORE = "dicomStore"
"""The name by which routes call `spec.dicomStore`."""

OF_THE_SPOOL = ("incoming", "requests", "lock")
"""Directories beside those of the destinations."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One of them: where it is, and for a DICOMweb service how the adapter shows itself there."""

    name: str
    host: str
    port: int
    credentials: Json
    spec: Json
    """As the adapter reads it, with every default written out."""


def destinations(spec: Section) -> tuple[Destination, ...]:
    """The section, none of its names twice."""
    found: list[Destination] = []
    for item in spec.sections("destinations"):
        destination = _destination(item)
        if destination.name in (DICOM_STORE, *(other.name for other in found)):
            raise SpecError(f"{item.path}.name", messages.destination_twice(destination.name))
        if destination.name in OF_THE_SPOOL:
            raise SpecError(f"{item.path}.name", messages.name_of_the_spool(destination.name))
        found.append(destination)
    return tuple(found)


def _destination(item: Section) -> Destination:
    name = item.text("name")
    if item.has("dicomStore") == any(item.has(key) for key in ("aeTitle", "host", "port")):
        raise SpecError(item.path, messages.store_or_node())
    if item.has("dicomStore"):
        store: Store = parse_store(item.text("dicomStore"), f"{item.path}.dicomStore")
        shown = credentials(item.section("credentials"), store)
        return Destination(name, store.host, store.port, shown, {"name": name, "dicomStore": store.text, "credentials": shown})
    title, host = ae_title(f"{item.path}.aeTitle", item.text("aeTitle")), host_of(item)
    if not item.has("port"):
        raise SpecError(f"{item.path}.port", messages.required())
    port = item.integer("port", 0, 1, 65535)
    return Destination(name, host, port, {}, {"name": name, "aeTitle": title, "host": host, "port": port})


def names(found: Sequence[Destination]) -> tuple[str, ...]:
    """What routes may name."""
    return (*(destination.name for destination in found), DICOM_STORE)

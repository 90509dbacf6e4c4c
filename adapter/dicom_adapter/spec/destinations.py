"""`spec.destinations`: further places that images can go to, DICOMweb services and DICOM nodes."""

from __future__ import annotations

import re

from dicom_adapter.config import DICOM_STORE, Destination, DicomStore, DicomwebDestination, DimseDestination
from dicom_adapter.reader import Problems, Reader
from dicom_adapter.spec import credentials, store
from dicom_adapter.spec.peers import is_host

MOST_DESTINATIONS = 32
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OF_THE_SPOOL = ("incoming", "requests", "lock")
_NODE = ("aeTitle", "host", "port")


def read(spec: Reader, problems: Problems, google_hosts: tuple[str, ...]) -> tuple[Destination, ...]:
    """The destinations, by names that none has twice."""
    found: list[Destination] = []
    for reader in spec.mappings("destinations", MOST_DESTINATIONS):
        destination = _destination(reader, problems, google_hosts)
        if destination.name and any(other.name == destination.name for other in found):
            reader.problem("name", f"'{destination.name}' is there twice; give each destination a name of its own")
        found.append(destination)
    return tuple(found)


def _destination(reader: Reader, problems: Problems, google_hosts: tuple[str, ...]) -> Destination:
    reader.close(("name", "dicomStore", "credentials", *_NODE))
    name = _name(reader)
    if reader.has("dicomStore"):
        for key in _NODE:
            if reader.has(key):
                reader.problem(key, "is beside dicomStore; keep one of them: a destination is a DICOMweb service or a DICOM node")
        found = store.read(reader, google_hosts)
        return DicomwebDestination(name, found or DicomStore(""), credentials.read(reader, found, problems, google_hosts))
    if not any(reader.has(key) for key in _NODE):
        reader.problem("dicomStore", "is missing; write the DICOMweb service, or aeTitle, host and port of a DICOM node")
        return DimseDestination(name, "", "", 0)
    if reader.has("credentials"):
        reader.problem("credentials", "is for a DICOMweb service; remove it, or write dicomStore instead of aeTitle, host and port")
    title = reader.text("aeTitle", required="write the AE title of the node, upper and lower case as it has it")
    reader.check_ae_title("aeTitle", title)
    host = reader.text("host", required="write the host name or address of the node")
    if host and not is_host(host):
        reader.problem("host", f"{host[:60]!r} is no host; write a name or an address, without scheme and port")
    if not reader.has("port"):
        reader.problem("port", "is missing; write the port that the node listens on, often 104 or 11112")
    return DimseDestination(name, title, host, reader.integer("port", 0, 1, 65535))


def _name(reader: Reader) -> str:
    name = reader.text("name", required="write a name for routes to refer to")
    if name == DICOM_STORE:
        reader.problem("name", f"'{name}' is the name of spec.dicomStore; choose another")
    elif name in _OF_THE_SPOOL:
        reader.problem("name", f"'{name}' is a directory of the spool; choose another")
    elif name and not _NAME.fullmatch(name):
        reader.problem("name", f"{name[:70]!r} cannot be a name; write at most 63 lower-case letters, digits and '-', such as 'archive'")
    return name

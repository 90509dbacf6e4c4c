"""`peers`, `services`, `query` and `callingAETitle`: which nodes are known, what they may do, and the name that calls to them go by."""

from __future__ import annotations

import ipaddress
import re

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import SpecError
from dicom_operator.spec.section import Section
from dicom_operator.spec.service import Service
from dicom_operator.spec.titles import ae_title

SERVICES = ("Verification", "Storage", "Query", "Retrieve", "StorageCommitment")
HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?")


def called_as(spec: Section) -> Json:
    """`callingAETitle`, if it is there."""
    return {"callingAETitle": ae_title("spec.callingAETitle", spec.text("callingAETitle"))} if spec.has("callingAETitle") else {}


def services(section: Section, name: str = "services") -> list[str]:
    """A list of services, all of them when it is absent; raises SpecError."""
    if not section.has(name):
        return list(SERVICES)
    found = section.items(name)
    for index, service in enumerate(found):
        if service not in SERVICES:
            raise SpecError(f"{section.path}.{name}[{index}]", messages.must_be(f"one of {', '.join(SERVICES)}", service))
    if not found:
        raise SpecError(f"{section.path}.{name}", messages.no_services())
    return found


def query(section: Section) -> Json:
    """The section with its defaults."""
    result: Json = {"fuzzyMatching": section.boolean("fuzzyMatching")}
    if section.has("maxResults"):
        result["maxResults"] = section.integer("maxResults", 1, 1, 1_000_000)
    return result


def peers(spec: Section, service: Service) -> list[Json]:
    """The known peers with their defaults; raises SpecError."""
    found: dict[str, Json] = {}
    for index, item in enumerate(spec.items("peers")):
        section = Section(item, f"{spec.path}.peers[{index}]")
        peer = _peer(section)
        if peer["aeTitle"] in found:
            raise SpecError(f"{section.path}.aeTitle", messages.twice(peer["aeTitle"]))
        if "addresses" in peer and service.type != "ClusterIP" and service.external_traffic_policy != "Local":
            raise SpecError(f"{section.path}.addresses", messages.addresses_hidden())
        found[peer["aeTitle"]] = peer
    return list(found.values())


def _peer(section: Section) -> Json:
    peer: Json = {"aeTitle": ae_title(f"{section.path}.aeTitle", section.text("aeTitle")), "allow": services(section, "allow")}
    if section.has("host") != section.has("port"):
        raise SpecError(section.path, messages.host_and_port())
    if section.has("host"):
        peer |= {"host": host_of(section), "port": section.integer("port", 0, 1, 65535)}
    if section.has("addresses"):
        peer["addresses"] = section.items("addresses")
        for index, text in enumerate(peer["addresses"]):
            try:
                ipaddress.ip_network(text if "/" in text else "", strict=False)
            except (TypeError, ValueError) as error:
                raise SpecError(f"{section.path}.addresses[{index}]", messages.not_a_network(text)) from error
    return peer


def host_of(section: Section, field: str = "host") -> str:
    """`host` of a peer or destination: a name or an address; raises SpecError."""
    text = section.text(field)
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        if not HOST.fullmatch(text):
            raise SpecError(f"{section.path}.{field}", messages.not_a_host(text)) from error
    return text

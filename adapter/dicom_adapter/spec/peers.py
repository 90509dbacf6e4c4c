"""`spec.peers`, `spec.services` and `spec.unknownPeers`: which nodes are known, and what each may do."""

from __future__ import annotations

import ipaddress
import re

from dicom_adapter.config import ALL_SERVICES, Network, Peer, ServiceName
from dicom_adapter.reader import Reader, did_you_mean

MOST_PEERS = 256
MOST_ADDRESSES = 16
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?")


def services(spec: Reader, key: str = "services") -> tuple[ServiceName, ...]:
    """A list of services; all of them when it is not there."""
    found = []
    names = spec.texts(key, ALL_SERVICES, len(ALL_SERVICES))
    for index, name in enumerate(names):
        if name in list(ServiceName):
            found.append(ServiceName(name))
        else:
            near = did_you_mean(name, ServiceName)
            spec.problem(f"{key}[{index}]", f"'{name[:40]}' is no service; write one of {', '.join(ServiceName)}{near}")
    if not names:
        spec.problem(key, "is empty; write at least one service, or leave it out for all")
    return tuple(found)


def read(spec: Reader) -> tuple[Peer, ...]:
    """The known peers."""
    peers: list[Peer] = []
    for reader in spec.mappings("peers", MOST_PEERS):
        peer = _peer(reader)
        if peer.ae_title and any(other.ae_title == peer.ae_title for other in peers):
            reader.problem("aeTitle", f"'{peer.ae_title}' is there twice; remove one")
        peers.append(peer)
    return tuple(peers)


def _peer(reader: Reader) -> Peer:
    reader.close(("aeTitle", "host", "port", "allow", "addresses"))
    title = reader.text("aeTitle", required="write the AE title of the peer, upper and lower case as it gives it")
    reader.check_ae_title("aeTitle", title)
    host, port = reader.text("host"), reader.integer("port", 0, 1, 65535)
    if host and not is_host(host):
        reader.problem("host", f"{host[:60]!r} is no host; write a name or an address, without scheme and port")
    if bool(host) != reader.has("port"):
        missing, there = ("port", "host") if host else ("host", "port")
        reader.problem(missing, f"is missing beside {there}; write both, or neither for a peer that is never called")
    return Peer(title, host, port, services(reader, "allow"), _addresses(reader))


def is_host(text: str) -> bool:
    """Whether it is a name or an address that one can connect to."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return True


def _addresses(reader: Reader) -> tuple[Network, ...]:
    found = []
    for index, text in enumerate(reader.texts("addresses", (), MOST_ADDRESSES)):
        try:
            if "/" not in text:
                raise ValueError
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            instead = "write for example 10.20.0.0/16, a single address as 10.20.3.4/32"
            reader.problem(f"addresses[{index}]", f"'{text[:60]}' is no network; {instead}")
    return tuple(found)

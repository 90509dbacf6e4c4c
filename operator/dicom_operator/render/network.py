"""Who may talk to an adapter, and to whom it may talk. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from dicom_operator import api
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model.adapter import DicomAdapter
from dicom_operator.model.managed import Managed
from dicom_operator.render import loadbalancer
from dicom_operator.render.meta import child, selector

METADATA_SERVER = "169.254.169.254/32"
"""The link-local metadata server of the clouds. On GKE its traffic ends at port 988 of the node (workload identity)."""
NAMESPACE_NAME = "kubernetes.io/metadata.name"
Place = tuple[str, int]
"""Host and port."""


def network_policy(adapter: DicomAdapter, config: Config) -> Json:
    """In: DICOM from the source ranges, HTTP from operator and scrapers. Out: DNS, stores, DICOM nodes, proxies, token servers."""
    policy = child(api.NETWORK_POLICY, adapter, adapter.key.name)
    policy["spec"] = {
        "podSelector": {"matchLabels": selector(adapter.key)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [_dicom(adapter), http_from(config)],
        "egress": _egress(adapter),
    }
    return policy


def _dicom(adapter: DicomAdapter) -> Json:
    return {
        "from": [{"ipBlock": {"cidr": cidr}} for cidr in loadbalancer.ingress_ranges(adapter.service)],
        "ports": [{"port": api.DICOM_PORT, "protocol": "TCP"}],
    }


def http_from(config: Config) -> Json:
    """HTTP from the operator, and from scrapers."""
    peers: list[Json] = [{"namespaceSelector": {"matchLabels": {api.SCRAPE_LABEL: "true"}}}]
    if config.operator_namespace:
        peers.insert(0, {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: config.operator_namespace}}})
    return {"from": peers, "ports": [{"port": api.HTTP_PORT, "protocol": "TCP"}]}


DNS: Json = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def _egress(adapter: DicomAdapter) -> list[Json]:
    shown = [adapter.adapter_spec["credentials"], *(destination.credentials for destination in adapter.destinations)]
    places = [(adapter.store.host, adapter.store.port), *((destination.host, destination.port) for destination in adapter.destinations)]
    nodes = [(peer["host"], peer["port"]) for peer in adapter.adapter_spec.get("peers", ()) if "host" in peer]  # C-MOVE destinations
    return egress(adapter, places, shown, nodes)


def egress(owner: Managed, places: Sequence[Place], shown: Sequence[Json], nodes: Sequence[Place] = ()) -> list[Json]:
    """DNS, stores and nodes, and what their credentials need: proxies, token servers."""
    rules: list[Json] = [DNS]

    def allow(host: str, port: int) -> None:
        rules.extend(rule for rule in _way_to(host, port, owner) if rule not in rules)

    for place in places:
        allow(*place)
    for credentials in shown:
        if proxy := credentials.get("proxy"):
            parts = urlsplit(proxy)
            allow(str(parts.hostname), parts.port or 80)
    if any(kind.startswith("google") for credentials in shown for kind in credentials):
        rules.append({"ports": [{"port": 443, "protocol": "TCP"}]})  # oauth2.googleapis.com, sts.googleapis.com
    if any("googleApplicationDefault" in credentials for credentials in shown):
        metadata_ports = [{"port": 80, "protocol": "TCP"}, {"port": 988, "protocol": "TCP"}]
        rules.append({"to": [{"ipBlock": {"cidr": METADATA_SERVER}}], "ports": metadata_ports})
    for node in nodes:
        allow(*node)
    return rules


def _way_to(host: str, port: int, owner: Managed) -> list[Json]:
    """A NetworkPolicy knows no host names: what is written as an address is named, of any other host only the port is.

    A Service's port need not be that of its pods, which is what most networks compare: a host in the cluster is named by its
    namespace, with any port.
    """
    ports = [{"port": port, "protocol": "TCP"}]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _, *rest = host.split(".")
        namespace = rest[0] if rest else owner.key.namespace
        in_cluster = not rest or len(rest) == 1 or rest[1] == "svc"
        inside: list[Json] = [{"to": [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}}}]}] if in_cluster else []
        return [{"ports": ports}, *inside]
    return [{"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], "ports": ports}]

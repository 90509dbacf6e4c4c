"""Who may talk to an adapter, and to whom it may talk. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from dicom_operator import api, loadbalancer
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model import DicomAdapter
from dicom_operator.render_meta import child, selector

METADATA_SERVER = "169.254.169.254/32"
"""The link-local metadata server of the clouds. On GKE its traffic ends at port 988 of the node (workload identity)."""
NAMESPACE_NAME = "kubernetes.io/metadata.name"


def network_policy(adapter: DicomAdapter, config: Config) -> Json:
    """In: DICOM from the source ranges, HTTP from operator and scrapers. Out: DNS, stores, DICOM nodes, proxies, token servers."""
    policy = child(api.NETWORK_POLICY, adapter, adapter.key.name)
    policy["spec"] = {
        "podSelector": {"matchLabels": selector(adapter)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [_dicom(adapter), _http(config)],
        "egress": _egress(adapter),
    }
    return policy


def _dicom(adapter: DicomAdapter) -> Json:
    return {
        "from": [{"ipBlock": {"cidr": cidr}} for cidr in loadbalancer.ingress_ranges(adapter.service)],
        "ports": [{"port": api.DICOM_PORT, "protocol": "TCP"}],
    }


def _http(config: Config) -> Json:
    peers: list[Json] = [{"namespaceSelector": {"matchLabels": {api.SCRAPE_LABEL: "true"}}}]
    if config.operator_namespace:
        peers.insert(0, {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: config.operator_namespace}}})
    return {"from": peers, "ports": [{"port": api.HTTP_PORT, "protocol": "TCP"}]}


def _egress(adapter: DicomAdapter) -> list[Json]:
    rules: list[Json] = [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        *_way_to(adapter.store.host, adapter.store.port, adapter),
    ]
    shown = [adapter.adapter_spec["credentials"], *(destination.credentials for destination in adapter.destinations)]
    for destination in adapter.destinations:
        rules += [rule for rule in _way_to(destination.host, destination.port, adapter) if rule not in rules]
    for credentials in shown:
        if proxy := credentials.get("proxy"):
            parts = urlsplit(proxy)
            rules += [rule for rule in _way_to(str(parts.hostname), parts.port or 80, adapter) if rule not in rules]
    if any(kind.startswith("google") for credentials in shown for kind in credentials):
        rules.append({"ports": [{"port": 443, "protocol": "TCP"}]})  # oauth2.googleapis.com, sts.googleapis.com
    if any("googleApplicationDefault" in credentials for credentials in shown):
        metadata_ports = [{"port": 80, "protocol": "TCP"}, {"port": 988, "protocol": "TCP"}]
        rules.append({"to": [{"ipBlock": {"cidr": METADATA_SERVER}}], "ports": metadata_ports})
    for peer in adapter.adapter_spec.get("peers", ()):  # C-MOVE destinations
        if "host" in peer:
            rules += (rule for rule in _way_to(peer["host"], peer["port"], adapter) if rule not in rules)
    return rules


def _way_to(host: str, port: int, adapter: DicomAdapter) -> list[Json]:
    """A NetworkPolicy knows no host names: what is written as an address is named, of any other host only the port is.

    A Service's port need not be that of its pods, which is what most networks compare: a host in the cluster is named by its
    namespace, with any port.
    """
    ports = [{"port": port, "protocol": "TCP"}]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _, *rest = host.split(".")
        namespace = rest[0] if rest else adapter.key.namespace
        in_cluster = not rest or len(rest) == 1 or rest[1] == "svc"
        inside: list[Json] = [{"to": [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}}}]}] if in_cluster else []
        return [{"ports": ports}, *inside]
    return [{"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], "ports": ports}]

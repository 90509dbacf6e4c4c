"""The rendered NetworkPolicy, evaluated: who reaches an adapter, and whom it reaches (networking.k8s.io/v1).

Evaluated on paper only: the network of the test cluster enforces no NetworkPolicy, so that a real network does is untested here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest

from dicom_operator.render.adapter import desired
from tests.unit.operator.builders import CONFIG, HEALTHCARE, adapter

DICOM, HTTP = 11112, 8080


@dataclass(frozen=True)
class Peer:
    """The other end: an address, and for a pod its labels and those of its namespace."""

    address: str
    namespace: dict[str, str] | None = None
    labels: dict[str, str] = field(default_factory=dict)


def pod(namespace: str, **labels: str) -> Peer:
    return Peer("10.244.0.9", {"kubernetes.io/metadata.name": namespace, **labels})


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "an expression would need more than this evaluation"
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def matches(rule_peer: dict[str, Any], peer: Peer) -> bool:
    assert set(rule_peer) <= {"ipBlock", "namespaceSelector"}
    if "ipBlock" in rule_peer:
        assert set(rule_peer["ipBlock"]) == {"cidr"}
        network = ipaddress.ip_network(rule_peer["ipBlock"]["cidr"])
        address = ipaddress.ip_address(peer.address)
        return address.version == network.version and address in network
    return peer.namespace is not None and selects(rule_peer["namespaceSelector"], peer.namespace)


def allows(spec: dict[str, Any], direction: str, peer: Peer, port: int, protocol: str = "TCP") -> bool:
    """Some rule has the peer (a rule without peers has all) and the port (a rule without ports has all)."""
    side = {"Ingress": "from", "Egress": "to"}[direction]
    assert direction in spec["policyTypes"]
    return any(
        (not rule.get(side) or any(matches(one, peer) for one in rule[side]))
        and (not rule.get("ports") or any((one["port"], one["protocol"]) == (port, protocol) for one in rule["ports"]))
        for rule in spec[direction.lower()]
    )


def policy(**spec: Any) -> dict[str, Any]:
    (found,) = (child for child in desired(adapter(**spec), CONFIG) if child["kind"] == "NetworkPolicy")
    return dict(found["spec"])


MODALITY, NODE, STRANGER = Peer("10.20.3.4"), Peer("192.168.1.5"), Peer("34.1.2.3")
NARROW = {"sourceRanges": ["10.20.0.0/16"], "externalTrafficPolicy": "Local"}


@pytest.mark.parametrize(
    ("service", "peer", "port", "allowed"),
    [
        ({}, MODALITY, DICOM, True),
        ({}, STRANGER, DICOM, False),
        ({}, Peer("fd00::7"), DICOM, True),
        ({}, Peer("2600:1900::7"), DICOM, False),
        (NARROW, MODALITY, DICOM, True),
        (NARROW, NODE, DICOM, False),
        ({"sourceRanges": ["10.20.0.0/16"]}, NODE, DICOM, True),  # the node that forwards it: the Service has applied the ranges before
        ({"sourceRanges": ["10.20.0.0/16"]}, STRANGER, DICOM, False),
        ({"sourceRanges": ["10.20.0.0/16"], "type": "ClusterIP"}, NODE, DICOM, False),
        ({}, MODALITY, HTTP, False),
        ({}, pod("dicom-system"), HTTP, True),
        ({}, pod("monitoring", **{"dicomadapter.io/scrape": "true"}), HTTP, True),
        ({}, pod("monitoring", **{"dicomadapter.io/scrape": "false"}), HTTP, False),
        ({}, pod("rad"), HTTP, False),
        ({}, MODALITY, 22, False),
    ],
)
def test_who_reaches_an_adapter(service, peer, port, allowed):
    assert allows(policy(service=service), "Ingress", peer, port) is allowed


METADATA = Peer("169.254.169.254")


@pytest.mark.parametrize(
    ("store", "peer", "port", "allowed"),
    [
        ("https://pacs.hospital.example/x", STRANGER, 443, True),
        ("https://pacs.hospital.example/x", STRANGER, 80, False),
        ("https://pacs.hospital.example/x", pod("pacs"), 8042, False),
        ("https://pacs.hospital.example/x", METADATA, 80, False),
        ("http://10.1.2.3:8042/x", Peer("10.1.2.3"), 8042, True),
        ("http://10.1.2.3:8042/x", Peer("10.1.2.4"), 8042, False),
        ("http://10.1.2.3:8042/x", Peer("10.1.2.3"), 22, False),
        ("http://orthanc.pacs.svc/x", pod("pacs"), 8042, True),  # behind port 80 of the Service
        ("http://orthanc.pacs.svc/x", pod("other"), 8042, False),
        (HEALTHCARE, STRANGER, 443, True),
        (HEALTHCARE, METADATA, 80, True),
        (HEALTHCARE, METADATA, 22, False),
    ],
)
def test_whom_an_adapter_reaches(store, peer, port, allowed):
    found = policy(dicomStore=store)
    assert allows(found, "Egress", peer, port) is allowed
    assert allows(found, "Egress", Peer("10.96.0.10"), 53, "UDP")


def test_an_adapter_reaches_its_destinations():
    google = {"name": "research", "dicomStore": HEALTHCARE}
    archive = {"name": "archive", "dicomStore": "http://10.1.2.3:8042/x", "credentials": {"proxy": "http://10.9.9.9:3128"}}
    node = {"name": "pacs", "aeTitle": "PACS", "host": "10.1.2.5", "port": 104}
    found = policy(dicomStore="https://10.1.1.1/x", destinations=[archive, node, google])
    for peer, port in ((Peer("10.1.2.3"), 8042), (Peer("10.9.9.9"), 3128), (Peer("10.1.2.5"), 104), (STRANGER, 443), (METADATA, 80)):
        assert allows(found, "Egress", peer, port)
    assert not allows(found, "Egress", Peer("10.1.2.5"), 8042)
    assert not allows(policy(dicomStore="https://10.1.1.1/x"), "Egress", METADATA, 80)


@pytest.mark.parametrize(
    ("proxy", "peer", "port", "allowed"),
    [
        ("http://10.9.9.9:3128", Peer("10.9.9.9"), 3128, True),
        ("http://10.9.9.9:3128/", Peer("10.9.9.8"), 3128, False),
        ("http://10.9.9.9", Peer("10.9.9.9"), 80, True),
        ("http://squid.egress.svc:3128", pod("egress"), 3128, True),
        ("http://proxy.example:3128", STRANGER, 3128, True),
        ("http://proxy.example:3128", STRANGER, 22, False),
    ],
)
def test_an_adapter_reaches_its_proxy(proxy, peer, port, allowed):
    found = policy(dicomStore="https://10.1.2.3/x", credentials={"proxy": proxy})
    assert allows(found, "Egress", peer, port) is allowed


@pytest.mark.parametrize(
    ("host", "peer", "port", "allowed"),
    [
        ("10.1.4.4", Peer("10.1.4.4"), 104, True),
        ("10.1.4.4", Peer("10.1.4.5"), 104, False),
        ("10.1.4.4", Peer("10.1.4.4"), 11112, False),
        ("ws1.hospital.example", STRANGER, 104, True),
        ("viewer.reading.svc", pod("reading"), 11112, True),
        ("", Peer("10.1.4.4"), 104, False),
    ],
)
def test_an_adapter_reaches_the_peers_that_it_may_have_to_call(host, peer, port, allowed):
    known = {"aeTitle": "WS1", "host": host, "port": 104} if host else {"aeTitle": "WS1"}
    found = policy(dicomStore="https://10.1.2.3/x", peers=[known, {"aeTitle": "WS2", "host": "10.1.9.9", "port": 104}])
    assert allows(found, "Egress", peer, port) is allowed
    assert allows(found, "Egress", Peer("10.1.9.9"), 104)


def test_many_peers_behind_names_are_one_rule():
    peers = [{"aeTitle": f"WS{number}", "host": f"ws{number}.example", "port": 104} for number in range(200)]
    assert sum(rule.get("ports") == [{"port": 104, "protocol": "TCP"}] for rule in policy(peers=peers)["egress"]) == 1


def test_it_holds_for_the_adapters_pods_and_no_others():
    children = {child["kind"]: child for child in desired(adapter(), CONFIG)}
    selector = children["NetworkPolicy"]["spec"]["podSelector"]
    assert selects(selector, children["Deployment"]["spec"]["template"]["metadata"]["labels"])
    assert not selects(selector, {"app.kubernetes.io/name": "dicom-adapter", "app.kubernetes.io/instance": "other"})


def test_without_the_operators_namespace_only_scrapers_read_http():
    spec = next(child for child in desired(adapter(), type(CONFIG)(adapter_image="a")) if child["kind"] == "NetworkPolicy")["spec"]
    assert not allows(spec, "Ingress", pod("dicom-system"), HTTP)

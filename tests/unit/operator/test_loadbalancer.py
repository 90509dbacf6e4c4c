"""Internal by default on every cloud, and never open by accident."""

from __future__ import annotations

import pytest

from dicom_operator.render.loadbalancer import ingress_ranges, is_public, service_annotations, source_ranges
from tests.unit.operator.builders import adapter

PREFIX = "service.beta.kubernetes.io/"
GOOGLE = {"networking.gke.io/load-balancer-type": "Internal"}
AWS = {f"{PREFIX}aws-load-balancer-scheme": "internal", f"{PREFIX}aws-load-balancer-internal": "true"}
AZURE = {f"{PREFIX}azure-load-balancer-internal": "true"}
OTHERS = {f"{PREFIX}oci-load-balancer-internal": "true", f"{PREFIX}openstack-internal-load-balancer": "true"}


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("Auto", {**GOOGLE, **AWS, **AZURE, **OTHERS}),
        ("GoogleCloud", GOOGLE),
        ("AWS", {**AWS, f"{PREFIX}aws-load-balancer-type": "external", f"{PREFIX}aws-load-balancer-nlb-target-type": "ip"}),
        ("Azure", {**AZURE, f"{PREFIX}azure-load-balancer-tcp-idle-timeout": "30"}),
        ("Other", {}),
    ],
)
def test_annotations_of_each_cloud(provider, expected):
    assert service_annotations(adapter(service={"provider": provider}).service) == expected


def test_the_users_annotations_win():
    wanted = {"networking.gke.io/load-balancer-type": "External", "a/b": "c"}
    found = service_annotations(adapter(service={"annotations": wanted, "provider": "GoogleCloud"}).service)
    assert found == wanted


def test_a_cluster_ip_has_the_users_annotations_alone():
    assert service_annotations(adapter(service={"type": "ClusterIP", "annotations": {"a": "b"}}).service) == {"a": "b"}


@pytest.mark.parametrize(
    ("ranges", "families", "expected"),
    [
        (["10.0.0.0/8", "fc00::/7"], [], ["10.0.0.0/8"]),
        (["10.0.0.0/8", "fc00::/7"], ["IPv4"], ["10.0.0.0/8"]),
        (["10.0.0.0/8", "fc00::/7"], ["IPv6"], ["fc00::/7"]),
        (["10.0.0.0/8", "fc00::/7"], ["IPv6", "IPv4"], ["10.0.0.0/8", "fc00::/7"]),
        (["fc00::/7"], [], ["fc00::/7"]),
        (["fc00::/7"], ["IPv4"], ["255.255.255.255/32"]),
        (["10.0.0.0/8"], ["IPv4", "IPv6"], ["10.0.0.0/8", "::/128"]),
    ],
)
def test_source_ranges_are_never_empty_for_a_family(ranges, families, expected):
    networks = adapter(service={"sourceRanges": ranges}).service.source_ranges
    assert source_ranges(networks, families) == expected


def test_ranges_of_the_network_policy():
    own = ["203.0.113.0/24"]
    assert ingress_ranges(adapter(service={"sourceRanges": own, "externalTrafficPolicy": "Local"}).service) == own
    assert ingress_ranges(adapter(service={"sourceRanges": own, "type": "ClusterIP"}).service) == own
    behind_nodes = ingress_ranges(adapter(service={"sourceRanges": own}).service)
    assert behind_nodes == ["203.0.113.0/24", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]


@pytest.mark.parametrize(
    ("address", "public"),
    [("34.1.2.3", True), ("10.8.0.4", False), ("100.64.1.1", False), ("fd00::1", False), ("2600::1", True), ("lb.example", None)],
)
def test_public_addresses(address, public):
    assert is_public(address) is public

"""`service`: how senders reach the adapter."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dicom_operator import messages
from dicom_operator.errors import SpecError
from dicom_operator.spec.section import Section

PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
"""RFC 1918, RFC 6598 (shared address space) and RFC 4193 (unique local): where senders are in a hospital."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Service:
    """How senders reach the adapter."""

    type: Literal["LoadBalancer", "ClusterIP", "NodePort"]
    provider: Literal["Auto", "GoogleCloud", "AWS", "Azure", "Other"]
    annotations: Mapping[str, str]
    load_balancer_class: str
    source_ranges: tuple[Network, ...]
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"]
    external_traffic_policy: Literal["Cluster", "Local"]
    allow_public_address: bool


def parse_service(section: Section) -> Service:
    """The section with its defaults; raises SpecError for a range that is none."""
    ranges = section.items("sourceRanges") or list(PRIVATE_RANGES)
    networks = []
    for index, text in enumerate(ranges):
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise SpecError(f"{section.path}.sourceRanges[{index}]", messages.not_a_network(text)) from error
    return Service(
        type=section.choice("type", "LoadBalancer", "ClusterIP", "NodePort"),
        provider=section.choice("provider", "Auto", "GoogleCloud", "AWS", "Azure", "Other"),
        annotations=section.strings("annotations"),
        load_balancer_class=section.text("loadBalancerClass", ""),
        source_ranges=tuple(dict.fromkeys(networks)),
        ip_family_policy=section.choice("ipFamilyPolicy", "SingleStack", "PreferDualStack", "RequireDualStack"),
        external_traffic_policy=section.choice("externalTrafficPolicy", "Cluster", "Local"),
        allow_public_address=section.boolean("allowPublicAddress"),
    )

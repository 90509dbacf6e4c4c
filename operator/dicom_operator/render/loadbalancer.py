"""Load balancers of the clouds: annotations that make an address internal, source ranges, and whether an address is public. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from dicom_operator.spec.service import PRIVATE_RANGES, Network, Service

Family = Literal["IPv4", "IPv6"]

GOOGLE = {"networking.gke.io/load-balancer-type": "Internal"}
AWS_SCHEME = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
    "service.beta.kubernetes.io/aws-load-balancer-internal": "true",  # the older in-tree controller
}
AWS_CONTROLLER = {
    # Hands the Service to the AWS Load Balancer Controller; without that controller nobody would serve it, hence not in Auto.
    "service.beta.kubernetes.io/aws-load-balancer-type": "external",
    "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
}
AZURE = {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}
AZURE_IDLE = {"service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout": "30"}  # minutes; associations idle longer than Azure's 4
OTHERS = {
    "service.beta.kubernetes.io/oci-load-balancer-internal": "true",
    "service.beta.kubernetes.io/openstack-internal-load-balancer": "true",
}

PROVIDER_ANNOTATIONS: Mapping[str, Mapping[str, str]] = {
    "Auto": {**GOOGLE, **AWS_SCHEME, **AZURE, **OTHERS},
    "GoogleCloud": GOOGLE,
    "AWS": {**AWS_SCHEME, **AWS_CONTROLLER},
    "Azure": {**AZURE, **AZURE_IDLE},
    "Other": {},
}
"""A plain `type: LoadBalancer` is public on most clouds, and images are patient data: Auto sets the scheme of every cloud."""

NOBODY: Mapping[Family, str] = {"IPv4": "255.255.255.255/32", "IPv6": "::/128"}
"""Ranges that are never a source address (RFC 919, RFC 4291 2.5.2)."""


def service_annotations(service: Service) -> dict[str, str]:
    """Annotations of the Service; the user's win."""
    internal = PROVIDER_ANNOTATIONS[service.provider] if service.type == "LoadBalancer" else {}
    return {**internal, **service.annotations}


def source_ranges(ranges: Sequence[Network], families: Iterable[str]) -> list[str]:
    """`loadBalancerSourceRanges` for a Service of these IP families.

    kube-proxy ignores ranges of the other family, and takes a list of which nothing is left as "everybody"; some clouds refuse
    a mixed list. So only ranges of the Service's families are written, and a family without any gets a range that matches
    nobody. Before the API server has chosen the families, IPv4 is assumed when there is an IPv4 range: too narrow for a moment
    rather than too wide.
    """
    chosen: list[Family] = [family for family in ("IPv4", "IPv6") if family in families]
    if not chosen:
        chosen = ["IPv4"] if any(item.version == 4 for item in ranges) else ["IPv6"]
    result: list[str] = []
    for family in chosen:
        version = 4 if family == "IPv4" else 6
        result += [str(item) for item in ranges if item.version == version] or [NOBODY[family]]
    return result


def ingress_ranges(service: Service) -> list[str]:
    """From where the NetworkPolicy lets DICOM in.

    With externalTrafficPolicy Cluster the pod sees the address of a node, not of the sender (the load balancer and kube-proxy
    have applied the source ranges before): the private ranges, in which nodes live, stay open then.
    """
    own = [str(item) for item in service.source_ranges]
    if service.type == "ClusterIP" or service.external_traffic_policy == "Local":
        return own
    return list(dict.fromkeys([*own, *PRIVATE_RANGES]))


def is_public(address: str) -> bool | None:
    """Whether an IP address is routed on the internet; None for a host name, which has to be resolved first."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return None

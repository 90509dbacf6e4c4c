"""The AddressAssigned condition: where senders connect. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_operator import messages
from dicom_operator.api import ConditionType, Json, Reason
from dicom_operator.model.adapter import DicomAdapter
from dicom_operator.render import loadbalancer
from dicom_operator.status.conditions import Condition, Status


@dataclass(frozen=True, slots=True)
class Address:
    """What a modality's administrator enters, as far as it is known."""

    condition: Condition
    host: str = ""
    port: int = 0
    endpoint: str = ""


def assigned(service: Json | None) -> list[str]:
    """The addresses and host names that the load balancer of a Service has: one, or one of each IP family."""
    ingress = (((service or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [host for item in ingress if (host := item.get("ip") or item.get("hostname"))]


def is_pending(adapter: DicomAdapter, service: Json | None) -> bool:
    """Whether a load balancer's address is waited for."""
    return service is not None and adapter.service.type == "LoadBalancer" and not assigned(service)


def address(adapter: DicomAdapter, service: Json | None, names: Mapping[str, bool | None], event: str = "") -> Address:
    """Where the adapter is reached.

    `names` is whether host names lead to a public address; unknown does not gate. `event` is what was last told of the Service.
    """
    name = adapter.key.name
    if service is None:
        return not_observed(messages.address_not_observed(name))
    if adapter.service.type == "ClusterIP":
        host = f"{name}.{adapter.key.namespace}.svc"
        endpoint = _endpoint(adapter, host)
        return Address(_condition("True", Reason.NOT_REQUIRED, messages.address_not_required(endpoint)), host, adapter.port, endpoint)
    if adapter.service.type == "NodePort":
        port = next((item.get("nodePort", 0) for item in service["spec"].get("ports") or ()), 0)
        return Address(_condition("True", Reason.NOT_REQUIRED, messages.node_port(port)), port=port)
    hosts = assigned(service)
    if not hosts:
        return Address(_condition("False", Reason.PENDING, messages.address_pending(name, event)), port=adapter.port)
    public = [] if adapter.service.allow_public_address else [one for one in hosts if loadbalancer.is_public(one) or names.get(one)]
    host = (public or hosts)[0]
    endpoint = _endpoint(adapter, host)
    if public:
        return Address(_condition("False", Reason.PUBLIC_ADDRESS, messages.public_address(name, host)), host, adapter.port, endpoint)
    return Address(_condition("True", Reason.ASSIGNED, messages.address_assigned(endpoint)), host, adapter.port, endpoint)


def not_observed(message: str) -> Address:
    """Nothing can be said of an address."""
    return Address(_condition("Unknown", Reason.NOT_OBSERVED, message))


def _endpoint(adapter: DicomAdapter, host: str) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return f"{adapter.ae_title}@{bracketed}:{adapter.port}"


def _condition(status: Status, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.ADDRESS_ASSIGNED, status, reason, message)

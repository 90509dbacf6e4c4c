"""Who may call, from where, and for which services: `spec.peers`, `spec.unknownPeers` and `spec.services` as the engine asks for them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Set

from dicom_adapter import dimse, messages
from dicom_adapter.config import ALL_SERVICES, Config, ServiceName, UnknownPeers

DIMSE_SERVICES: Mapping[ServiceName, tuple[dimse.Service, ...]] = {
    ServiceName.VERIFICATION: ("echo",),
    ServiceName.STORAGE: ("store",),
    ServiceName.QUERY: ("find",),
    ServiceName.RETRIEVE: ("get", "move"),
    ServiceName.STORAGE_COMMITMENT: ("n_action",),
}
_CALLING_NOT_RECOGNISED = (1, 1, 3)  # PS3.8 table 9-21


def dimse_services(names: Set[ServiceName] | tuple[ServiceName, ...]) -> frozenset[dimse.Service]:
    """The engine's services behind those of the configuration."""
    return frozenset(service for name in names for service in DIMSE_SERVICES[name])


def service_of(abstract_syntax_uid: str) -> ServiceName | None:
    """The service of the configuration that a SOP class belongs to."""
    found = dimse.service_class(abstract_syntax_uid)
    return next((name for name, services in DIMSE_SERVICES.items() if found is not None and found.for_scu in services), None)


class KnownPeers:
    """The peers of one configuration: `access` and `permit` of the engine."""

    def __init__(self, config: Config) -> None:
        self._peers = {peer.ae_title: peer for peer in config.peers}
        self._services = {peer.ae_title: dimse_services(peer.allow) for peer in config.peers}
        self._unknown = config.unknown_peers
        self._all = dimse_services(ALL_SERVICES)

    def access(self, request: dimse.AssociateRequest, address: str) -> dimse.Rejection | None:
        """Why a peer may have no association at all."""
        title = request.calling_ae_title
        peer = self._peers.get(title)
        if peer is None:
            refused = self._unknown is UnknownPeers.REJECT
            return dimse.Rejection(*_CALLING_NOT_RECOGNISED, messages.UNKNOWN_PEER) if refused else None
        if peer.addresses and not any(ipaddress.ip_address(address.partition("%")[0]) in network for network in peer.addresses):
            text = messages.wrong_address(title, [str(network) for network in peer.addresses])
            return dimse.Rejection(*_CALLING_NOT_RECOGNISED, text, by_address=True)
        return None

    def permit(self, request: dimse.AssociateRequest) -> Set[dimse.Service]:
        """The services that a peer may have."""
        return self._services.get(request.calling_ae_title, self._all)

"""Associations: refused, aborted, ended, and what nobody here can serve."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_adapter.messages.counting import counted


def refused(ae_title: str, result: int, source: int, reason: int, why: str, address: str = "") -> str:
    """An A-ASSOCIATE-RJ that we sent; `address` where it was the address that did not suit us."""
    return f"refused '{ae_title}'{f' from {address}' if address else ''}, {result}/{source}/{reason}: {why}"


UNKNOWN_PEER = "not in spec.peers and spec.unknownPeers is Reject"


def wrong_address(ae_title: str, networks: list[str]) -> str:
    """A known AE title from an address that is not its."""
    return f"spec.peers '{ae_title}' allows {', '.join(networks)}"


def context_refused(ae_title: str, name: str, *, off: str = "") -> str:
    """A presentation context for a service that is not ours, or that is switched `off`."""
    return f"'{ae_title}' proposed {name}: {f'{off} is not in spec.services' if off else 'this adapter has no such service'}"


def context_withheld(ae_title: str, service: str) -> str:
    """A presentation context for a service that this peer may not have."""
    return f"'{ae_title}' proposed {service}: spec.peers '{ae_title}' does not allow it"


def no_dicom(address: str) -> str:
    """A port scan, an HTTP request, a load balancer's probe."""
    return f"{address} sent no DICOM; closed"


def aborted(ae_title: str, why: str) -> str:
    """An A-ABORT that we sent."""
    return f"aborted '{ae_title}': {why}"


def association_ended(
    ae_title: str, address: str, outcome: str, operations: Mapping[tuple[str, int], int], size: int, seconds: float
) -> str:
    """The one line per association."""
    counts = ", ".join(f"{service} {status:04X} x {count}" for (service, status), count in sorted(operations.items())) or "no operations"
    return f"'{ae_title}' from {address} {outcome}: {counts}; {counted(size, 'byte')} in {seconds:.1f} s"

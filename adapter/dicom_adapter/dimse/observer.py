"""What the engine tells its owner: peers, associations and operations, never data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from dicom_adapter.dimse.status import Status

Outcome = Literal["released", "aborted by peer", "aborted", "lost"]


@dataclass(frozen=True, slots=True)
class Peer:
    """The requestor of an association: its AE title, the one it called, and its transport address (PS3.8 7.1.1)."""

    ae_title: str
    called_ae_title: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and, for people, why and what to do about it; `by_address`: for where it came from."""

    result: int
    source: int
    reason: int
    message: str
    by_address: bool = False


@dataclass(frozen=True, slots=True)
class AssociationSummary:
    """An association that has ended: how, why, and what it did: `operations` counts by service and status code."""

    association_id: int
    peer: Peer | None
    outcome: Outcome
    reason: str
    operations: Mapping[tuple[str, int], int]
    received_bytes: int
    seconds: float


class Observer(Protocol):
    """Receives the events of a server. The methods are called on the event loop, must return at once and must not raise.

    `association_ended` follows each `association_accepted` exactly once, and comes for no other connection.
    """

    def association_accepted(self, association_id: int, peer: Peer) -> None:
        """An A-ASSOCIATE-AC was sent."""

    def association_rejected(self, peer: Peer, rejection: Rejection) -> None:
        """An A-ASSOCIATE-RJ was sent."""

    def association_ended(self, summary: AssociationSummary) -> None:
        """An association is over: its connection is closed and its last handler has returned."""

    def context_refused(self, peer: Peer, abstract_syntax_uid: str, name: str, *, withheld: bool) -> None:
        """A presentation context of an accepted association was refused: we have no such service, or it is `withheld` from this peer."""

    def operation_ended(self, service: str, peer: Peer, status: Status, seconds: float, sop_instance_uid: str | None) -> None:
        """A request was answered; `seconds` run from its command set to its answer."""

    def no_dicom(self, address: str) -> None:
        """A connection ended without a valid A-ASSOCIATE-RQ: port scan, HTTP, load balancer probe, garbage."""

    def bytes_received(self, count: int) -> None:
        """So many bytes came off the wire."""

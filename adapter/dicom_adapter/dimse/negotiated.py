"""What the two sides of an association have agreed on, as far as its operations need it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_adapter.dimse.negotiation import ContextResult
from dicom_adapter.dimse.observer import Peer


@dataclass(frozen=True, slots=True)
class Negotiated:
    """An association's terms, seen from our side.

    Attributes:
        association_id: a number of ours.
        peer: the other side, whoever has asked for the association.
        contexts: the accepted presentation contexts by ID.
        peer_maximum_length: of a P-DATA-TF to the peer; 0 is no limit.
        invoked_window: how many operations we may invoke at a time; 0 is no limit.
        performed_window: how many the peer may.
        extended: what the other side proposed, or answered, as SOP class extended negotiation.
    """

    association_id: int
    peer: Peer
    contexts: Mapping[int, ContextResult]
    peer_maximum_length: int
    invoked_window: int = 1
    performed_window: int = 1
    extended: Mapping[str, bytes] = field(default_factory=dict)

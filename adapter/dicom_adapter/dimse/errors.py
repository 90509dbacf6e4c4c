"""How an operation of ours ends when it ends without a response.

    DimseError
    ├── PeerUnreachable         no transport connection: `cause` is dns, refused, silent or network
    ├── NotDicom                something answers there, but not in DICOM's upper layer protocol
    ├── AssociationRejected     A-ASSOCIATE-RJ with `result`, `source` and `reason` (PS3.8 table 9-21)
    ├── AssociationEnded        there is no association, or none any more
    │   ├── AssociationReleased     released, by us or by the peer
    │   ├── AssociationAborted      A-ABORT by the peer, or by us on request
    │   ├── AssociationLost         the connection was closed without a word
    │   ├── PeerSilent              the peer did not say, or read, what it had to in time
    │   └── PeerViolation           the peer broke the protocol
    ├── ContextNotAccepted      the peer takes no such SOP class or transfer syntax
    └── PoolClosed              the pool gives no associations any more

The text of each is a sentence for people. It names AE titles, hosts and UIDs of ours and nothing that the peer sent.
"""

from typing import Final, Literal

UnreachableCause = Literal["dns", "refused", "silent", "network"]


class DimseError(Exception):
    """An operation has no response, and the text says why."""


class PeerUnreachable(DimseError):
    """There is no transport connection to the peer."""

    def __init__(self, cause: UnreachableCause, message: str) -> None:
        super().__init__(message)
        self.cause: Final = cause


class NotDicom(DimseError):
    """What listens there speaks something else."""


class AssociationRejected(DimseError):
    """The peer has sent an A-ASSOCIATE-RJ; `permanent` tells whether it makes sense to try again."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"the association was rejected ({result}/{source}/{reason}): {rejection_sentence(source, reason)}")
        self.result: Final = result
        self.source: Final = source
        self.reason: Final = reason

    @property
    def permanent(self) -> bool:
        """Whether the same request will always be rejected (PS3.8 table 9-21, result 1)."""
        return self.result == 1


class AssociationEnded(DimseError):
    """The association is over."""


class AssociationReleased(AssociationEnded):
    """It was released."""


class AssociationAborted(AssociationEnded):
    """It was aborted."""


class AssociationLost(AssociationEnded):
    """The transport connection has closed."""


class PeerSilent(AssociationEnded):
    """The peer let a deadline pass."""


class PeerViolation(AssociationEnded):
    """The peer sent what no peer may send."""


class ContextNotAccepted(DimseError):
    """The peer has accepted no presentation context for it."""

    def __init__(self, abstract_syntax: str, message: str) -> None:
        super().__init__(message)
        self.abstract_syntax: Final = abstract_syntax


class PoolClosed(DimseError):
    """The pool was closed."""

    def __init__(self) -> None:
        super().__init__("the pool of associations is closed")


_REJECTIONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "it does not know our application context name",
    (1, 3): "it does not know our AE title (calling AE title not recognized)",
    (1, 7): "it has another AE title (called AE title not recognized)",
    (2, 1): "no reason given",
    (2, 2): "it speaks another version of the upper layer protocol",
    (3, 1): "it is congested for the moment",
    (3, 2): "it has as many associations as it takes (local limit exceeded)",
}
"""What each source and reason mean (PS3.8 table 9-21), as far as they mean something."""


def rejection_sentence(source: int, reason: int) -> str:
    """Return what an A-ASSOCIATE-RJ says in words."""
    return _REJECTIONS.get((source, reason), "for a reason that the standard does not have")

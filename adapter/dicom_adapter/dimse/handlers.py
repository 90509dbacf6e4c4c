"""What a server does with the messages it receives: the seam between the engine and the services built on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from dicom_adapter.dimse.observer import Peer
from dicom_adapter.dimse.sopclasses import Service
from dicom_adapter.dimse.status import Status


class DataSetInterrupted(Exception):
    """The peer aborted, closed, stalled or broke the protocol before the last fragment of a data set: what came of it is worthless."""


@dataclass(slots=True)
class StoreRequest:
    """A C-STORE request (PS3.7 9.1.1).

    It is handed to its handler when the command set is there, the data set follows through `body`: `bytes` objects that belong to the
    reader, in the negotiated transfer syntax, exactly as they came. At most `Limits.receive_window_bytes` wait for a slow reader, then the
    peer is held back. A handler may answer before the end: the engine takes the rest off the wire and then sends the status.

    Iterating `body` raises `DataSetInterrupted` when the last fragment will never come.
    """

    peer: Peer
    association_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    body: AsyncIterator[bytes]


StoreHandler = Callable[[StoreRequest], Awaitable[Status]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The services of a server. C-ECHO (PS3.7 9.1.5) is always served; a service without a handler is refused at negotiation."""

    store: StoreHandler | None = None

    def services(self) -> frozenset[Service]:
        """Return the services that are served."""
        return frozenset({"echo", *(name for name in _HANDLED if getattr(self, name) is not None)})


_HANDLED: Final[tuple[Service, ...]] = ("store",)

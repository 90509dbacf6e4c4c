"""What a server does with the messages it receives: the seam between the engine and the services built on it."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Set
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, Self

from dicom_adapter.dimse.commands import MoveOriginator, Priority, SubOperations
from dicom_adapter.dimse.observer import Peer
from dicom_adapter.dimse.sopclasses import Service
from dicom_adapter.dimse.status import PENDING, PENDING_WITHOUT_SOME_KEYS, Status


class DataSetInterrupted(Exception):
    """The peer aborted, closed, stalled or broke the protocol before the last fragment of a data set: what came of it is worthless."""


@dataclass(frozen=True, slots=True)
class SopInstance:
    """An instance to be sent: `body` is its data set as encoded in the transfer syntax, whole or as it comes."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    body: bytes | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Response:
    """A response of C-FIND, C-GET, C-MOVE, N-ACTION or N-EVENT-REPORT: what a handler gives is what a requestor gets.

    Attributes:
        status: pending (FF00, FF01) with another response to come, or anything else, which is the last.
        data_set: the identifier or reply, encoded in the transfer syntax of the request.
        sub_operations: their numbers, for C-GET and C-MOVE.
    """

    status: Status
    data_set: bytes | None = None
    sub_operations: SubOperations | None = None

    @property
    def pending(self) -> bool:
        """Whether another response follows."""
        return self.status.code in (PENDING, PENDING_WITHOUT_SOME_KEYS)


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
    priority: int = Priority.MEDIUM
    move_originator: MoveOriginator | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """A C-FIND request (PS3.7 9.1.2). `extended` is what the peer proposed as SOP class extended negotiation, if it did."""

    peer: Peer
    association_id: int
    message_id: int
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    priority: int = Priority.MEDIUM
    extended: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest(QueryRequest):
    """A C-MOVE request (PS3.7 9.1.4). Its handler sends the instances to `destination`, an AE title."""

    destination: str


class SubOperationSender(Protocol):
    """Sends instances to the requestor of a C-GET, over its own association."""

    async def store(self, instance: SopInstance, *, priority: int = Priority.MEDIUM) -> Status:
        """Send one and return what the requestor says to it.

        Raises:
            ContextNotAccepted: it takes no such SOP class, or not in this transfer syntax.
            AssociationEnded: there is nobody to send to any more.
        """

    def transfer_syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        """Return the transfer syntaxes in which it takes instances of a SOP class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequest(QueryRequest):
    """A C-GET request (PS3.7 9.1.3). Its handler sends the instances with `requestor.store`."""

    requestor: SubOperationSender


class Reporter(Protocol):
    """Asks the requestor of an association for an N-EVENT-REPORT, over that association."""

    async def n_event_report(
        self, sop_class_uid: str, sop_instance_uid: str, event_type_id: int, information: bytes | None = None
    ) -> Response:
        """Send one and return what the requestor answers.

        Raises:
            ContextNotAccepted: it takes none.
            AssociationEnded: there is nobody to send it to any more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedRequest:
    """An N-ACTION or N-EVENT-REPORT request (PS3.7 10.1.1, 10.1.4): type `type_id` on an instance, with `information` (may be empty).

    `requestor` can be asked for something as well, while it is being answered and for as long as the association lives.
    """

    peer: Peer
    association_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    type_id: int
    information: bytes
    requestor: Reporter


StoreHandler = Callable[[StoreRequest], Awaitable[Status]]
FindHandler = Callable[[QueryRequest], AsyncGenerator[Response, None]]
GetHandler = Callable[[GetRequest], AsyncGenerator[Response, None]]
MoveHandler = Callable[[MoveRequest], AsyncGenerator[Response, None]]
NormalizedHandler = Callable[[NormalizedRequest], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The services of a server. C-ECHO (PS3.7 9.1.5) needs no handler; a service without one is refused at negotiation.

    `find`, `get` and `move` are async generators of responses. They are asked for the next one when the peer has read those before it; when
    they end without a last response it is a success. A C-CANCEL cancels them where they wait: who catches `asyncio.CancelledError` may
    still yield a last response with true numbers, else the engine answers FE00. The end of the association cancels them as well.
    """

    store: StoreHandler | None = None
    find: FindHandler | None = None
    get: GetHandler | None = None
    move: MoveHandler | None = None
    n_action: NormalizedHandler | None = None
    n_event_report: NormalizedHandler | None = None
    echo: bool = True

    def services(self) -> frozenset[Service]:
        """Return the services that are served."""
        handled: set[Service] = {name for name in _HANDLED if getattr(self, name) is not None}
        return frozenset(handled | {"echo"} if self.echo else handled)

    def only(self, services: Set[Service]) -> Self:
        """Return these handlers without those of other services."""
        taken_away: dict[str, Any] = dict.fromkeys(set(_HANDLED) - services)
        return replace(self, **taken_away, echo=self.echo and "echo" in services)


_HANDLED: Final[tuple[Service, ...]] = ("store", "find", "get", "move", "n_action", "n_event_report")

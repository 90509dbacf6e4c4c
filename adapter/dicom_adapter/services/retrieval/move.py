"""C-MOVE (PS3.4 C.4.2): instances from the store to a third node, over associations of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from dicom_adapter import messages
from dicom_adapter.dimse import (
    AssociationEnded,
    AssociationRejected,
    ClientAssociation,
    DimseError,
    MoveOriginator,
    MoveRequest,
    PeerAddress,
    PeerUnreachable,
    Pool,
    PresentationContext,
    Response,
    SopInstance,
    Status,
)
from dicom_adapter.dimse.proposal import MAXIMUM_CONTEXTS
from dicom_adapter.dimse.sopclasses import is_uid
from dicom_adapter.part10 import FileMeta
from dicom_adapter.services.datasets import UNCOMPRESSED
from dicom_adapter.services.retrieval.arrival import Arrival, Broken
from dicom_adapter.services.retrieval.retrieval import Retrieval, responses
from dicom_adapter.services.retrieval.sending import Convert, Why, send
from dicom_adapter.services.retrieval.service import RetrieveService, begin, conclude

SENDERS: Final = 4
_UNKNOWN_DESTINATION: Final = 0xA801
_PATIENCE: Final = 5.0
_TRIES: Final = 4
_PAUSE: Final = 0.5

Lookup = Callable[[str], PeerAddress | None]
"""Where the node with an AE title is, None when it is not known or has no address."""


class MoveService:
    """The handler of C-MOVE."""

    def __init__(self, shared: RetrieveService, pool: Pool, lookup: Lookup) -> None:
        self._shared = shared
        self._pool = pool
        self._lookup = lookup

    async def __call__(self, request: MoveRequest) -> AsyncGenerator[Response, None]:
        """Finds, fetches, sends; the responses tell how far it is."""
        peer = self._lookup(request.destination)
        if peer is None:
            title = request.destination
            status = Status(_UNKNOWN_DESTINATION, messages.unknown_ae(title))
            text = messages.unknown_destination("C-MOVE", request.peer.ae_title, title)
            self._shared.observer.retrieval_refused(request, status, text)
            yield Response(status)
            return
        retrieval = await begin(self._shared, "C-MOVE", request)
        if isinstance(retrieval, Response):
            yield retrieval
            return
        sending = _Sending(self._pool, peer, retrieval, request, self._shared.convert)
        senders = [sending.run] * min(SENDERS, len(retrieval.tally.remaining))

        def final(cancelled: bool) -> Response:
            return conclude(self._shared, "C-MOVE", request, retrieval.tally, cancelled=cancelled, to=peer.ae_title)

        async with aclosing(responses(retrieval, senders, patience=_PATIENCE, final=final)) as found:
            async for response in found:
                yield response


class _Sending:
    """The senders of one C-MOVE, and what they know together."""

    def __init__(self, pool: Pool, peer: PeerAddress, retrieval: Retrieval, request: MoveRequest, convert: Convert) -> None:
        self._pool = pool
        self._peer = peer
        self._retrieval = retrieval
        self._priority = request.priority
        self._originator = MoveOriginator(request.peer.ae_title, request.message_id)
        self._convert = convert
        self._classes = dict.fromkeys(one.sop_class for one in retrieval.tally.remaining if is_uid(one.sop_class))
        self._syntaxes = dict.fromkeys(UNCOMPRESSED)
        self._senders = 0
        self._proven = asyncio.Event()
        retrieval.on_stop.append(self._proven.set)
        self._failures = 0

    async def run(self) -> None:
        """One sender: one association at a time. The others wait for the first to be answered: what is small needs no more, and who takes
        only one at a time is not kept busy with refusing.
        """
        self._senders += 1
        if self._senders > 1:
            await self._proven.wait()
        while (arrival := await self._retrieval.ready.peek()) is not None:
            kind = arrival.meta
            if not is_uid(kind.sop_class_uid) or not is_uid(kind.transfer_syntax_uid):
                self._retrieval.ready.take_now()
                self._retrieval.sent(arrival, self._peer.ae_title, Why(messages.BAD_META, messages.BAD_META))
            elif not await self._session(self._contexts(kind)):
                return

    async def _session(self, contexts: tuple[PresentationContext, ...]) -> bool:
        """Sends what is ready over one association; tells whether to go on with another. Nothing is taken before there is one."""
        current: Arrival | None = None
        opened = False
        try:
            async with self._pool.association(self._peer, contexts) as association:
                opened = True
                self._failures = 0
                receiver = _Receiver(association, self._priority, self._originator)
                while (current := self._retrieval.ready.take_now()) is not None and self._proposed(current, contexts):
                    outcome = await send(current, receiver, self._peer.ae_title, self._convert)
                    self._retrieval.sent(current, self._peer.ae_title, outcome)
                    current = None
                    self._proven.set()
                    if self._pool.waiting(self._peer):
                        break
        except Broken:
            self._drop(current)  # whoever fetches it knows
        except DimseError as error:
            if not opened:
                return await self._not_opened(error)
            if current is not None:
                self._retrieval.lost(current, _why(self._peer, error))
        except BaseException:
            self._drop(current)
            raise
        else:
            if current is not None:
                self._retrieval.put_back(current)
        return True

    def _drop(self, arrival: Arrival | None) -> None:
        if arrival is not None:
            arrival.discard()

    async def _not_opened(self, error: DimseError) -> bool:
        """There is no association: so many at a time may be too many, else it may pass, else nobody is there."""
        reached = self._proven.is_set()
        passing = reached or isinstance(error, AssociationEnded) or (isinstance(error, AssociationRejected) and not error.permanent)
        if passing and self._senders > 1 and reached:
            self._senders -= 1
            return False
        self._failures += 1
        if self._failures >= _TRIES or not passing:
            self._retrieval.give_up(_why(self._peer, error))
            return False
        await asyncio.sleep(_PAUSE * self._failures)
        return True

    def _contexts(self, kind: FileMeta) -> tuple[PresentationContext, ...]:
        """Each transfer syntax in a context of its own: what is accepted is what can be sent, not what the peer likes best."""
        self._classes.setdefault(kind.sop_class_uid)
        self._syntaxes.setdefault(kind.transfer_syntax_uid)
        wanted = [(uid, syntax) for uid in self._classes for syntax in self._syntaxes]
        if len(wanted) > MAXIMUM_CONTEXTS:
            own = [(kind.sop_class_uid, syntax) for syntax in (kind.transfer_syntax_uid, *UNCOMPRESSED)]
            wanted = [*dict.fromkeys([*own, *wanted])][:MAXIMUM_CONTEXTS]
        return tuple(PresentationContext(uid, (syntax,)) for uid, syntax in wanted)

    def _proposed(self, arrival: Arrival, contexts: tuple[PresentationContext, ...]) -> bool:
        return PresentationContext(arrival.meta.sop_class_uid, (arrival.meta.transfer_syntax_uid,)) in contexts


class _Receiver:
    """The destination, over one association."""

    def __init__(self, association: ClientAssociation, priority: int, originator: MoveOriginator) -> None:
        self._association = association
        self._priority = priority
        self._originator = originator

    def transfer_syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        return self._association.transfer_syntaxes(sop_class_uid)

    async def store(self, instance: SopInstance, /) -> Status:
        return await self._association.store(instance, priority=self._priority, move_originator=self._originator)


def _why(peer: PeerAddress, error: DimseError) -> Why:
    """What a requestor and a log read of a destination that cannot be reached."""
    title, where = peer.ae_title, str(peer).partition("@")[2]
    if isinstance(error, PeerUnreachable):
        comment, text = messages.UNREACHABLE_PEER[error.cause]
        return Why(f"{title} at {where}: {comment}", text.format(where=where, host=peer.host))
    if isinstance(error, AssociationRejected):
        return Why(messages.peer_rejects(title, where, error.result, error.source, error.reason), f"{where}: {error}")
    return Why(messages.peer_lost(title, where), f"{where}: {error}")

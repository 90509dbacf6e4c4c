"""A DICOM node as destination: C-STORE over associations that are kept, in the syntax of the store or, refused that, uncompressed.

The stored transfer syntax and the native ones are proposed in contexts of their own (PS3.8 9.3.2.2): in one, the peer would choose for us,
and an image that it takes as it is would be transcoded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakSet

from dicom_adapter import dimse
from dicom_adapter.dimse.sopclasses import VERIFICATION, abstract_syntax_name
from dicom_adapter.export import messages
from dicom_adapter.export.destination import Lane
from dicom_adapter.export.events import Event, Reason, Result, Trouble, of_status
from dicom_adapter.export.fetch import Image
from dicom_adapter.transform.transcode import CannotConvert

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_NATIVE = (EXPLICIT, IMPLICIT)
_MOST_CONTEXTS = 128
_IDLE_SECONDS = 10.0
_CROWDED_SECONDS = 600.0
Convert = Callable[[Image, str], Awaitable[bytes]]


class Contexts:
    """The presentation contexts that we propose: those of the images seen last, so that one association does for all of them."""

    def __init__(self) -> None:
        self._seen: OrderedDict[dimse.PresentationContext, None] = OrderedDict()
        self.proposed: tuple[dimse.PresentationContext, ...] = ()

    def of(self, sop_class_uid: str, transfer_syntax_uid: str) -> tuple[dimse.PresentationContext, ...]:
        """With those for an image of this class and syntax among them."""
        stored = dimse.PresentationContext(sop_class_uid, (transfer_syntax_uid,))
        native = dimse.PresentationContext(sop_class_uid, _NATIVE)
        known = stored in self._seen and native in self._seen
        for context in (stored, native):
            self._seen[context] = None
            self._seen.move_to_end(context)
        if not known:
            while len(self._seen) > _MOST_CONTEXTS:
                self._seen.popitem(last=False)
            self.proposed = tuple(self._seen)
        return self.proposed


class PeerDestination:
    """One DICOM node."""

    def __init__(
        self,
        address: dimse.PeerAddress,
        *,
        calling_ae_title: str,
        associations: int,
        transcode: Convert | None,
        limits: dimse.Limits | None = None,
        tls: dimse.Tls | None = None,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._calling = calling_ae_title
        self._transcode = transcode
        self._limits = limits or dimse.Limits()
        self._tls = tls
        self._opened = opened
        self._contexts = Contexts()
        self._lane = self._new_lane(associations, self._contexts)

    def _new_lane(self, associations: int, contexts: Contexts) -> _PeerLane:
        pool = dimse.Pool(
            calling_ae_title=self._calling, limits=self._limits, per_peer=associations, idle_seconds=_IDLE_SECONDS, tls=self._tls
        )
        return _PeerLane(self._address, self._calling, pool, associations, contexts, self._transcode, self._opened)

    async def send(self, image: Image) -> Result:
        """One C-STORE."""
        return await self._lane.send(image)

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[Lane]:
        """One association, released at the end of the block: receivers take that as the end of the study."""
        lane = self._new_lane(1, self._contexts)
        try:
            yield lane
        finally:
            await lane.close()

    async def probe(self) -> Trouble | None:
        """C-ECHO. A peer that takes the association and knows no Verification is there."""
        context = dimse.PresentationContext(VERIFICATION, (IMPLICIT,))
        try:
            async with await dimse.connect(
                self._address, calling_ae_title=self._calling, contexts=[context], limits=self._limits, tls=self._tls
            ) as association:
                status = await association.echo()
        except dimse.ContextNotAccepted:
            return None
        except dimse.DimseError as error:
            return explain(error, self._address, self._calling)
        return None if status.code == 0 else Trouble(Reason.FAILING, messages.peer_answers(self._address.ae_title, "C-ECHO", status.code))

    async def close(self) -> None:
        """Releases what is idle."""
        await self._lane.close()


@dataclass(slots=True, eq=False)
class _Place:
    """One of the associations that we may have. `settled`: the node has taken it, or has not."""

    settled: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: bool = False


class _Places:
    """As many associations as are wanted, or as the node takes: one that it does not take is done without for ten minutes."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._left = count
        self._taken: set[_Place] = set()

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[_Place]:
        """For one image."""
        await self._free.acquire()
        place = _Place()
        self._taken.add(place)
        try:
            yield place
        finally:
            place.settled.set()
            self._taken.discard(place)
            if place.given_up:
                asyncio.get_running_loop().call_later(_CROWDED_SECONDS, self._again)
            else:
                self._free.release()

    async def others(self) -> None:
        """Until it is known of each of the others whether the node takes it: answers to two may come in either order."""
        for place in tuple(self._taken):
            await place.settled.wait()

    def give_up(self, place: _Place) -> bool:
        """Whether it can be done without this one: there is another."""
        if self._left > 1 and not place.given_up:
            self._left -= 1
            place.given_up = True
        return place.given_up

    def _again(self) -> None:
        self._left += 1
        self._free.release()


class _PeerLane:
    """Associations to the node."""

    def __init__(
        self,
        address: dimse.PeerAddress,
        calling: str,
        pool: dimse.Pool,
        associations: int,
        contexts: Contexts,
        transcode: Convert | None,
        opened: Callable[[], None],
    ) -> None:
        self._address = address
        self._calling = calling
        self._pool = pool
        self._places = _Places(associations)
        self._contexts = contexts
        self._transcode = transcode
        self._opened = opened
        self._used: WeakSet[dimse.ClientAssociation] = WeakSet()

    async def close(self) -> None:
        await self._pool.close()

    async def send(self, image: Image) -> Result:
        """One C-STORE."""
        async with self._places.one() as place:
            return await self._send(image, place)

    async def _send(self, image: Image, place: _Place) -> Result:
        asked = kept = False
        contexts = self._contexts.of(image.sop_class_uid, image.transfer_syntax_uid)
        try:
            async with self._pool.association(self._address, contexts) as association:
                place.settled.set()
                kept = association in self._used
                if not kept:
                    self._used.add(association)
                    self._opened()
                instance = await self._instance(image, association.transfer_syntaxes(image.sop_class_uid))
                if isinstance(instance, Result):
                    return instance
                asked = True
                status = await association.store(instance)
        except dimse.ContextNotAccepted as error:
            return Result(Event.SYNTAX_REFUSED, str(error))
        except dimse.AssociationEnded as error:
            stale = kept and isinstance(error, _GONE)
            event = await self._unopened(error, place) if not asked else Event.STALE if stale else Event.CUT_OFF
            return _result(event, explain(error, self._address, self._calling))
        except dimse.DimseError as error:
            return _result(await self._unopened(error, place), explain(error, self._address, self._calling))
        event = of_status(status.code)
        return Result(event, "" if event is Event.STORED else messages.peer_answers(self._address.ae_title, "C-STORE", status.code))

    async def _unopened(self, error: dimse.DimseError, place: _Place) -> Event:
        """There is no association. A node that has all that it takes says so (PS3.8 9.3.4), or lets us wait: dcmtk's storescp does."""
        place.settled.set()
        if isinstance(error, dimse.PeerSilent) or (isinstance(error, dimse.AssociationRejected) and not error.permanent):
            await self._places.others()
            if any(association.usable for association in self._used) and self._places.give_up(place):
                return Event.CROWDED
        return Event.DESTINATION_UNAVAILABLE

    async def _instance(self, image: Image, accepted: tuple[str, ...]) -> dimse.SopInstance | Result:
        """As stored where the peer takes that; otherwise in the native syntax that it takes."""
        if image.transfer_syntax_uid in accepted:
            return dimse.SopInstance(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, image.data_set())
        name = abstract_syntax_name(image.sop_class_uid)
        wanted = next((syntax for syntax in accepted if syntax in _NATIVE), "")
        if not wanted:
            return Result(Event.SYNTAX_REFUSED, messages.class_refused(self._address.ae_title, name))
        if self._transcode is None:
            return Result(Event.SYNTAX_REFUSED, messages.not_transcoded(self._address.ae_title, name, image.transfer_syntax_uid))
        try:
            body = await self._transcode(image, wanted)
        except CannotConvert as error:
            return Result(Event.SYNTAX_REFUSED, messages.cannot_transcode(self._address.ae_title, image.transfer_syntax_uid, str(error)))
        return dimse.SopInstance(image.sop_class_uid, image.sop_instance_uid, wanted, body)


_GONE = (dimse.AssociationReleased, dimse.AssociationAborted, dimse.AssociationLost)


def _result(event: Event, trouble: Trouble) -> Result:
    return Result(event, trouble.text, trouble.reason)


def explain(error: dimse.DimseError, address: dimse.PeerAddress, calling: str) -> Trouble:
    """What is wrong with the peer, and what to do."""
    if isinstance(error, dimse.AssociationRejected):
        text = messages.peer_rejects(address.ae_title, calling, error.source, error.reason, str(error))
        return Trouble(Reason.REJECTED, text)
    refused = isinstance(error, dimse.PeerUnreachable) and error.cause == "refused"
    return Trouble(Reason.REFUSED if refused else Reason.UNREACHABLE, messages.peer_unreachable(str(address), str(error)))

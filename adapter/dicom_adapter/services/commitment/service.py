"""Storage commitment, push model (PS3.4 J.3): N-ACTION in, and later a report of what the store has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_adapter import messages
from dicom_adapter.dimse import NormalizedRequest, PeerAddress, Reporter, Response, Status
from dicom_adapter.services.commitment.existence import Found
from dicom_adapter.services.datasets import Unreadable, decode, encode

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION: Final = 1
ALL_STORED, SOME_NOT_STORED = 1, 2

AT_ONCE_BYTES: Final = 16 << 10
"""So much of a request is read without letting anybody else in: some two hundred references."""
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119
_PROCESSING_FAILURE: Final = 0x0110
_INVALID_ARGUMENT: Final = 0x0115
_NO_SUCH_ACTION: Final = 0x0123
_RESOURCE_LIMITATION: Final = 0x0213


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a peer wants to know: pairs of SOP class and instance UID. `accepted` is time.time() of the request."""

    ae_title: str
    transaction_uid: str
    references: tuple[tuple[str, str], ...]
    accepted: float


@dataclass(frozen=True, slots=True)
class SameAssociation:
    """The one on which a commitment was asked for, and the transfer syntax of that request."""

    reporter: Reporter
    transfer_syntax_uid: str


class Busy(Exception):
    """There is no room for another commitment."""


class CommitmentObserver(Protocol):
    """Whoever counts and logs. Must not raise."""

    def commitment_refused(self, request: NormalizedRequest, status: Status, text: str) -> None:
        """It is not taken up; `text` is for the log."""


class Keeper(Protocol):
    """Sees to it that a commitment is answered."""

    async def keep(self, commitment: Commitment, same: SameAssociation) -> None:
        """From the return on it will be. Raises Busy, OSError."""


@dataclass(frozen=True, slots=True)
class CommitmentService:
    """The handler of N-ACTION."""

    keeper: Keeper
    lookup: Callable[[str], PeerAddress | None]
    now: Callable[[], float]
    observer: CommitmentObserver
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def __call__(self, request: NormalizedRequest) -> Response:
        """Takes it up; the report comes by itself."""
        status, text = await self._take(request)
        if status.code:
            calling = request.peer.ae_title
            self.observer.commitment_refused(request, status, text or messages.failed("N-ACTION", calling, status.code, status.comment))
        return Response(status)

    async def _take(self, request: NormalizedRequest) -> tuple[Status, str]:
        calling = request.peer.ae_title
        if request.sop_instance_uid != PUSH_MODEL_INSTANCE:
            return Status(NO_SUCH_INSTANCE, messages.NOT_THE_PUSH_MODEL), ""
        if request.type_id != REQUEST_ACTION:
            return Status(_NO_SUCH_ACTION, messages.no_such_action(request.type_id)), ""
        if self.lookup(calling) is None:
            return Status(_PROCESSING_FAILURE, messages.unknown_ae(calling)), messages.unknown_destination("N-ACTION", calling, calling)
        try:
            commitment = await self._read(request)
        except Unreadable:
            return Status(_INVALID_ARGUMENT, messages.UNREADABLE_COMMITMENT), ""
        except ValueError as error:
            return Status(_INVALID_ARGUMENT, str(error)), ""
        try:
            await self.keeper.keep(commitment, SameAssociation(request.requestor, request.transfer_syntax_uid))
        except Busy:
            return Status(_RESOURCE_LIMITATION, messages.TOO_MANY_COMMITMENTS), ""
        except OSError:
            return Status(_RESOURCE_LIMITATION, messages.COMMITMENT_NOT_WRITTEN), ""
        return Status(0), ""

    async def _read(self, request: NormalizedRequest) -> Commitment:
        """Many references take seconds: they are read in a thread, of one request at a time. Raises Unreadable, ValueError."""

        def reading() -> Commitment:
            return read(decode(request.information, request.transfer_syntax_uid), request.peer.ae_title, self.now())

        if len(request.information) <= AT_ONCE_BYTES:
            return reading()
        async with self.turn:
            return await asyncio.to_thread(reading)


def read(information: Dataset, ae_title: str, now: float) -> Commitment:
    """What an Action Information asks for (PS3.4 table J.3-1). Raises ValueError."""
    transaction = str(information.get("TransactionUID") or "").strip(" \0")
    items = information.get("ReferencedSOPSequence") or ()
    pairs = [tuple(str(item.get(keyword) or "").strip(" \0") for keyword in _PAIR) for item in items]
    if not transaction:
        raise ValueError(messages.mandatory("TransactionUID"))
    if not pairs:
        raise ValueError(messages.mandatory("ReferencedSOPSequence"))
    if not all(all(pair) for pair in pairs):
        raise ValueError(messages.mandatory("ReferencedSOPClassUID or ReferencedSOPInstanceUID"))
    return Commitment(ae_title, transaction, tuple(dict.fromkeys((sop_class, uid) for sop_class, uid in pairs)), now)


_PAIR: Final = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")


def failures(commitment: Commitment, found: Found) -> dict[tuple[str, str], int]:
    """Failure Reason (0008,1197) of each reference that is not committed (PS3.3 C.14.1.1)."""
    reasons = {}
    for sop_class, uid in commitment.references:
        classes = found.get(uid)
        if classes is None:
            reasons[sop_class, uid] = NO_SUCH_INSTANCE
        elif sop_class not in classes and "" not in classes:
            reasons[sop_class, uid] = CLASS_INSTANCE_CONFLICT
    return reasons


def report(commitment: Commitment, failed: dict[tuple[str, str], int], ae_title: str, transfer_syntax_uid: str) -> tuple[int, bytes]:
    """Event type and Event Information (PS3.4 table J.3-2)."""
    information = Dataset()
    information.TransactionUID = commitment.transaction_uid
    information.RetrieveAETitle = ae_title
    stored = [pair for pair in commitment.references if pair not in failed]
    if stored:
        information.ReferencedSOPSequence = Sequence([_item(*pair) for pair in stored])
    if failed:
        information.FailedSOPSequence = Sequence([_item(*pair, reason) for pair, reason in failed.items()])
    return SOME_NOT_STORED if failed else ALL_STORED, encode(information, transfer_syntax_uid)


def _item(sop_class_uid: str, sop_instance_uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item

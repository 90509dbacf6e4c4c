"""A DICOM node as a target: each instance goes over a pooled association, in the transfer syntax in which it came (PS3.4 B)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from dicom_adapter import messages
from dicom_adapter.delivery.gate import Gate
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.target import Content, Most, Sent, Whole
from dicom_adapter.delivery.verdict import OUT_OF_RESOURCES, SOP_CLASS_NOT_SUPPORTED, WARNINGS, Outcome, Verdict, comment
from dicom_adapter.dicomweb.errors import Obstacle
from dicom_adapter.dimse import (
    AssociationEnded,
    AssociationRejected,
    ContextNotAccepted,
    DimseError,
    Limits,
    PeerAddress,
    PeerSilent,
    PeerUnreachable,
    Pool,
    PresentationContext,
    SopInstance,
    Status,
)
from dicom_adapter.part10 import HEAD_BYTES, data_set_offset

ASSOCIATIONS = 4
"""How many are open to one node at a time."""
_ALONE = Most()
_OBSTACLES = {"dns": Obstacle.DNS, "refused": Obstacle.REFUSED, "silent": Obstacle.SILENT, "network": Obstacle.NETWORK}


class PeerTarget:
    """Sends instances to one node. `pool` is this target's own, with the limits of `limits`."""

    def __init__(self, name: str, peer: PeerAddress, pool: Pool, gate: Gate) -> None:
        self.name = name
        self.peer = peer
        self.gate = gate
        self._pool = pool

    @property
    def most(self) -> Most:
        """A C-STORE has one instance."""
        return _ALONE

    async def send(self, batch: Sequence[Whole]) -> Sent:
        """One C-STORE after the other."""
        loop = asyncio.get_running_loop()
        began, verdicts, ending = loop.time(), [], Ending.ABANDONED
        for instance in batch:
            verdict, ending = await self._store(instance)
            verdicts.append(verdict)
        return Sent(tuple(verdicts), ending, loop.time() - began)

    async def _store(self, whole: Whole) -> tuple[Verdict, Ending]:
        meta = whole.meta
        context = PresentationContext(meta.sop_class_uid, (meta.transfer_syntax_uid,))
        sent = False
        try:
            async with self._pool.association(self.peer, [context]) as association:
                sent = True
                body = data_set(whole.content)
                status = await association.store(SopInstance(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, body))
        except DimseError as error:
            return _failure(error, sent=sent)
        return judge(status)

    async def settle(self, instance: Whole, verdict: Verdict) -> Verdict:
        """A node's word is its last."""
        return verdict


def limits(timeout: float) -> Limits:
    """Of the associations to a destination that has `delivery.timeoutSeconds` to answer."""
    return Limits(
        connect_timeout=min(10.0, timeout), association_timeout=min(30.0, timeout), dimse_timeout=timeout, response_timeout=timeout
    )


def judge(status: Status) -> tuple[Verdict, Ending]:
    """What a node's status means (PS3.4 table B.2-1, PS3.7 C)."""
    code = status.code
    if code == 0 or code >> 12 == 0xB:
        warning = WARNINGS[0] if code and code not in WARNINGS else code
        said = messages.coerced(warning) if warning else ""
        return Verdict(Outcome.STORED, warning, said, said), Ending.ANSWERED
    text = messages.answered_with(code)
    told = comment(status.comment) or text
    if code >> 8 == 0xA9 or code >> 12 == 0xC or code == SOP_CLASS_NOT_SUPPORTED:
        return Verdict(Outcome.INSTANCE_REFUSED, code, told, text), Ending.ANSWERED
    if code >> 8 == OUT_OF_RESOURCES >> 8:
        return Verdict(Outcome.TRANSIENT, OUT_OF_RESOURCES, told, text), Ending.OVERLOADED
    return Verdict(Outcome.DESTINATION_UNAVAILABLE, OUT_OF_RESOURCES, told, text), Ending.FAILED


def _failure(error: DimseError, *, sent: bool) -> tuple[Verdict, Ending]:
    text = str(error)
    if isinstance(error, ContextNotAccepted):  # it works, and takes no such instance
        return Verdict(Outcome.INSTANCE_REFUSED, SOP_CLASS_NOT_SUPPORTED, comment(text), text), Ending.ANSWERED
    if isinstance(error, PeerUnreachable):
        outcome, obstacle = Outcome.TRANSIENT, _OBSTACLES[error.cause]
    elif isinstance(error, AssociationRejected) and error.permanent:
        outcome, obstacle = Outcome.DESTINATION_UNAVAILABLE, None
    else:
        outcome, obstacle = Outcome.TRANSIENT, Obstacle.SILENT if isinstance(error, PeerSilent) else Obstacle.LOST
    unknown = sent and isinstance(error, AssociationEnded)
    return Verdict(outcome, OUT_OF_RESOURCES, comment(text), text, unknown=unknown, obstacle=obstacle), Ending.FAILED


async def data_set(content: Content) -> AsyncIterator[bytes]:
    """The data set of a Part 10 stream. Raises ValueError when it is none."""
    head, skip = b"", -1
    async for piece in content.read():
        if skip < 0:
            head += piece
            if len(head) < HEAD_BYTES:
                continue
            offset = data_set_offset(head)
            if offset is None:
                raise ValueError("no Part 10 stream")
            piece, skip = head, offset
        if len(piece) > skip:
            yield piece[skip:] if skip else piece
        skip = max(0, skip - len(piece))

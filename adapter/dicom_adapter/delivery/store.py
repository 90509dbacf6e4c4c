"""A DICOMweb service as a target: small instances share one STOW request, and each of them has a verdict of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from dicom_adapter.delivery.conflict import Conflicts, is_conflict
from dicom_adapter.delivery.destination import Destination, ending
from dicom_adapter.delivery.gate import Gate
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.target import Most, Sent, Whole
from dicom_adapter.delivery.verdict import Heard, Outcome, Verdict, decide
from dicom_adapter.dicomweb.errors import Obstacle
from dicom_adapter.dicomweb.upload import Part, Upload

_TOGETHER = Most(16, 4 << 20)
_ALONE = Most()
_UNTAKEN = 3  # requests with several instances in a row of which the store says nothing about each
_PAUSE = 600.0  # seconds until it is offered several again
_UNJUDGED = (401, 403, 404, 405, 410, 421, 429, 503)  # say nothing about what was sent


class DicomwebTarget:
    """Sends batches to one DICOMweb service, and resolves its conflicts."""

    def __init__(self, name: str, destination: Destination, gate: Gate, conflicts: Conflicts) -> None:
        self.name = name
        self.gate = gate
        self._destination = destination
        self._conflicts = conflicts
        self._untaken = 0
        self._alone_until = 0.0

    @property
    def most(self) -> Most:
        """Several, unless the store has shown that it takes one at a time."""
        return _ALONE if asyncio.get_running_loop().time() < self._alone_until else _TOGETHER

    async def send(self, batch: Sequence[Whole]) -> Sent:
        """One request."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        heard, retry_after = await self._destination.once(
            lambda: Upload(*(Part(instance.content.read(), instance.content.size) for instance in batch))
        )
        verdicts = _verdicts(heard, [instance.uid for instance in batch])
        judged = [verdict for verdict in verdicts if verdict.outcome in (Outcome.STORED, Outcome.INSTANCE_REFUSED)]
        split = len(batch) > 1 and len(judged) < len(batch) and _says_something(heard)
        if len(batch) > 1:
            self._learn(taken=bool(judged), split=split)
        works = bool(judged) or (split and 0 < heard.code < 500)
        overall = Ending.ANSWERED if works else ending(verdicts[0], heard)
        return Sent(verdicts, overall, loop.time() - began, retry_after, split)

    def _learn(self, *, taken: bool, split: bool) -> None:
        self._untaken = 0 if taken else self._untaken + split
        if self._untaken >= _UNTAKEN:
            self._untaken = 0
            self._alone_until = asyncio.get_running_loop().time() + _PAUSE

    async def settle(self, instance: Whole, verdict: Verdict) -> Verdict:
        """Looks at a conflict, as `delivery.onConflict` says."""
        if not is_conflict(verdict):
            return verdict
        return await self._conflicts.resolve(instance.content, instance.uid, verdict)


def _verdicts(heard: Heard, uids: Sequence[str]) -> tuple[Verdict, ...]:
    if len(uids) == 1:
        return (decide(replace(heard, uid=uids[0])),)
    return tuple(_one_of_several(heard.of(uid)) for uid in uids)


def _one_of_several(own: Heard) -> Verdict:
    """Only what the answer names has been judged; the others are sent again, alone."""
    verdict = decide(own)
    if own.is_named_stored or own.failed_as is not None:
        return verdict
    if verdict.outcome in (Outcome.STORED, Outcome.INSTANCE_REFUSED):
        return replace(verdict, outcome=Outcome.TRANSIENT)
    return verdict


def _says_something(heard: Heard) -> bool:
    """Whether it may have been one of the instances that spoiled the request for all."""
    if heard.failure is not None:
        return heard.failure.obstacle is Obstacle.LOST
    return heard.over is not None or (heard.answer is not None and heard.code not in _UNJUDGED)

"""A place that instances go to: a DICOMweb store or a DIMSE peer. What both ways of delivery use, AfterStore and the spool's uploader.

A target is asked for one attempt at a time, with a batch of whole instances, and gives one verdict for each of them. When the attempt may
be made is its Governor's to say (`Target.gate`); whether and when another follows is the caller's.

    verdicts = await attempt(target, batch, deadline=...)       # its turn, then `target.send`
    verdict = await target.settle(instance, verdict)            # what can still be done about it: a conflict

A verdict of `Outcome.STORED` or `INSTANCE_REFUSED` is the last word on an instance; after the others it may be sent again, byte for byte.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from dicom_adapter.delivery.gate import Gate
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.verdict import Verdict
from dicom_adapter.part10 import FileMeta

DEFAULT_TARGET = "dicomStore"
"""The name of the target that `spec.dicomStore` describes."""


class Content(Protocol):
    """A whole Part 10 stream, in memory or in a file; it can be read as often as it has to be sent."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def lost(self) -> bool:
        """Whether it can be read no more."""

    def read(self) -> AsyncIterator[bytes]:
        """All of it, from its beginning."""

    def open(self) -> BinaryIO:
        """It as a file, for a thread that looks into it."""

    def hold(self) -> AbstractContextManager[Content]:
        """For whoever may need it longer than the caller does."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An instance that is there as a whole: what its file meta information says, and its Part 10 stream.

    The stream begins with the file meta information; the data set follows at `part10.data_set_offset`.
    """

    meta: FileMeta
    content: Content

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return self.meta.sop_instance_uid


@dataclass(frozen=True, slots=True)
class Most:
    """The most that one attempt takes: so many instances, and so many bytes when they are more than one."""

    instances: int = 1
    bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt: a verdict for each instance of the batch, in its order, and what it tells about the target.

    `seconds`: how long the target took, where that says something about it. `retry_after`: the seconds for which it asks to be left alone.
    `split`: one of several instances may have spoiled the attempt for all; those without a last word are to be sent alone.
    """

    verdicts: tuple[Verdict, ...]
    ending: Ending
    seconds: float | None = None
    retry_after: float | None = None
    split: bool = False


class Target(Protocol):
    """One destination by its name, `dicomStore` or that of `spec.destinations`."""

    @property
    def name(self) -> str:
        """As the configuration has it."""

    @property
    def gate(self) -> Gate:
        """Where attempts wait for their turn."""

    @property
    def most(self) -> Most:
        """What one attempt may take now."""

    async def send(self, batch: Sequence[Whole]) -> Sent:
        """One attempt, now, within the target's own time limit. It never raises for what the other side or the network does."""

    async def settle(self, instance: Whole, verdict: Verdict) -> Verdict:
        """The verdict after what can still be done about it, outside of any turn. A target that can do nothing gives it back."""


async def attempt(target: Target, batch: Sequence[Whole], *, deadline: float) -> Sent:
    """One attempt when its turn has come. Raises CircuitOpen, or NoTurn when there is none before `deadline` (of the loop's clock)."""
    async with target.gate.turn(deadline) as passage:
        sent = await target.send(batch)
        passage.ending, passage.seconds, passage.retry_after = sent.ending, sent.seconds, sent.retry_after
        return sent

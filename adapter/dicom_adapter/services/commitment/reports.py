"""The reports of storage commitments: what the store has, told to whoever asked, however long that takes, for a day (PS3.4 J.3.3).

A report goes over an association of our own; when there is none to be had, over the one on which it was asked for, while that lives. Both
the question to the store and the way to the peer are tried again with growing pauses. What is not in the store may still be in the spool:
as long as something older than the request waits there, nothing is called missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from dicom_adapter.dimse import (
    AssociationRejected,
    DimseError,
    Extras,
    Limits,
    PeerAddress,
    PeerUnreachable,
    PresentationContext,
    Reporter,
    RoleProposal,
    connect,
)
from dicom_adapter.services.asking import ASKING_FAILED, trouble
from dicom_adapter.services.commitment.existence import Existence, Found
from dicom_adapter.services.commitment.journal import Journal
from dicom_adapter.services.commitment.service import (
    PUSH_MODEL_INSTANCE,
    STORAGE_COMMITMENT,
    Busy,
    Commitment,
    SameAssociation,
    failures,
    report,
)
from dicom_adapter.services.datasets import UNCOMPRESSED

DAY: Final = 86400.0
MOST_COMMITMENTS: Final = 1000
MOST_REFERENCES: Final = 200_000
_FIRST_PAUSE: Final = 60.0
_LAST_PAUSE: Final = 1800.0
_SPOOL_PAUSE: Final = 2.0
_QUESTIONS: Final = 4
_EXTRAS: Final = Extras(roles={STORAGE_COMMITMENT: RoleProposal(scu=False, scp=True)})  # PS3.4 J.3.3: the SCP asks for the association
_CONTEXTS: Final = (PresentationContext(STORAGE_COMMITMENT, UNCOMPRESSED),)


class ReportObserver(Protocol):
    """Whoever counts and logs. Must not raise."""

    def report_delayed(self, ae_title: str, where: str, why: str, *, tries: int, pause: float, until: float) -> None:
        """The peer could not be told; `until` is a time.time()."""

    def verdict_delayed(self, ae_title: str, why: str, *, tries: int, pause: float, until: float) -> None:
        """The store could not be asked."""

    def report_given_up(self, ae_title: str, where: str, why: str) -> None:
        """A day is over."""

    def reported(self, ae_title: str, stored: int, failed: int) -> None:
        """The peer has taken the report."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What reports need: who we are, where peers are, what time it is, and how old the oldest is that waits in the spool."""

    ae_title: str
    calling: str
    limits: Limits
    lookup: Callable[[str], PeerAddress | None]
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    oldest_spooled: Callable[[], float | None] = lambda: None


class _NotYet(Exception):
    """Another try later; `peer` tells which side it was."""

    def __init__(self, why: str, *, peer: bool) -> None:
        super().__init__(why)
        self.peer = peer


class Reports:
    """The commitments under way; each is a task. On one event loop."""

    def __init__(self, existence: Existence, journal: Journal, where: Surroundings, observer: ReportObserver) -> None:
        self._existence = existence
        self._journal = journal
        self._where = where
        self._observer = observer
        self._references = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions = asyncio.Semaphore(_QUESTIONS)

    @property
    def pending(self) -> int:
        """How many wait for their report."""
        return len(self._tasks)

    async def start(self) -> None:
        """Takes up what an earlier process has left."""
        for name, commitment in (await asyncio.to_thread(self._journal.load)).items():
            self._begin(name, commitment, None)

    async def keep(self, commitment: Commitment, same: SameAssociation) -> None:
        """Raises Busy, OSError."""
        if len(self._tasks) >= MOST_COMMITMENTS or self._references + len(commitment.references) > MOST_REFERENCES:
            raise Busy
        self._begin(await asyncio.to_thread(self._journal.add, commitment), commitment, same)

    async def stop(self) -> None:
        """Breaks off; a journal keeps what is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, name: str, commitment: Commitment, same: SameAssociation | None) -> None:
        self._references += len(commitment.references)
        task = asyncio.create_task(self._answer(name, commitment, same))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._references -= len(commitment.references)

        task.add_done_callback(over)

    async def _answer(self, name: str, commitment: Commitment, same: SameAssociation | None) -> None:
        """Tries until the peer knows, or a day is over."""
        tries, end, peer = 0, commitment.accepted + DAY, commitment.ae_title
        while True:
            try:
                await self._try(commitment, same)
                break
            except _NotYet as error:
                tries += 1
                pause = min(_FIRST_PAUSE * 2.0 ** (tries - 1), _LAST_PAUSE)
                if self._where.now() + pause > end:
                    self._observer.report_given_up(peer, self._place(peer), str(error))
                    break
                if error.peer:
                    self._observer.report_delayed(peer, self._place(peer), str(error), tries=tries, pause=pause, until=end)
                else:
                    self._observer.verdict_delayed(peer, str(error), tries=tries, pause=pause, until=end)
                await self._where.sleep(pause)
        await asyncio.to_thread(self._journal.remove, name)

    async def _try(self, commitment: Commitment, same: SameAssociation | None) -> None:
        failed = failures(commitment, await self._found(commitment))
        await self._tell(commitment, failed, same)
        self._observer.reported(commitment.ae_title, len(commitment.references) - len(failed), len(failed))

    # -- the verdict -------------------------------------------------------------------------------

    async def _found(self, commitment: Commitment) -> Found:
        """What the store has of it, once nothing that is older than the request waits in the spool."""
        found: Found = {}
        while True:
            spooled = self._may_be_spooled(commitment)
            missing = [uid for _, uid in commitment.references if uid not in found]
            try:
                async with self._questions:
                    found |= await self._existence.find(missing)
            except ASKING_FAILED as error:
                raise _NotYet(trouble(error).text, peer=False) from error
            if not spooled or all(uid in found for uid in missing):
                return found
            while self._may_be_spooled(commitment):
                await self._where.sleep(_SPOOL_PAUSE)

    def _may_be_spooled(self, commitment: Commitment) -> bool:
        oldest = self._where.oldest_spooled()
        return oldest is not None and oldest <= commitment.accepted

    # -- the way to the peer -----------------------------------------------------------------------

    def _place(self, ae_title: str) -> str:
        address = self._where.lookup(ae_title)
        return str(address).partition("@")[2] if address else "?"

    async def _tell(self, commitment: Commitment, failed: dict[tuple[str, str], int], same: SameAssociation | None) -> None:
        try:
            return await self._over_own_association(commitment, failed)
        except _NotYet as error:
            if same is None:
                raise
            with contextlib.suppress(DimseError, _NotYet):
                return await self._send(same.reporter, same.transfer_syntax_uid, commitment, failed)
            raise error from None

    async def _over_own_association(self, commitment: Commitment, failed: dict[tuple[str, str], int]) -> None:
        where = self._where
        address = where.lookup(commitment.ae_title)
        if address is None:
            raise _NotYet("not in spec.peers any more", peer=True)
        try:
            association = await connect(address, calling_ae_title=where.calling, contexts=_CONTEXTS, limits=where.limits, extras=_EXTRAS)
            async with association:
                syntax = next(iter(association.transfer_syntaxes(STORAGE_COMMITMENT)), UNCOMPRESSED[1])
                await self._send(association, syntax, commitment, failed)
        except DimseError as error:
            raise _NotYet(_why(error), peer=True) from error

    async def _send(self, to: Reporter, syntax: str, commitment: Commitment, failed: dict[tuple[str, str], int]) -> None:
        event, information = report(commitment, failed, self._where.ae_title, syntax)
        response = await to.n_event_report(STORAGE_COMMITMENT, PUSH_MODEL_INSTANCE, event, information)
        if response.status.code:
            raise _NotYet(f"it answers {response.status.code:04X}", peer=True)


def _why(error: DimseError) -> str:
    if isinstance(error, PeerUnreachable):
        return {"refused": "connection refused", "silent": "no answer", "dns": "host name unknown", "network": "not reachable"}[error.cause]
    if isinstance(error, AssociationRejected):
        return f"rejected {error.result}/{error.source}/{error.reason}"
    return str(error)

"""A retrieval: instances fetched from the store and sent on, whatever becomes of each, and how far it has come (PS3.4 C.4.2, C.4.3).

One task of the requestor's association looks after it. Nothing that happens to one instance ends it: only when all have been sent or have
failed, when nobody is there to send to, or when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

from dicom_adapter.dimse import Response, Status, SubOperations
from dicom_adapter.dimse.status import PENDING
from dicom_adapter.services.asking import Trouble
from dicom_adapter.services.retrieval.arrival import Arrival, Memory, Ready, Share
from dicom_adapter.services.retrieval.fetching import Fetching, Source
from dicom_adapter.services.retrieval.selection import Reference
from dicom_adapter.services.retrieval.sending import Why

HEARTBEAT_SECONDS = 10.0
_MOST_SENDS = 3
_WARNINGS = (0x0001, 0x0107, 0x0116)  # PS3.7 C.3; and Bxxx


@dataclass(slots=True)
class Tally:
    """What has become of the instances."""

    remaining: dict[Reference, None]
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)
    reasons: Counter[Why] = field(default_factory=Counter)
    remarks: Counter[Why] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def numbers(self, *, last: bool = False) -> SubOperations:
        """For a response; `last`: what remains is left out of it."""
        return SubOperations(None if last else len(self.remaining), self.completed, len(self.failed), self.warning)

    @property
    def sent(self) -> int:
        """How many have reached their receiver."""
        return self.completed + self.warning

    @property
    def why(self) -> Why | None:
        """The most frequent reason of a failure; without one, of a warning."""
        return next((why for why, _ in (*self.reasons.most_common(1), *self.remarks.most_common(1))), None)

    def judge(self, reference: Reference, ae_title: str, status: Status) -> None:
        """The receiver has answered."""
        if reference not in self.remaining:
            return
        del self.remaining[reference]
        if status.code == 0:
            self.completed += 1
        elif status.code >> 12 == 0xB or status.code in _WARNINGS:
            self.warning += 1
            self.remarks[answered(ae_title, status)] += 1
        else:
            self._fail(reference, answered(ae_title, status))
        self._tell()

    def fail(self, references: Iterable[Reference], why: Why) -> None:
        """They have not been sent and will not be."""
        for reference in references:
            if reference in self.remaining:
                del self.remaining[reference]
                self._fail(reference, why)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        if not self.remaining:
            self.over.set()

    def _fail(self, reference: Reference, why: Why) -> None:
        self.failed.append(reference.instance)
        self.reasons[why] += 1


def answered(ae_title: str, status: Status) -> Why:
    """A receiver's status; its own comment is a peer's text and goes to the requestor only."""
    head = f"{ae_title} answers {status.code:04X}"
    return Why(f"{head}, {status.comment}" if status.comment else head, f"'{ae_title}' answers {status.code:04X}")


class Retrieval:
    """Fetches and sends `references`. Its senders are tasks that take from `ready` until it gives None."""

    def __init__(self, source: Source, memory: Memory, references: Sequence[Reference], *, whole_series: bool) -> None:
        self.tally = Tally(dict.fromkeys(references))
        self.ready = Ready()
        self.on_stop: list[Callable[[], None]] = []
        self._stopped = False
        self._sends: Counter[Reference] = Counter()
        self._fetching = Fetching(source, Share(memory), self.ready, references, whole_series=whole_series, failed=self._not_fetched)

    def _not_fetched(self, reference: Reference, found: Trouble) -> None:
        self.tally.fail((reference,), Why(found.text, found.text))

    # -- what senders say --------------------------------------------------------------------------

    def sent(self, arrival: Arrival, ae_title: str, outcome: Status | Why) -> None:
        """What has become of one."""
        arrival.discard()
        if isinstance(outcome, Status):
            self.tally.judge(arrival.reference, ae_title, outcome)
        else:
            self.tally.fail((arrival.reference,), outcome)

    def lost(self, arrival: Arrival, why: Why) -> None:
        """Its association has ended under it: it is sent again, for a C-STORE may be repeated."""
        self._sends[arrival.reference] += 1
        if self._sends[arrival.reference] >= _MOST_SENDS:
            arrival.discard()
            self.tally.fail((arrival.reference,), why)
        else:
            self.put_back(arrival)

    def put_back(self, arrival: Arrival) -> None:
        """It has not been sent, another sender may."""
        if self._stopped:
            arrival.discard()
        elif arrival.untouched:
            self.ready.put(arrival, first=True)
        else:
            arrival.discard()
            self._fetching.again(arrival.reference)

    def give_up(self, why: Why) -> None:
        """There is nobody to send to."""
        self.tally.fail(tuple(self.tally.remaining), why)

    # -- its life ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Nothing more is begun; what is being sent is sent to its end, for it cannot be broken off without the association."""
        self._stopped = True
        self.ready.close()
        self._fetching.stop()
        for wake in self.on_stop:
            wake()

    async def run(self, senders: Sequence[Callable[[], Coroutine[None, None, None]]]) -> None:
        """Until nothing remains, or until what was being sent when it was stopped has been sent."""
        over = self.tally.over
        tasks = [asyncio.create_task(self._fetching.run())]
        sending = [asyncio.create_task(sender()) for sender in senders]

        def ended(task: asyncio.Task[None]) -> None:
            failed = not task.cancelled() and task.exception() is not None
            if failed or all(one.done() for one in sending):
                over.set()

        for task in (*tasks, *sending):
            task.add_done_callback(ended)
        tasks += sending
        try:
            await over.wait()
        finally:
            self.ready.close()
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome


async def responses(
    retrieval: Retrieval,
    senders: Sequence[Callable[[], Coroutine[None, None, None]]],
    *,
    patience: float,
    final: Callable[[bool], Response],
) -> AsyncGenerator[Response, None]:
    """Pending responses while it runs, and the last one. Cancelled, it gives what is being sent `patience` seconds to end."""
    tally = retrieval.tally
    work = asyncio.create_task(retrieval.run(senders))
    work.add_done_callback(lambda _: tally.changed.set())
    cancelled = False
    try:
        while not work.done():
            tally.changed.clear()
            yield Response(Status(PENDING), sub_operations=tally.numbers())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await tally.changed.wait()
        work.result()
    except asyncio.CancelledError:
        cancelled = True
        retrieval.stop()
        await asyncio.wait((work,), timeout=patience)
    finally:
        work.cancel()
        await asyncio.wait((work,))
    yield final(cancelled)

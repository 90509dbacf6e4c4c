"""AfterStore with destinations of any kind and number: whole instances, to all of them at once, until each has said its last word.

The sender gets Success when every destination has the instance. Else it gets the verdict that keeps the image with it: that of a
destination that may take it later comes before that of one which never will.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dicom_adapter import messages
from dicom_adapter.delivery.gate import CircuitOpen, NoTurn
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.target import DEFAULT_TARGET, Target, Whole, attempt
from dicom_adapter.delivery.verdict import Outcome, Verdict, too_late

_BYTES_A_SECOND = 1 << 20
"""What a destination is given time for, beyond the first megabytes."""
_FREE_BYTES = 4 << 20
_SEVERITY = {Outcome.STORED: 0, Outcome.INSTANCE_REFUSED: 1, Outcome.DESTINATION_UNAVAILABLE: 2, Outcome.TRANSIENT: 2}


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of an instance at one destination."""

    name: str
    verdict: Verdict
    attempts: int


class Several:
    """The targets of one configuration, by their names."""

    def __init__(
        self, targets: Mapping[str, Target], policy: RetryPolicy, *, timeout: float, retried: Callable[[str], None] = lambda _: None
    ) -> None:
        self._targets = targets
        self._policy = policy
        self._timeout = timeout
        self._retried = retried
        self._failures: dict[str, Verdict] = {}

    async def deliver(self, whole: Whole, names: Sequence[str]) -> list[Ended]:
        """To all of these."""
        seconds = self._timeout + max(0, whole.content.size - _FREE_BYTES) / _BYTES_A_SECOND
        deadline = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(self._targets[name], whole, deadline)) for name in names]
        return [task.result() for task in tasks]

    async def _one(self, target: Target, whole: Whole, deadline: float) -> Ended:
        story = _Story()
        try:
            async with asyncio.timeout_at(deadline):
                await self._persist(story, target, whole, deadline)
        except TimeoutError:
            story.verdict = too_late(self._timeout, sent=story.attempts > 0)
        verdict = story.verdict
        assert verdict is not None  # noqa: S101 -- _persist ends with one
        lost = verdict.outcome not in (Outcome.STORED, Outcome.INSTANCE_REFUSED)
        return Ended(target.name, replace(verdict, unknown=True) if lost and story.unknown else verdict, story.attempts)

    async def _persist(self, story: _Story, target: Target, whole: Whole, deadline: float) -> None:
        while True:
            try:
                story.attempts += 1
                sent = await attempt(target, (whole,), deadline=deadline)
            except (CircuitOpen, NoTurn):
                story.attempts -= 1
                story.verdict = story.verdict or self._failures.get(target.name) or too_late(self._timeout, sent=False)
                return
            (verdict,) = sent.verdicts
            story.verdict = verdict
            story.unknown |= verdict.unknown
            self._remember(target.name, verdict, sent.ending)
            if verdict.outcome in (Outcome.STORED, Outcome.INSTANCE_REFUSED):
                story.verdict = await target.settle(whole, verdict)
                return
            pause = self._policy.delay(story.attempts, sent.retry_after)
            if not self._repeats(story, whole) or asyncio.get_running_loop().time() + pause >= deadline:
                return
            self._retried(str(verdict.http_status or verdict.obstacle or f"{verdict.status:04X}"))
            await asyncio.sleep(pause)

    def _repeats(self, story: _Story, whole: Whole) -> bool:
        verdict = story.verdict
        if verdict is None or whole.content.lost or story.attempts >= self._policy.attempts:
            return False
        busy = verdict.outcome is Outcome.TRANSIENT and verdict.http_status is None
        return busy or self._policy.repeats(verdict)

    def _remember(self, name: str, verdict: Verdict, ending: Ending) -> None:
        """What to say while the circuit is open."""
        if ending is Ending.ANSWERED:
            self._failures.pop(name, None)
        elif ending is not Ending.ABANDONED:
            self._failures[name] = replace(verdict, unknown=False)


@dataclass(slots=True)
class _Story:
    attempts: int = 0
    verdict: Verdict | None = None
    unknown: bool = False


def worst(ended: Sequence[Ended]) -> Verdict:
    """The verdict for the sender; the log has what each destination said that does not have the instance."""
    chosen = max(ended, key=lambda one: (_SEVERITY[one.verdict.outcome], one.verdict.status))
    verdict = chosen.verdict
    if verdict.outcome is Outcome.STORED:
        return verdict
    others = (one for one in ended if one is not chosen and one.verdict.outcome is not Outcome.STORED)
    text = "; ".join(_named(one) for one in (chosen, *others))
    return replace(verdict, text=text, unknown=any(one.verdict.unknown for one in ended))


def _named(one: Ended) -> str:
    return one.verdict.text if one.name == DEFAULT_TARGET else messages.at_destination(one.name, one.verdict.text)

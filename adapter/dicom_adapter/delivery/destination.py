"""One destination: an instance is sent to it until it has a verdict, within the time that there is.

Every request waits for its turn (`gate`); what is lost is sent again as the policy says, byte for byte, so that a store which had it
already says so. Three things are no failed try, and done again at once: a kept connection that the server was just closing, a token that
had run out before its time (401), and a redirect within the origin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.delivery import retry
from dicom_adapter.delivery.gate import CircuitOpen, Gate, NoTurn, Passage
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.target import Content
from dicom_adapter.delivery.verdict import Heard, Outcome, Verdict, decide, not_asked, too_late
from dicom_adapter.dicomweb.client import Answer, DicomwebClient
from dicom_adapter.dicomweb.errors import StaleConnection, StoreUnreachable
from dicom_adapter.dicomweb.upload import Part, Upload

_MAXIMUM_REDIRECTS = 5
_AGAIN_ELSEWHERE = (307, 308)  # the redirects that keep the method and the body (RFC 9110 15.4)


class DeliveryObserver(Protocol):
    """Counts what happens on the way. Called on the event loop; must not raise."""

    def retried(self, reason: str) -> None:
        """Another attempt is made; `reason` is the HTTP status or the obstacle of the one before."""

    def waited(self, seconds: float) -> None:
        """So long a request has waited for its turn."""


@dataclass(slots=True)
class Story:
    """The attempts at one instance: what came of the last one, and whether an earlier one may have been stored."""

    uid: str
    deadline: float
    attempts: int = 0
    tries: int = 0
    verdict: Verdict | None = None
    unknown: bool = False
    stale: bool = False
    again: bool = False
    renewed: bool = False
    redirect: str = ""
    redirects: int = 0
    retry_after: float | None = None
    refused: bool = False  # no turn: the store was not asked this time

    @property
    def at_once(self) -> bool:
        """Whether the last attempt was no failed try, but has to be made again."""
        return self.stale or self.again or bool(self.redirect)

    @property
    def result(self) -> Verdict:
        """The verdict as a whole."""
        assert self.verdict is not None  # noqa: S101 -- asked after an attempt
        lost = self.verdict.outcome not in (Outcome.STORED, Outcome.INSTANCE_REFUSED)
        return replace(self.verdict, unknown=True) if lost and self.unknown else self.verdict


class Destination:
    """Sends instances to one DICOMweb service."""

    def __init__(
        self,
        client: DicomwebClient,
        gate: Gate,
        policy: RetryPolicy,
        *,
        timeout: float,
        observer: DeliveryObserver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.client = client
        self.timeout = timeout
        self._gate = gate
        self._policy = policy
        self._observer = observer
        self._clock = clock
        self._last_failure: Verdict | None = None

    def begin(self, uid: str) -> Story:
        """A new story; the time for it runs from now."""
        return Story(uid, asyncio.get_running_loop().time() + self.timeout)

    async def persist(self, story: Story, copy: Content) -> None:
        """Sends a whole instance, again where that may help, until its verdict stands."""
        while (pause := self.pause(story, copy)) is not None:
            if pause:
                await asyncio.sleep(pause)
            limit = asyncio.timeout_at(story.deadline)
            await self.attempt(story, Upload(Part(copy.read(), copy.size)), limit, fresh=story.stale)

    def pause(self, story: Story, copy: Content) -> float | None:
        """Seconds until the next attempt; None when the verdict stands."""
        if story.verdict is None:
            return 0.0
        if not self.repeats(story, copy):
            return None
        if story.at_once:
            return 0.0
        pause = self._policy.delay(story.tries, story.retry_after)
        if asyncio.get_running_loop().time() + pause >= story.deadline:
            return None
        self._observer.retried(str(story.verdict.http_status or story.verdict.obstacle))
        return pause

    def repeats(self, story: Story, copy: Content) -> bool:
        """Whether there is to be another attempt, if there is time for it."""
        if copy.lost or story.refused or story.verdict is None:
            return False
        return story.at_once or (story.tries < self._policy.attempts and self._policy.repeats(story.verdict))

    async def attempt(self, story: Story, upload: Upload, limit: asyncio.Timeout, *, fresh: bool) -> None:
        """One request, when its turn has come. Raises what interrupts the instance."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            async with self._gate.turn(story.deadline) as passage:
                self._observer.waited(loop.time() - asked)
                story.attempts += 1
                story.stale, was_fresh = False, story.stale or fresh
                began = loop.time()
                heard = await self._heard(story, upload, limit, fresh=fresh)
                self._learn(story, heard, passage, was_fresh=was_fresh)
                passage.seconds = loop.time() - began if upload.length is not None else None
        except (CircuitOpen, NoTurn):
            story.refused = True
            if story.verdict is None:
                story.verdict = self._last_failure or too_late(self.timeout, sent=False)

    async def _heard(self, story: Story, upload: Upload, limit: asyncio.Timeout, *, fresh: bool) -> Heard:
        try:
            async with limit:
                return Heard(await self.client.store(upload, fresh=fresh, at=story.redirect), story.uid)
        except TimeoutError:
            return Heard(over=self.timeout, sent=upload.finished)
        except StoreUnreachable as error:
            return Heard(failure=error, sent=upload.finished)
        except (Missing, Unusable) as error:
            return Heard(own=f"{error.mounted.what} '{error.mounted.name}' is not usable")
        except CredentialsUnavailable as error:
            return Heard(own=error.text)

    async def once(self, batch: Callable[[], Upload]) -> tuple[Heard, float | None]:
        """One attempt at whole instances, in the caller's turn: what was heard at last, and the Retry-After in it.

        The time limit runs anew with each piece that is taken: a large instance on a narrow way needs longer than `timeoutSeconds`.
        """
        story = self.begin("")
        while True:
            upload = batch()
            limit = asyncio.timeout(self.timeout)
            was_fresh, story.stale = story.stale, False
            heard = await self._heard(story, upload.paced(limit, self.timeout), limit, fresh=was_fresh)
            self._note(story, heard, was_fresh=was_fresh)
            if not story.at_once:
                return heard, story.retry_after

    def _learn(self, story: Story, heard: Heard, passage: Passage, *, was_fresh: bool) -> None:
        """What the attempt means for this instance, for the destination and for whoever waits for it."""
        verdict = self._note(story, heard, was_fresh=was_fresh)
        if story.at_once:
            return
        story.tries += 1
        passage.retry_after = story.retry_after
        passage.ending = ending(verdict, heard)
        if passage.ending is not Ending.ABANDONED:
            self._last_failure = None if passage.ending is Ending.ANSWERED else replace(verdict, unknown=False)

    def _note(self, story: Story, heard: Heard, *, was_fresh: bool) -> Verdict:
        """What the attempt means for this instance: its verdict, and whether it has to be made again at once."""
        verdict = story.verdict = decide(heard)
        story.unknown |= verdict.unknown
        story.redirect = self._redirect(story, heard.answer)
        story.stale = isinstance(heard.failure, StaleConnection) and not was_fresh
        story.retry_after = retry.seconds_until(heard.answer.retry_after, self._clock()) if heard.answer else None
        story.again = heard.answer is not None and heard.answer.again and not story.renewed
        story.renewed |= story.again
        return verdict

    def _redirect(self, story: Story, answer: Answer | None) -> str:
        if answer is None or answer.status not in _AGAIN_ELSEWHERE or story.redirects >= _MAXIMUM_REDIRECTS:
            return ""
        story.redirects += bool(answer.redirect)
        return answer.redirect

    def refuse(self, story: Story, text: str) -> None:
        """The store is not asked."""
        story.verdict = not_asked(text)


def ending(verdict: Verdict, heard: Heard) -> Ending:
    """What an attempt tells about the destination."""
    if verdict.outcome in (Outcome.STORED, Outcome.INSTANCE_REFUSED):
        return Ending.ANSWERED
    if heard.own:
        return Ending.ABANDONED
    return {429: Ending.THROTTLED, 503: Ending.OVERLOADED}.get(heard.code, Ending.FAILED)

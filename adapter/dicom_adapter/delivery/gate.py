"""Where requests wait for the Governor: first come, first served."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from dicom_adapter.delivery.governor import Decision, Ending, Governor, Permit


class CircuitOpen(Exception):
    """The destination has failed for so long that it is not asked now."""


class NoTurn(Exception):
    """There was no turn before the deadline, or there will be none."""


@dataclass(slots=True)
class Passage:
    """A request that has been let through; whoever made it says at its end what came of it."""

    permit: Permit
    ending: Ending = Ending.ABANDONED
    seconds: float | None = None
    retry_after: float | None = None


class Gate:
    """One Governor and those who wait for it. Lives on one event loop."""

    def __init__(self, governor: Governor) -> None:
        self.governor = governor
        self._waiting: deque[asyncio.Future[Permit]] = deque()
        self._patient: set[asyncio.Future[Permit]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[Passage]:
        """One request inside the block. Raises CircuitOpen, or NoTurn when none comes before `deadline` (of the loop's clock)."""
        passage = Passage(await self._permit(deadline))
        try:
            yield passage
        finally:
            self.leave(passage)

    async def wait(self) -> Passage:
        """For who has all the time: it also waits for an open circuit to be tried. `leave` ends the turn."""
        return Passage(await self._permit(None, patient=True))

    def leave(self, passage: Passage) -> None:
        """The request is over."""
        self.governor.end(passage.permit, passage.ending, seconds=passage.seconds, retry_after=passage.retry_after)
        self._admit()

    async def _permit(self, deadline: float | None, *, patient: bool = False) -> Permit:
        loop = asyncio.get_running_loop()
        decision, wait = self.governor.ask()
        if decision is Decision.REFUSE and not patient:
            raise CircuitOpen
        if decision is Decision.START and not self._waiting:
            return self.governor.start()
        if deadline is not None and not math.isinf(wait) and loop.time() + wait > deadline:
            raise NoTurn
        turn: asyncio.Future[Permit] = loop.create_future()
        self._waiting.append(turn)
        if patient:
            self._patient.add(turn)
        self._admit()
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # both at once: the permit goes to the next
                self.governor.end(turn.result(), Ending.ABANDONED)
                self._admit()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise NoTurn from None
            raise
        finally:
            self._patient.discard(turn)

    def _admit(self) -> None:
        """Lets through whoever may go, and comes back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            decision, wait = self.governor.ask()
            if decision is Decision.REFUSE:
                self._refuse()
                wait = self.governor.seconds_until_trial
            if decision is not Decision.START:
                if self._waiting and not math.isinf(wait):
                    self._timer = asyncio.get_running_loop().call_later(wait, self._admit)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(self.governor.start())

    def _refuse(self) -> None:
        """The circuit is open: only who has all the time goes on waiting."""
        refused = [turn for turn in self._waiting if turn not in self._patient]
        self._waiting = deque(turn for turn in self._waiting if turn in self._patient)
        for turn in refused:
            if not turn.done():
                turn.set_exception(CircuitOpen())

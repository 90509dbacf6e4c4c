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
            self.governor.end(passage.permit, passage.ending, seconds=passage.seconds, retry_after=passage.retry_after)
            self._admit()

    async def _permit(self, deadline: float) -> Permit:
        loop = asyncio.get_running_loop()
        decision, wait = self.governor.ask()
        if decision is Decision.REFUSE:
            raise CircuitOpen
        if decision is Decision.START and not self._waiting:
            return self.governor.start()
        if not math.isinf(wait) and loop.time() + wait > deadline:
            raise NoTurn
        turn: asyncio.Future[Permit] = loop.create_future()
        self._waiting.append(turn)
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

    def _admit(self) -> None:
        """Lets through whoever may go, and comes back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            decision, wait = self.governor.ask()
            if decision is Decision.WAIT:
                if not math.isinf(wait):
                    self._timer = asyncio.get_running_loop().call_later(wait, self._admit)
                return
            turn = self._waiting.popleft()
            if turn.done():
                continue
            if decision is Decision.REFUSE:
                turn.set_exception(CircuitOpen())
            else:
                turn.set_result(self.governor.start())

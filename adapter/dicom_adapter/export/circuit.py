"""The circuit of one side: closed while it works; open, and probed, while it does not; then one image tries whether it works again.

A side that answers a probe and fails all the same (an echo is answered, no image is stored) is probed more and more rarely, until an image
has got through.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dicom_adapter.export.events import Trouble

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between probes: the first pause and the longest."""

    first: float = FIRST_PAUSE
    longest: float = LONGEST_PAUSE


class Circuit:
    """One side's. `probe` gives what is wrong; `changed` hears of every opening and closing, and when something else is wrong."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[Trouble | None]],
        changed: Callable[[Trouble | None], None],
        *,
        pace: Pace = Pace(),
        random: Callable[[], float] = random.random,
    ) -> None:
        self._probe = probe
        self._told = changed
        self._pace = pace
        self._random = random
        self._waiting: list[asyncio.Future[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._trial = False  # somebody may try
        self._failures = 0
        self._probing: asyncio.Task[None] | None = None
        self.trouble: Trouble | None = None

    @property
    def open(self) -> bool:
        """Whether it does not work, as far as we know."""
        return self.trouble is not None

    async def check(self) -> None:
        """Asks once, at the start, so that it is known what is wrong before there is work."""
        trouble = await self._probe()
        if trouble is not None:
            self.fail(trouble)
        elif not self.open:
            self._told(None)

    async def passage(self) -> None:
        """Waits until an image may go: always while it is closed; one at a time, to try it, after a probe was answered."""
        while self.open and not self._trial:
            await self._turn(self._waiting)
        self._trial = False

    async def closed(self) -> None:
        """Waits until it is closed: for who brings more work."""
        while self.open:
            await self._turn(self._idle)

    async def _turn(self, waiting: list[asyncio.Future[None]]) -> None:
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        finally:
            waiting.remove(turn)

    def fail(self, trouble: Trouble) -> None:
        """An image did not get through, for this side's fault."""
        self._learn(trouble)
        self._trial = False
        if self._probing is None:
            self._failures += 1
            self._probing = asyncio.create_task(self._probe_until_answered())

    def succeed(self) -> None:
        """The side has done its part for an image."""
        self._failures = 0
        self._close()

    def undecided(self) -> None:
        """Who tried has not learnt anything of this side: it is the next one's turn."""
        if self.open and self._probing is None:
            self._answered()

    async def end(self) -> None:
        """No more probes."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    async def _probe_until_answered(self) -> None:
        pause = min(self._pace.longest, self._pace.first * 2.0 ** min(self._failures - 1, 32))
        try:
            while self.open:
                await asyncio.sleep(pause * (0.75 + self._random() / 4))
                trouble = await self._probe()
                if trouble is None:
                    break
                if self.open:
                    self._learn(trouble)
                pause = min(self._pace.longest, 2 * pause)
        finally:
            self._probing = None
        if self.open:
            self._answered()

    def _learn(self, trouble: Trouble) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._told(trouble)

    def _answered(self) -> None:
        """Whoever waits may try, one; with nobody there it is closed, or nobody would ever come."""
        if self._waiting:
            self._trial = True
            self._wake()
        else:
            self._close()

    def _close(self) -> None:
        if self.open:
            self.trouble = None
            self._told(None)
        self._trial = False
        self._wake()

    def _wake(self) -> None:
        for turn in (*self._waiting, *self._idle):
            if not turn.done():
                turn.set_result(None)

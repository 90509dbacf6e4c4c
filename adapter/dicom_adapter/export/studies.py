"""`grouping: Study`: the images of a study wait for each other, then go one after another on an association that is theirs alone.

Some receivers take the release of an association as the end of a study. Nobody tells when a study is complete: it counts as that when
nothing of it has come for `settle` seconds, or after ten minutes with what is there by then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from dicom_adapter.export.destination import Destination, Lane

LONGEST_WAIT = 600.0


@dataclass(slots=True)
class _Study:
    """One study on its way."""

    born: float
    last: float
    members: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    lane: Lane | None = None


class Studies:
    """The studies that are being collected or sent, at most `lanes` of them at a time. `parked` hears how many images wait."""

    def __init__(self, destination: Destination, *, settle: float, lanes: int, parked: Callable[[int], None]) -> None:
        self._destination = destination
        self._settle = settle
        self._lanes = asyncio.Semaphore(lanes)
        self._parked = parked
        self._collecting: dict[str, _Study] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def member(self, uid: str) -> AsyncIterator[Lane]:
        """Waits for the rest of the study; the block is the time in which the image is sent."""
        now = asyncio.get_running_loop().time()
        study = self._collecting.get(uid)
        if study is None:
            self._collecting[uid] = study = _Study(now, now)
            task = asyncio.create_task(self._send(uid, study))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        study.last = now
        study.members += 1
        try:
            self._parked(1)
            try:
                await study.settled.wait()
            finally:
                self._parked(-1)
            assert study.lane is not None  # noqa: S101 -- settled
            yield study.lane
        finally:
            study.members -= 1
            if not study.members:
                study.empty.set()

    async def _send(self, uid: str, study: _Study) -> None:
        loop = asyncio.get_running_loop()
        while (rest := min(study.last + self._settle, study.born + LONGEST_WAIT) - loop.time()) > 0:  # noqa: ASYNC110 -- it moves on
            await asyncio.sleep(rest)
        async with self._lanes, self._destination.lane() as study.lane:
            del self._collecting[uid]  # what comes from now on is a new group
            study.settled.set()
            if study.members:
                await study.empty.wait()

    async def end(self) -> None:
        """Nobody waits any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

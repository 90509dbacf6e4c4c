"""An event loop whose time jumps to the next timer: hours pass in milliseconds, always the same way."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable


class FakeSelector(selectors.SelectSelector):
    """Waits for nothing: the time that a wait would take is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


class FakeClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer whenever nothing else is to be done."""

    def __init__(self) -> None:
        self._fake = FakeSelector()
        super().__init__(self._fake)

    def time(self) -> float:
        return self._fake.now


def run(main: Callable[[], Awaitable[None]]) -> None:
    loop = FakeClockLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 100_000))
    finally:
        loop.close()

"""How often each message has been tried, how soon the next may be, and what was exported lately.

Bounded, in memory, per replica: a duplicate is harmless.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MOST_MESSAGES = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 10, 600
_MOST_RECENT = 100_000
_RECENT_SECONDS = 3600.0


def pause(attempt: int) -> int:
    """Seconds after so many attempts: 10, 20, 40 ... 600."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE << min(attempt - 1, 16))


@dataclass(slots=True)
class _Tried:
    count: int
    stored: int


class Attempts:
    """Attempts by message id. `stored` tells how many images the destination has taken so far."""

    def __init__(self, stored: Callable[[], int]) -> None:
        self._stored = stored
        self._tried: OrderedDict[str, _Tried] = OrderedDict()
        self.retained: set[str] = set()

    def count(self, message: str) -> int:
        """One more; how many there have been."""
        return self._add(message, always=True)

    def suspect(self, message: str) -> int:
        """One more if others got through since the last: the first proves nothing. How many there have been."""
        return self._add(message, always=False)

    def _add(self, message: str, *, always: bool) -> int:
        tried = self._tried.get(message)
        if tried is None:
            tried = self._tried[message] = _Tried(0, self._stored())
            if len(self._tried) > _MOST_MESSAGES:
                oldest, _ = self._tried.popitem(last=False)
                self.retained.discard(oldest)
        self._tried.move_to_end(message)
        if always or self._stored() > tried.stored:
            tried.count += 1
            tried.stored = self._stored()
        return tried.count

    def forget(self, message: str) -> None:
        """It is done."""
        self._tried.pop(message, None)
        self.retained.discard(message)


class Spacing:
    """Turns, evenly spaced: so many a minute, or without end."""

    def __init__(self, per_minute: int | None, now: Callable[[], float]) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._now = now
        self._next = 0.0

    def turn(self) -> float:
        """The next one; in how many seconds it is."""
        if not self._gap:
            return 0.0
        now = self._now()
        turn = max(now, self._next)
        self._next = turn + self._gap
        return turn - now


class Recent:
    """The images and versions that were exported within the last hour."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._times: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add(self, key: tuple[str, str]) -> None:
        """It was exported just now."""
        self._times[key] = self._now()
        self._times.move_to_end(key)
        while len(self._times) > _MOST_RECENT:
            self._times.popitem(last=False)

    def __contains__(self, key: tuple[str, str]) -> bool:
        while self._times and next(iter(self._times.values())) < self._now() - _RECENT_SECONDS:
            self._times.popitem(last=False)
        return key in self._times

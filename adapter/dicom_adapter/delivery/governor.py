"""When a request to one destination may start: permits, a time before which none may, a rate, a circuit. Pure: the clock is a parameter.

- Permits: so many requests at the same time, up to `delivery.maxConcurrentUploads`. One more per round of successes; half of them on a 429,
  and on a 503 when a quarter of the last answers were such, for one in twenty is no overload; a tenth fewer when answers take much longer
  than they used to (additive increase, multiplicative decrease). Of several requests that were under way together, one failure counts.
- Not before: a Retry-After (at most five minutes of it) holds back every request, not only the one that was answered so.
- Rate: `delivery.maxRequestsPerMinute`, evenly spaced; and after a 429 half of what was sent in the last seconds, growing by one request a
  second each second.
- Circuit: opens when the destination has failed for `delivery.timeoutSeconds` without a success; a shorter outage is ridden out. While it
  is open, one request at a time is let through to try, not before a Retry-After; the others are refused at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

MAXIMUM_RETRY_AFTER = 300.0
_PRESSURE, _LAST = 0.25, 0.1  # the share of 503 that is overload; the weight of the last answer in it
_SLOW_SECONDS = 1.0  # answers faster than this are never too slow
_SLOW_FACTOR = 4.0
_OBSERVED_SECONDS = 5.0
_OBSERVED_REQUESTS = 4096
_LIFTED = 1000.0  # requests a second: beyond that a rate is no limit any more
_FIRST_TRIAL, _LAST_TRIAL = 1.0, 5.0  # seconds between two trials while the circuit is open


class Ending(StrEnum):
    """What the end of a request tells about the destination."""

    ANSWERED = "Answered"  # it works: it stored the instance, or judged it
    THROTTLED = "Throttled"  # 429
    OVERLOADED = "Overloaded"  # 503
    FAILED = "Failed"  # no answer, or one that is no judgement of the instance
    ABANDONED = "Abandoned"  # given up by us or by the sender: it tells nothing


class Decision(StrEnum):
    """May a request start?"""

    START = "Start"
    WAIT = "Wait"
    REFUSE = "Refuse"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the configuration says."""

    uploads: int
    requests_per_minute: int | None
    open_after: float


@dataclass(frozen=True, slots=True)
class Permit:
    """A request that has been let through."""

    started: float
    trial: bool


class Governor:
    """One per destination. `throttled` is called with the new rate, in requests a second, when a 429 has lowered it."""

    def __init__(self, bounds: Bounds, *, now: Callable[[], float], throttled: Callable[[float], None] = lambda _: None) -> None:
        self._bounds = bounds
        self._now = now
        self._throttled = throttled
        self._limit = float(bounds.uploads)
        self._lowered = -math.inf
        self._pressure = 0.0
        self._active = 0
        self._not_before = -math.inf
        self._rate = math.inf
        self._rate_set = 0.0
        self._slot = -math.inf
        self._starts: deque[float] = deque(maxlen=_OBSERVED_REQUESTS)
        self._usual: float | None = None
        self._recent: float | None = None
        self._failing_since: float | None = None
        self._opened = False
        self._trying = False
        self._next_trial = 0.0
        self._trial_after = _FIRST_TRIAL

    # -- what can be seen --------------------------------------------------------------------------

    @property
    def permits(self) -> int:
        """Requests that may be under way together now."""
        return max(1, int(self._limit))

    @property
    def active(self) -> int:
        """Requests under way."""
        return self._active

    @property
    def open(self) -> bool:
        """Whether the circuit is open."""
        return self._opened

    @property
    def rate(self) -> float:
        """The most requests a second; infinite when nothing limits them."""
        per_minute = self._bounds.requests_per_minute
        return min(math.inf if per_minute is None else per_minute / 60, self._grown_rate())

    @property
    def seconds_until_trial(self) -> float:
        """While the circuit is open: until the next request may try it; infinite while one does."""
        return math.inf if self._trying else max(0.0, max(self._next_trial, self._not_before) - self._now())

    # -- what is asked and told --------------------------------------------------------------------

    def ask(self) -> tuple[Decision, float]:
        """The decision, and for WAIT after how many seconds to ask again: infinite when only the end of a request can change it."""
        now = self._now()
        if self._opened:
            if self._trying or now < max(self._next_trial, self._not_before):
                return Decision.REFUSE, 0.0
            return Decision.START, 0.0
        if self._active >= self.permits:
            return Decision.WAIT, math.inf
        wait = max(self._not_before, self._slot) - now
        return (Decision.WAIT, wait) if wait > 0 else (Decision.START, 0.0)

    def start(self) -> Permit:
        """A request starts, after START."""
        now = self._now()
        self._active += 1
        self._starts.append(now)
        self._trying = self._opened
        if not math.isinf(rate := self.rate):
            self._slot = max(self._slot, now) + 1 / rate
        return Permit(now, self._opened)

    def end(self, permit: Permit, ending: Ending, *, seconds: float | None = None, retry_after: float | None = None) -> None:
        """A request is over. `seconds`: how long the destination took, where that says something about it."""
        self._active -= 1
        if permit.trial:
            self._trying = False
        if ending is Ending.ABANDONED:
            return
        now = self._now()
        self._pressure += _LAST * ((ending is Ending.OVERLOADED) - self._pressure)
        if retry_after is not None and ending is not Ending.ANSWERED:
            self._not_before = max(self._not_before, now + min(max(0.0, retry_after), MAXIMUM_RETRY_AFTER))
        if ending is Ending.ANSWERED:
            self._answered(permit, seconds, now)
        elif ending is Ending.THROTTLED:
            self._throttle(permit, now)
        else:
            if ending is Ending.OVERLOADED and self._pressure >= _PRESSURE:
                self._lower(permit, 0.5, now)
            self._failed(now)

    # -- permits and rate --------------------------------------------------------------------------

    def _answered(self, permit: Permit, seconds: float | None, now: float) -> None:
        if self._opened:
            self._opened = False
            self._limit = max(1.0, self._bounds.uploads / 2)
            self._recent = None
        self._failing_since = None
        self._trial_after = _FIRST_TRIAL
        if seconds is not None and self._is_slow(seconds):
            self._lower(permit, 0.9, now)
        else:
            self._limit = min(float(self._bounds.uploads), self._limit + 1 / self._limit)

    def _is_slow(self, seconds: float) -> bool:
        # What is usual follows the best answers at once, worse ones over hundreds: a store that has become slower for good is usual.
        self._usual = seconds if self._usual is None else min(seconds, self._usual * 1.002)
        self._recent = seconds if self._recent is None else 0.9 * self._recent + 0.1 * seconds
        return self._recent > max(_SLOW_SECONDS, _SLOW_FACTOR * self._usual)

    def _lower(self, permit: Permit, factor: float, now: float) -> bool:
        """Fewer permits, unless the request started before they were last lowered. Tells whether."""
        if permit.started < self._lowered:
            return False
        self._limit = max(1.0, self._limit * factor)
        self._lowered = now
        return True

    def _throttle(self, permit: Permit, now: float) -> None:
        self._failing_since = None  # it answers, only not so fast
        if not self._lower(permit, 0.5, now):
            return
        since = max(now - _OBSERVED_SECONDS, self._starts[0])
        sent = sum(started >= since for started in self._starts) / max(1.0, now - since)
        self._rate = max(1.0, min(sent, self._grown_rate()) / 2)
        self._rate_set = now
        self._throttled(self._rate)

    def _grown_rate(self) -> float:
        grown = self._rate + (self._now() - self._rate_set)
        return grown if grown < _LIFTED else math.inf

    # -- circuit -----------------------------------------------------------------------------------

    def _failed(self, now: float) -> None:
        if self._failing_since is None:
            self._failing_since = now
        if self._opened:
            self._next_trial = now + self._trial_after
            self._trial_after = min(2 * self._trial_after, _LAST_TRIAL)
        elif now - self._failing_since >= self._bounds.open_after:
            self._opened = True
            self._next_trial = now + self._trial_after

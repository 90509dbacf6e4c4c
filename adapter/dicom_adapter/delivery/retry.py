"""Which failed attempts are made again, and when: exponential backoff with full jitter, Retry-After obeyed. Pure.

https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter has the reasons for the jitter.
"""

from __future__ import annotations

import email.utils
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from dicom_adapter.delivery.verdict import Verdict
from dicom_adapter.dicomweb.errors import Obstacle

STATUS_CODES = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`spec.delivery.retry`."""

    attempts: int = 4
    initial_delay: float = 0.2
    maximum_delay: float = 5.0
    status_codes: tuple[int, ...] = STATUS_CODES
    random: Callable[[], float] = random.random

    def repeats(self, verdict: Verdict) -> bool:
        """Whether another attempt may end otherwise: a byte-exact resend is idempotent, so a lost answer is no reason against it."""
        if verdict.obstacle is not None:
            return verdict.obstacle is not Obstacle.TLS
        return verdict.http_status in self.status_codes

    def delay(self, tries: int, retry_after: float | None) -> float:
        """Seconds to wait after so many tries: anything up to the backoff, and not less than the store asks for."""
        backoff = min(self.maximum_delay, self.initial_delay * 2.0 ** min(tries - 1, 32))
        return max(self.random() * backoff, retry_after or 0.0)


def seconds_until(header: str, now: float) -> float | None:
    """A Retry-After as seconds from `now` (time.time()): a number or a date (RFC 9110 10.2.3)."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)

"""Storage commitment."""

from __future__ import annotations

from datetime import UTC, datetime

NOT_THE_PUSH_MODEL = "Not the Storage Commitment Push Model SOP Instance"
UNREADABLE_COMMITMENT = "Action Information unreadable"
TOO_MANY_COMMITMENTS = "Too many commitments wait for their report, ask again"
COMMITMENT_NOT_WRITTEN = "The spool takes no commitment, ask again later"


def no_such_action(type_id: int) -> str:
    """An N-ACTION of another kind."""
    return f"No such action: {type_id}"


def mandatory(keyword: str) -> str:
    """Something is missing in a request."""
    return f"Mandatory tag empty: {keyword}"


def report_delayed(ae_title: str, where: str, why: str, *, tries: int, pause: float, until: float) -> str:
    """The peer could not be told."""
    return f"commitment report to '{ae_title}' ({where}) not delivered: {why}; {_again(tries, pause, until)}"


def verdict_delayed(ae_title: str, why: str, *, tries: int, pause: float, until: float) -> str:
    """The store could not be asked."""
    return f"commitment of '{ae_title}' waits for the store: {why}; {_again(tries, pause, until)}"


def _again(tries: int, pause: float, until: float) -> str:
    return f"try {tries}, next in {pause / 60:.0f} min, until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%MZ}"


def report_given_up(ae_title: str, where: str, why: str) -> str:
    """A day is over."""
    return f"commitment report to '{ae_title}' ({where}) given up after a day: {why}; have '{ae_title}' ask again"

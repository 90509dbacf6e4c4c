"""What may happen to a message on its way, and what is done about it: one table, which the documentation renders.

The rule behind it: an outage is nobody's fault. Whatever says that a side is down or does not let us in opens that side's circuit and is no
attempt at an image; only what judges the image itself counts, and what an image may have caused counts once others have got through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter.delivery.verdict import Outcome, Verdict


class Side(StrEnum):
    """Whose circuit it is."""

    SOURCE = "source"
    DESTINATION = "destination"


class Action(StrEnum):
    """What is done about an event."""

    ACKNOWLEDGE = "Acknowledge"
    WAIT = "Wait"  # ask again a few times, then acknowledge
    AGAIN = "Again"  # at once
    HOLD = "Hold"  # the circuit opens: no more is pulled, what is in hand is kept
    SET_ASIDE = "SetAside"  # later, more and more rarely, and then a dead letter


class Event(StrEnum):
    """What has happened."""

    STORED = "Stored"
    STORED_WITH_WARNING = "StoredWithWarning"
    NOT_AN_ARRIVAL = "NotAnArrival"
    FILTERED = "Filtered"
    KNOWN = "Known"
    NOT_THERE = "NotThere"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    BROKEN_OFF = "BrokenOff"
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"
    STALE = "Stale"
    CROWDED = "Crowded"
    CUT_OFF = "CutOff"
    FAILED = "Failed"
    REFUSED = "Refused"
    SYNTAX_REFUSED = "TransferSyntaxRefused"
    UNREADABLE = "Unreadable"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `what` happens, for people; what is done; the `result` under which the message is counted when that is its end.

    `suspects`: the image may be the cause. It is counted as an attempt when others have been stored since the last one.
    """

    event: Event
    what: str
    action: Action
    result: str
    side: Side | None = None
    suspects: bool = False


TABLE = (
    Row(Event.STORED, "the destination has stored it", Action.ACKNOWLEDGE, "exported"),
    Row(Event.STORED_WITH_WARNING, "it has stored it and says B0xx, or named a Warning Reason", Action.ACKNOWLEDGE, "exported"),
    Row(Event.NOT_AN_ARRIVAL, "`action` is `SetBlobSettings` or begins with `Delete`", Action.ACKNOWLEDGE, "ignored"),
    Row(Event.FILTERED, "the image is not what `filter` asks for", Action.ACKNOWLEDGE, "filtered"),
    Row(Event.KNOWN, "the same image and version was exported within the last hour, or is on its way", Action.ACKNOWLEDGE, "deduplicated"),
    Row(Event.NOT_THERE, "the store answers 404: deleted, or not yet to be seen", Action.WAIT, "gone"),
    Row(
        Event.SOURCE_UNAVAILABLE,
        "the store cannot be reached, does not let us in, or answers 401, 403, 429, 5xx",
        Action.HOLD,
        "retried",
        Side.SOURCE,
    ),
    Row(
        Event.BROKEN_OFF,
        "the store breaks off in the middle of this image",
        Action.HOLD,
        "retried",
        Side.SOURCE,
        suspects=True,
    ),
    Row(
        Event.DESTINATION_UNAVAILABLE,
        "the destination cannot be reached, rejects the association, answers A7xx or 0124; over DICOMweb 401, 403, 404, 429, 5xx",
        Action.HOLD,
        "retried",
        Side.DESTINATION,
    ),
    Row(Event.STALE, "an association that was kept has been closed meanwhile", Action.AGAIN, "retried"),
    Row(Event.CROWDED, "it takes no further association beside those that work: one fewer for ten minutes", Action.AGAIN, "retried"),
    Row(
        Event.CUT_OFF,
        "the destination aborts or goes away in the middle of this image",
        Action.HOLD,
        "retried",
        Side.DESTINATION,
        suspects=True,
    ),
    Row(
        Event.FAILED,
        "the destination answers with a status that does not tell whose fault it is, such as 0110",
        Action.HOLD,
        "retried",
        Side.DESTINATION,
        suspects=True,
    ),
    Row(Event.REFUSED, "it answers A9xx, Cxxx, 0122: it refuses this image", Action.SET_ASIDE, "retried"),
    Row(Event.SYNTAX_REFUSED, "it takes no such SOP class, or not in any transfer syntax that we have", Action.SET_ASIDE, "retried"),
    Row(Event.UNREADABLE, "the message names no image of this store, or what the store gives is none", Action.SET_ASIDE, "retried"),
)
ROWS = {row.event: row for row in TABLE}


class Reason(StrEnum):
    """What a side is like, as the conditions SourceReachable and DestinationReachable name it."""

    REACHABLE = "Reachable"
    NOT_PROBED = "NotProbed"
    UNAUTHORIZED = "Unauthorized"
    SUBSCRIPTION_NOT_FOUND = "SubscriptionNotFound"
    NOT_FOUND = "NotFound"
    THROTTLED = "Throttled"
    REFUSED = "Refused"
    REJECTED = "Rejected"
    UNREACHABLE = "Unreachable"
    FAILING = "Failing"  # it is there and does not do what it should


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a side: a reason, and a sentence."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """What has come of one attempt: the event, a sentence for the log and the condition, and what it shows of the side that it is about."""

    event: Event
    text: str = ""
    reason: Reason = Reason.FAILING

    @property
    def row(self) -> Row:
        """What is done about it."""
        return ROWS[self.event]

    @property
    def trouble(self) -> Trouble:
        """For the circuit."""
        return Trouble(self.reason, self.text)


def of_http(status: int) -> Reason:
    """What an HTTP status shows of who answers it."""
    match status:
        case 401 | 403 | 407:
            return Reason.UNAUTHORIZED
        case 404 | 410:
            return Reason.NOT_FOUND
        case 429:
            return Reason.THROTTLED
        case _:
            return Reason.FAILING


def of_status(code: int) -> Event:
    """What a C-STORE status means (PS3.4 table B.2-1, PS3.7 C)."""
    if code == 0x0000:
        return Event.STORED
    if code >> 12 == 0xB:
        return Event.STORED_WITH_WARNING
    if code == 0x0124 or code >> 8 == 0xA7:
        return Event.DESTINATION_UNAVAILABLE
    if code == 0x0122 or code >> 8 == 0xA9 or code >> 12 == 0xC:
        return Event.REFUSED
    return Event.FAILED


def of_verdict(verdict: Verdict) -> Event:
    """What a DICOMweb store's verdict means."""
    match verdict.outcome:
        case Outcome.STORED:
            return Event.STORED_WITH_WARNING if verdict.status else Event.STORED
        case Outcome.INSTANCE_REFUSED:
            return Event.REFUSED
        case _:
            return Event.DESTINATION_UNAVAILABLE


def of_answer(status: int) -> Event:
    """What it means that the source answers a retrieval with another HTTP status than 200."""
    if status in (404, 410):
        return Event.NOT_THERE
    if 400 <= status < 500 and status not in (401, 403, 407, 408, 421, 425, 429):
        return Event.UNREADABLE  # it judges what we ask for: another request of the same kind may do
    return Event.SOURCE_UNAVAILABLE

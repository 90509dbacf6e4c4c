"""What an exporter knows of itself, and /status: the versioned document that the operator reads."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from dicom_adapter import __version__
from dicom_adapter.export import messages
from dicom_adapter.export.events import Reason as Reach
from dicom_adapter.export.events import Side, Trouble
from dicom_adapter.logs import timestamp
from dicom_adapter.state import STATUS_VERSION, LastError, Reason

NOT_PROBED = Trouble(Reach.NOT_PROBED, "nothing has been asked of it yet")
REACHABLE = {
    Side.SOURCE: Trouble(Reach.REACHABLE, "the source answers"),
    Side.DESTINATION: Trouble(Reach.REACHABLE, "the destination answers"),
}
_DAY = 86_400.0


class Delivering(StrEnum):
    """Whether what arrives gets through: reasons of the condition Delivering."""

    DELIVERING = "Delivering"
    DESTINATION_DOWN = "DestinationDown"
    SOURCE_DOWN = "SourceDown"
    POISON_MESSAGES = "PoisonMessages"
    RETENTION_ENDS_SOON = "RetentionEndsSoon"


class ExportState:
    """The moving part of /status. `oldest` gives when the oldest message in hand was published, `waiting` how many there are."""

    def __init__(
        self,
        *,
        source: str,
        destination: str,
        waiting: Callable[[], int],
        oldest: Callable[[], float | None],
        clock: Callable[[], float],
    ) -> None:
        self._names = {Side.SOURCE: source, Side.DESTINATION: destination}
        self._waiting = waiting
        self._oldest = oldest
        self._clock = clock
        self.reason = Reason.STARTING
        self.message = "the adapter is starting"
        self.reached = dict.fromkeys(Side, NOT_PROBED)
        self.subscription: Trouble | None = None
        self.retention: int | None = None
        self.retained = 0
        self.exported = 0
        self.last_error: LastError | None = None

    @property
    def ready(self) -> bool:
        """Working, as far as that is in our hands: neither side's troubles make it unready."""
        return self.reason is Reason.READY

    def become(self, reason: Reason, message: str) -> bool:
        """Sets reason and sentence; tells whether that is a change."""
        changed = (reason, message) != (self.reason, self.message)
        self.reason, self.message = reason, message
        return changed

    def name(self, side: Side) -> str:
        """What a side is called."""
        return self._names[side]

    def learn(self, side: Side, trouble: Trouble | None) -> None:
        """What a side is like now."""
        self.reached[side] = trouble or REACHABLE[side]

    def reach(self, side: Side) -> Trouble:
        """What the condition of a side says. Without its messages a source is of no use, even if the store answers."""
        if side is Side.SOURCE and self.subscription is not None:
            return self.subscription
        return self.reached[side]

    def delivering(self) -> tuple[Delivering, str]:
        """The worst thing first."""
        oldest = self._oldest()
        if oldest is not None and self.retention is not None and oldest + self.retention - self._clock() < _DAY:
            return Delivering.RETENTION_ENDS_SOON, messages.RETENTION
        for side, reason in ((Side.DESTINATION, Delivering.DESTINATION_DOWN), (Side.SOURCE, Delivering.SOURCE_DOWN)):
            found = self.reach(side)
            if found.reason not in (Reach.REACHABLE, Reach.NOT_PROBED):
                return reason, found.text
        if self.retained:
            return Delivering.POISON_MESSAGES, messages.POISON
        return Delivering.DELIVERING, "what arrives is delivered"

    def verdict(self) -> tuple[str, str]:
        """One level and one sentence for the whole."""
        if self.reason is Reason.DRAINING:
            return "warn", self.message
        if not self.ready:
            return "bad", self.message
        reason, text = self.delivering()
        if reason is Delivering.DELIVERING:
            return "ok", messages.exporting(self._names[Side.SOURCE], self._names[Side.DESTINATION])
        return ("warn" if reason is Delivering.POISON_MESSAGES else "bad"), text

    def document(self) -> dict[str, Any]:
        """/status, version 1."""
        level, message = self.verdict()
        error, oldest = self.last_error, self._oldest()
        reason, text = self.delivering()
        return {
            "version": STATUS_VERSION,
            "adapterVersion": __version__,
            "verdict": {"level": level, "message": message},
            "ready": self.ready,
            "reason": str(self.reason),
            "message": self.message,
            **{
                str(side): {"name": self._names[side], "reason": str(self.reach(side).reason), "message": self.reach(side).text}
                for side in Side
            },
            "delivering": {"reason": str(reason), "message": text},
            "exported": self.exported,
            "waiting": self._waiting(),
            "retained": self.retained,
            "oldestMessageTime": None if oldest is None else timestamp(oldest),
            "lastError": None if error is None else {"time": timestamp(error.time), "message": error.message},
        }

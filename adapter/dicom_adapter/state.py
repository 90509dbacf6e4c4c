"""What the adapter knows of itself, and /status: the versioned document that the operator reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicom_adapter import __version__, messages
from dicom_adapter.logs import timestamp

STATUS_VERSION = 1


class Reason(StrEnum):
    """Why the adapter is ready, or not."""

    READY = "Ready"
    STARTING = "Starting"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 -- a reason, no secret
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"
    DRAINING = "Draining"
    SUSPENDED = "Suspended"
    LEAVING = "Leaving"
    SPOOL_FAULTY = "SpoolFaulty"


class StoreReason(StrEnum):
    """The probe's view of the store: reasons of the condition StoreReachable."""

    REACHABLE = "Reachable"
    UNAUTHORIZED = "Unauthorized"
    NOT_FOUND = "NotFound"
    UNREACHABLE = "Unreachable"
    THROTTLED = "Throttled"
    NOT_PROBED = "NotProbed"


@dataclass(frozen=True, slots=True)
class StoreState:
    """Reason and sentence. The sentence holds no number that moves by itself."""

    reason: StoreReason
    message: str


class SpoolReason(StrEnum):
    """Reasons of the condition Delivering."""

    DELIVERING = "Delivering"
    BACKLOGGED = "Backlogged"
    FULL = "SpoolFull"
    FAULTY = "SpoolFaulty"


@dataclass(frozen=True, slots=True)
class DestinationBacklog:
    """What waits for one destination. `oldest`: time.time(). `state`: Delivering, Waiting (it takes nothing now) or NotConfigured."""

    name: str
    instances: int
    bytes: int
    failed: int
    oldest: float | None
    state: str

    def document(self) -> dict[str, Any]:
        """For /status."""
        return {
            "name": self.name,
            "state": self.state,
            "instances": self.instances,
            "bytes": self.bytes,
            "failed": self.failed,
            "oldestTime": None if self.oldest is None else timestamp(self.oldest),
        }


@dataclass(frozen=True, slots=True)
class SpoolState:
    """Reason, sentence and exact counts. The sentence holds no number that moves by itself."""

    reason: SpoolReason
    message: str
    destinations: tuple[DestinationBacklog, ...]

    def document(self) -> dict[str, Any]:
        """For /status."""
        oldest = min((one.oldest for one in self.destinations if one.oldest is not None), default=None)
        return {
            "reason": str(self.reason),
            "message": self.message,
            "instances": sum(one.instances for one in self.destinations),
            "bytes": sum(one.bytes for one in self.destinations),
            "failed": sum(one.failed for one in self.destinations),
            "oldestTime": None if oldest is None else timestamp(oldest),
            "destinations": [one.document() for one in self.destinations],
        }


class DestinationState:
    """One of `spec.destinations`, as its probe sees it."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.store = StoreState(StoreReason.NOT_PROBED, "the destination has not been asked yet")

    @property
    def reachable(self) -> bool | None:
        """None while nobody knows."""
        return None if self.store.reason is StoreReason.NOT_PROBED else self.store.reason is StoreReason.REACHABLE

    def document(self) -> dict[str, Any]:
        """Its part of /status."""
        return {"name": self.name, "reachable": self.reachable, "reason": str(self.store.reason), "message": self.store.message}


@dataclass(frozen=True, slots=True)
class LastError:
    """The last operation that failed: time.time() and its log line."""

    time: float
    message: str


class NodeState:
    """The moving part of /status, changed by whoever learns something."""

    def __init__(self, *, ae_title: str, store_url: str, maximum: int, active: Callable[[], int]) -> None:
        self.ae_title = ae_title
        self.store_url = store_url
        self._maximum = maximum
        self._active = active
        self.reason = Reason.STARTING
        self.message = "the adapter is starting"
        self.store = StoreState(StoreReason.NOT_PROBED, "the store has not been asked yet")
        self.destinations: tuple[DestinationState, ...] = ()
        self.last_error: LastError | None = None
        self.spool: Callable[[], SpoolState] | None = None
        self.orders: dict[str, Any] | None = None

    @property
    def ready(self) -> bool:
        """Listening, credentials loaded, not draining; or told to rest: then nothing is wrong with it, and the next pod may be replaced."""
        return self.reason in (Reason.READY, Reason.SUSPENDED)

    def become(self, reason: Reason, message: str) -> bool:
        """Sets reason and sentence; tells whether that is a change."""
        changed = (reason, message) != (self.reason, self.message)
        self.reason, self.message = reason, message
        return changed

    def heed(self, generation: int, *, closed: bool) -> None:
        """The orders that are carried out, and whether the node is closed for good until it gets others."""
        self.orders = {"generation": generation, "closed": closed}

    def verdict(self) -> tuple[str, str]:
        """One level and one sentence for the whole: the worst thing first."""
        if self.reason in (Reason.DRAINING, Reason.SUSPENDED, Reason.LEAVING):
            return "warn", self.message
        if not self.ready:
            return "bad", self.message
        if self.store.reason is StoreReason.THROTTLED:
            return "warn", self.store.message
        if self.store.reason not in (StoreReason.REACHABLE, StoreReason.NOT_PROBED):
            return "bad", self.store.message
        spool = self.spool() if self.spool else None
        if spool is not None and spool.reason is not SpoolReason.DELIVERING:
            return ("warn" if spool.reason is SpoolReason.BACKLOGGED else "bad"), spool.message
        for destination in self.destinations:
            if destination.reachable is False:
                return "warn", messages.at_destination(destination.name, destination.store.message)
        if self._active() >= self._maximum:
            return "warn", f"all {self._maximum} associations are open: further ones are refused (spec.limits.maxAssociations)"
        return "ok", f"'{self.ae_title}' receives and stores into {self.store_url}"

    def document(self) -> dict[str, Any]:
        """/status, version 1."""
        level, message = self.verdict()
        error = self.last_error
        return {
            "version": STATUS_VERSION,
            "adapterVersion": __version__,
            "verdict": {"level": level, "message": message},
            "ready": self.ready,
            "reason": str(self.reason),
            "message": self.message,
            "aeTitle": self.ae_title,
            "store": {"url": self.store_url, "reason": str(self.store.reason), "message": self.store.message},
            **({"spool": self.spool().document()} if self.spool else {}),
            "destinations": [destination.document() for destination in self.destinations],
            **({"orders": self.orders} if self.orders else {}),
            "associations": {"active": self._active()},
            "lastError": None if error is None else {"time": timestamp(error.time), "message": error.message},
        }

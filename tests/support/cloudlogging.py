"""A line of standard error as Cloud Logging's agent on GKE reads it: https://cloud.google.com/logging/docs/structured-logging."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
LONGEST_LINE = 16 << 10
"""Where the container runtime cuts a line in two: neither half is JSON then."""
_SPECIAL = ("httpRequest", "timestamp", "timestampSeconds", "timestampNanos", "spanId", "trace", "labels")


@dataclass(frozen=True, slots=True)
class Entry:
    """A LogEntry: what the fields of its own are, and the rest."""

    severity: str
    time: datetime
    message: str
    payload: dict[str, Any]


def read(line: str) -> Entry:
    """Raises AssertionError for what the agent would take for something else than it is meant to be."""
    assert len(line.encode()) < LONGEST_LINE, len(line)
    assert line.count("\n") <= line.endswith("\n")
    entry = json.loads(line)
    assert isinstance(entry, dict), line
    severity, time, message = (entry.pop(key) for key in ("severity", "time", "message"))
    assert severity in SEVERITIES, line
    assert isinstance(message, str), line
    assert message, line
    assert time.endswith("Z"), line
    assert not [key for key in entry if key in _SPECIAL or key.startswith("logging.googleapis.com/")], line
    return Entry(severity, datetime.fromisoformat(time).astimezone(UTC), message, entry)

"""Logs: one JSON object a line with `severity`, `time` and `message` as Cloud Logging reads them, or lines for people.

https://cloud.google.com/logging/docs/structured-logging. Exceptions are shown as frames and class: their text may hold a peer's bytes.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, TextIO

from dicom_adapter.config import LogLevel

Format = Literal["json", "text"]
WINDOW_SECONDS = 60.0
_MAXIMUM_KEYS = 1024
# Container runtimes cut a line at 16 KiB, and half a line is no JSON. The end of a stack says more than its beginning.
_LONGEST_STACK = 8192


class Severity(StrEnum):
    """Cloud Logging's LogSeverity, as far as we use it."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


_LEVELS = {LogLevel.DEBUG: logging.DEBUG, LogLevel.INFO: logging.INFO, LogLevel.WARNING: logging.WARNING, LogLevel.ERROR: logging.ERROR}
_NUMBERS = {severity: logging.getLevelNamesMapping()[severity] for severity in Severity}


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stack(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return "".join(traceback.format_tb(record.exc_info[2])) + record.exc_info[0].__qualname__


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as Cloud Logging reads it."""
        entry: dict[str, Any] = {"severity": record.levelname, "time": timestamp(record.created), "message": record.getMessage()}
        entry.update(getattr(record, "fields", None) or {"event": "Log", "logger": record.name})
        if stack := _stack(record):
            entry["stack_trace"] = stack[-_LONGEST_STACK:]
        return json.dumps(entry, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Time, severity, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The record for people."""
        stack = _stack(record)
        return f"{timestamp(record.created)} {record.levelname:<7} {record.getMessage()}" + (f"\n{stack}" if stack else "")


def configure(stream: TextIO, style: Format, level: LogLevel) -> EventLog:
    """Sends all logging of the process to one stream: others' from WARNING on, none of pydicom and pynetdicom: values in them."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, _LEVELS[level]))
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logger = logging.getLogger("dicom_adapter")
    logger.setLevel(_LEVELS[level])
    return EventLog(logger, limited=level is not LogLevel.DEBUG)


@dataclass(slots=True)
class _Window:
    """What was held back for one key since its line was written."""

    ends: float
    count: int = 0
    last: tuple[Severity, str, str, Mapping[str, Any]] | None = None


class EventLog:
    """The adapter's own lines. `limited` ones are written once per peer, event and minute; the next tells how many were held back."""

    def __init__(self, logger: logging.Logger, *, limited: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._limited = limited
        self._now = now
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def write(self, severity: Severity, event: str, message: str, **fields: Any) -> None:
        """One line, always."""
        shown = {key: value for key, value in fields.items() if value is not None}
        self._logger.log(_NUMBERS[severity], "%s", message, extra={"fields": {"event": event, **shown}})

    def limited(self, severity: Severity, event: str, message: str, *, peer: str, detail: str = "", **fields: Any) -> None:
        """One line per peer, event (with `detail`, such as a status) and minute."""
        if not self._limited:
            self.write(severity, event, message, peer=peer, **fields)
            return
        self.flush()
        key = (peer, f"{event} {detail}")
        if key not in self._windows and len(self._windows) >= _MAXIMUM_KEYS:
            key = ("", event)  # a flood of invented AE titles shares one line
        window = self._windows.get(key)
        if window is None:
            self._windows[key] = _Window(self._now() + WINDOW_SECONDS)
            self.write(severity, event, message, peer=peer, **fields)
        else:
            window.count += 1
            window.last = (severity, event, message, {"peer": peer, **fields})

    def flush(self, *, everything: bool = False) -> None:
        """Writes what was held back in windows that are over."""
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends > self._now() and not everything:
                return
            del self._windows[key]
            if window.last is None:
                continue
            severity, event, message, fields = window.last
            more = f" (and {window.count - 1} more)" if window.count > 1 else ""
            self.write(severity, event, message + more, **fields)
            if not everything:
                self._windows[key] = _Window(self._now() + WINDOW_SECONDS)

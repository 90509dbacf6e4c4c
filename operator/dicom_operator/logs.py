"""Logs: one line each, JSON with stable keys, or text for people."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TextIO

LONGEST_EXCEPTION = 8192
"""Container runtimes cut a line at 16 KiB, and half a line is no JSON; the end of an exception says more than its beginning."""
EXTRA = ("namespace", "adapter", "export", "generation", "reason")


class JsonFormatter(logging.Formatter):
    """`severity, time, message` and what the line is about."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line."""
        line: dict[str, object] = {
            "severity": record.levelname,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "message": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name in EXTRA if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-LONGEST_EXCEPTION:]
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """For a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Level, what it is about, message."""
        about = "/".join(str(value) for name in ("namespace", "adapter", "export") if (value := getattr(record, name, None)))
        line = f"{record.levelname:<8}{about + ': ' if about else ''}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(format_name: str, level: str, stream: TextIO) -> logging.Logger:
    """Sets the process's logging up; returns the operator's own logger."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if format_name == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # One line per watch event, and each login: nothing that anybody acts on.
    for name in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    return logging.getLogger("dicom_operator")

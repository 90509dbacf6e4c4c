"""An adapter's `/status`, as a pod on paper would serve it."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler
from typing import Any

_OWN = ".".join(str(part) for part in divmod(os.getpid() % 65536, 256))
PAGE_ADDRESS, ADAPTER_ADDRESS = f"127.77.{_OWN}", f"127.78.{_OWN}"
"""Where the page is, and a real adapter: addresses that no other pod of the tests has, nor any test of a process beside this one."""


class StatusPage(BaseHTTPRequestHandler):
    """Answers every request with `answer`."""

    answer: bytes = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


def spool(instances: int = 0, *, failed: int = 0, reason: str = "Delivering", generation: int = 0, closed: bool = False) -> dict[str, Any]:
    """The parts of a report that a pod with a spool has."""
    return {
        "spool": {
            "reason": reason,
            "message": f"it is {reason}",
            "oldestTime": "2026-11-23T10:00:00Z" if instances else None,
            "destinations": [{"name": "dicomStore", "instances": instances, "failed": failed}],
        },
        "orders": {"generation": generation, "closed": closed},
        "associations": {"active": 0},
    }


def report(
    *,
    ready: bool = True,
    reason: str = "Ready",
    message: str = "",
    store: str = "Reachable",
    store_message: str = "the store answers",
    **more: Any,
) -> bytes:
    body = {
        **more,
        "version": 1,
        "ready": ready,
        "reason": reason,
        "message": message,
        "store": {"url": "x", "reason": store, "message": store_message},
    }
    return json.dumps(body).encode()


def exporting(
    *, destination: str = "Reachable", message: str = "the destination answers", delivering: str = "Delivering", exported: int = 0
) -> bytes:
    """What an exporter says."""
    body = {
        "version": 1,
        "ready": True,
        "reason": "Ready",
        "message": "",
        "source": {"name": "s", "reason": "Reachable", "message": "the source answers"},
        "destination": {"name": "d", "reason": destination, "message": message},
        "delivering": {"reason": delivering, "message": message},
        "exported": exported,
        "waiting": 0,
        "retained": 0,
        "oldestMessageTime": None,
    }
    return json.dumps(body).encode()

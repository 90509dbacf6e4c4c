"""The adapter, killed as `kill -9` does at one point of its spool: `python -m tests.support.crashing after:rename:20 import ...`.

A point is a call of `Storage`, before or after it is made, and which one since the adapter listens.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from dicom_adapter import cli
from dicom_adapter.spool import storage

CALLS = ("create", "write", "sync_file", "close", "rename", "sync_directory", "unlink")
POINTS = tuple(f"{when}:{call}" for call in CALLS for when in ("before", "after"))
"""Every one on the way of an instance in and out of a spool with one destination."""


class Bomb:
    """Counts the calls, and ends the process at one of them."""

    def __init__(self, point: str) -> None:
        self.when, self.call, count = point.split(":")
        self._left = int(count)
        self._lock = threading.Lock()

    def around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method with the bomb in it."""

        def wrapped(disk: storage.Disk, *arguments: Any, **options: Any) -> Any:
            if self.when == "before":
                self._tick()
            result = method(disk, *arguments, **options)
            if self.when == "after":
                self._tick()
            return result

        return wrapped

    def _tick(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    bomb = Bomb(sys.argv[1])
    setattr(storage.Disk, bomb.call, bomb.around(bomb.call, getattr(storage.Disk, bomb.call)))
    sys.argv[1:] = sys.argv[2:]
    cli.run()

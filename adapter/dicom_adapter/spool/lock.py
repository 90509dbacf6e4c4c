"""One process works on a spool."""

from __future__ import annotations

import fcntl
import os
import time

from dicom_adapter.spool.entry import LOCK
from dicom_adapter.spool.errors import SpoolInUse

_LOOK_SECONDS = 0.02


class Lock:
    """Keeps a second process off the spool. The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, root: str) -> None:
        self._path = f"{root}/{LOCK}"
        self._file = -1

    def acquire(self, *, patience: float = 0.0) -> None:
        """Raises SpoolInUse after so many seconds, or OSError. `dicom-adapter spool` holds it for a moment to see whether it is held."""
        until = time.monotonic() + patience
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    self.release()
                    raise SpoolInUse(self._path) from None
                time.sleep(_LOOK_SECONDS)
            else:
                return

    def release(self) -> None:
        """Lets another process have it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

"""One fsync of a directory for all whose names are in it by then (group commit)."""

from __future__ import annotations

import threading

from dicom_adapter.spool.storage import Storage


class DirectorySync:
    """One directory. `sync` blocks until an fsync that began after the call has ended; whoever comes first makes it for all who wait.

    When one fails, all fail who waited for it: nobody can say whose name is safe.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._state = threading.Condition()
        self._started = 0
        self._ended = 0
        self._running = False
        self._failed: OSError | None = None

    def sync(self) -> None:
        """Raises OSError: once for ever, since an fsync that follows a failed one promises nothing."""
        with self._state:
            mine = self._started + 1
            while self._ended < mine and self._failed is None:
                if self._running:
                    self._state.wait()
                else:
                    self._lead()
            if self._failed is not None:
                raise self._failed

    def _lead(self) -> None:
        """With the lock, which is let go for the fsync."""
        self._running = True
        self._started += 1
        number = self._started
        self._state.release()
        failed: OSError | None = None
        try:
            self._storage.sync_directory(self._path)
        except OSError as error:
            failed = error
        finally:
            self._state.acquire()
            self._running = False
            self._ended = number
            self._failed = failed or self._failed
            self._state.notify_all()

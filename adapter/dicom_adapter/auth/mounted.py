"""Files of mounted Secrets and ConfigMaps: kubelet replaces them while we run, so they are looked at again whenever they are needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mounted:
    """One key of a mounted object."""

    what: str  # Secret or ConfigMap
    name: str
    key: str
    directory: Path

    @property
    def path(self) -> Path:
        """The key's file."""
        return self.directory / self.key


class Missing(Exception):
    """A key that is not there; `others` are the keys that are (none when the object itself is missing)."""

    def __init__(self, mounted: Mounted, others: list[str]) -> None:
        super().__init__(f"{mounted.what} {mounted.name} key {mounted.key}")
        self.mounted = mounted
        self.others = others


class Unusable(Exception):
    """A key that is there but holds something else than it should; `why` is for people and quotes nothing of it."""

    def __init__(self, mounted: Mounted, why: str) -> None:
        super().__init__(f"{mounted.what} {mounted.name} key {mounted.key}: {why}")
        self.mounted = mounted
        self.why = why


class MountedFile:
    """The content of one key, read again when its file has changed. What was read once stays valid when the file goes away."""

    MAXIMUM_BYTES = 1 << 20  # an object of Kubernetes is no larger

    def __init__(self, mounted: Mounted) -> None:
        self.mounted = mounted
        self._stamp: tuple[int, int, int] | None = None
        self._content: bytes | None = None

    @property
    def stamp(self) -> tuple[int, int, int] | None:
        """Changes when the content may have changed."""
        return self._stamp

    def read(self) -> bytes:
        """The content. Raises Missing, or Unusable when the file cannot be read."""
        try:
            status = os.stat(self.mounted.path)  # through kubelet's symbolic links, which it swaps on a change
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._content is None or stamp != self._stamp:
                with self.mounted.path.open("rb") as file:
                    self._content = file.read(self.MAXIMUM_BYTES)
                self._stamp = stamp
        except FileNotFoundError:
            if self._content is None:
                raise Missing(self.mounted, self._others()) from None
        except OSError as error:
            if self._content is None:
                raise Unusable(self.mounted, f"cannot be read ({error.strerror})") from error
        return self._content

    def _others(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.mounted.directory) if not name.startswith(".."))
        except OSError:
            return []

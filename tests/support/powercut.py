"""An ext4 on a loop file whose power can be cut: what was not synced is gone afterwards. Needs root."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Self

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_WITHOUT_LOG_FLUSH = 2


class Volume:
    """A file system of its own below `directory`. Context manager: it is unmounted in the end."""

    def __init__(self, directory: Path, *, megabytes: int = 256) -> None:
        self.path = directory / "volume"
        self._image = directory / "image"
        self._megabytes = megabytes

    def __enter__(self) -> Self:
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(self._megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "-l", str(self.path))

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def write_without_sync(self, name: str) -> None:
        """A file that is only in the page cache. The directory is not synced either."""
        (self.path / name).write_bytes(b"not synced")

    def cut_power(self) -> None:
        """Everything fails from now on, nothing more comes to disk, the journal in memory included."""
        directory = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, _SHUTDOWN, _WITHOUT_LOG_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(directory)

    def restore_power(self, name: str) -> bool:
        """Mounts it anew: the journal is replayed. Tells whether that file is there and whole; removes it."""
        _run("umount", str(self.path))
        self._mount()
        found = self.path / name
        there = found.exists() and found.read_bytes() == b"not synced"
        found.unlink(missing_ok=True)
        return there


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

"""What the spool asks of a file system, and nothing else: so that every state that a crash may leave can be made and looked at.

Paths are relative to the spool's directory, with `/`. Every method blocks and may raise OSError; none is called on the event loop.
What is promised of a file system: data are safe after `sync_file`, a name after `sync_directory`, and a rename is seen whole or not at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol


class Storage(Protocol):
    """A directory on a file system."""

    def create(self, path: str) -> int:
        """A new file to write to; it must not be there yet."""

    def write(self, file: int, pieces: Sequence[bytes]) -> None:
        """Appends all of it."""

    def sync_file(self, file: int, *, names: bool = False) -> None:
        """Returns when what has been written will outlast a power cut. After an error the file is lost: no second try is of use.

        With `names` also how many names it has does, which has to be said for more than one.
        """

    def close(self, file: int) -> None:
        """Lets go of it."""

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name, also in another directory."""

    def link(self, old: str, new: str) -> None:
        """Gives a file a further name."""

    def unlink(self, path: str) -> None:
        """Takes a name away."""

    def sync_directory(self, path: str) -> None:
        """Returns when its names will outlast a power cut."""

    def release(self) -> None:
        """Nobody works with it any more."""

    def make_directory(self, path: str) -> None:
        """Makes it unless it is there, with its parents; returns when it will outlast a power cut."""

    def scan(self, path: str) -> Iterator[str]:
        """The names in a directory, in no order; those without a directory have none."""

    def size(self, path: str) -> int:
        """A file's bytes."""

    def read(self, path: str, offset: int, length: int) -> bytes:
        """At most so many of them."""

    def free(self) -> int:
        """Bytes that may still be written."""

    def whole(self) -> int:
        """Bytes of the file system."""


class Disk:
    """The real one."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._directories: dict[str, int] = {}
        self._lock = threading.Lock()

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def create(self, path: str) -> int:
        """With O_EXCL."""
        return os.open(self._path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, file: int, pieces: Sequence[bytes]) -> None:
        """With writev, which may take less than all."""
        rest = [memoryview(piece) for piece in pieces if piece]
        while rest:
            written = os.writev(file, rest[:_MOST_PIECES])
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = rest[0][written:]

    def sync_file(self, file: int, *, names: bool = False) -> None:
        """With fdatasync, of which the size is part, and times are not; nor is the count of names, for which it is fsync."""
        if names:
            os.fsync(file)
        else:
            os.fdatasync(file)

    def close(self, file: int) -> None:
        """Once."""
        os.close(file)

    def rename(self, old: str, new: str) -> None:
        """Atomic."""
        os.rename(self._path(old), self._path(new))

    def link(self, old: str, new: str) -> None:
        """A hard link."""
        os.link(self._path(old), self._path(new))

    def unlink(self, path: str) -> None:
        """The data go with the last name."""
        os.unlink(self._path(path))

    def sync_directory(self, path: str) -> None:
        """With fsync of the directory, which is open from its first sync on: none fails later because there are too many open files."""
        with self._lock:
            directory = self._directories.get(path, -1)
            if directory < 0:
                directory = self._directories[path] = os.open(self._path(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(directory)

    def release(self) -> None:
        """Closes them."""
        with self._lock:
            while self._directories:
                os.close(self._directories.popitem()[1])

    def make_directory(self, path: str) -> None:
        """And syncs each of its parents."""
        os.makedirs(self._path(path), 0o700, exist_ok=True)
        parent = path
        while parent:  # also when it was there: whoever made it may not have come so far
            parent = parent.rpartition("/")[0]
            self.sync_directory(parent)

    def scan(self, path: str) -> Iterator[str]:
        """As the kernel gives them, a buffer of it at a time."""
        try:
            entries = os.scandir(self._path(path))
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                yield entry.name

    def size(self, path: str) -> int:
        """By stat."""
        return os.stat(self._path(path)).st_size

    def read(self, path: str, offset: int, length: int) -> bytes:
        """All of what is there."""
        with open(self._path(path), "rb", buffering=0) as file:
            pieces: list[bytes] = []
            while length and (piece := os.pread(file.fileno(), length, offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def free(self) -> int:
        """For an unprivileged process."""
        system = os.statvfs(self.root)
        return system.f_bavail * system.f_frsize

    def whole(self) -> int:
        """By statvfs."""
        system = os.statvfs(self.root)
        return system.f_blocks * system.f_frsize


_MOST_PIECES = 256  # of the 1024 that writev takes

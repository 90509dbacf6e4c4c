"""What the spool asks of a file system, and nothing else: so that every state that a crash may leave can be made and looked at.

Paths are relative to the spool's directory, with `/`. Every method blocks and may raise OSError; none is called on the event loop.
What is promised of a file system: data are safe after `sync_file`, a name after `sync_directory`, and a rename is seen whole or not at all.

A draft is a file without a name: nobody sees it, and it is gone with the process that has it. That is what O_TMPFILE gives (open(2)), at
less than the cost of a name to be taken away again: a rename to another directory waits for all others on the file system. Where there is
none, as on NFS, a draft has a name in `incoming`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

INCOMING = "incoming"


class Storage(Protocol):
    """A directory on a file system."""

    def prepare(self) -> None:
        """Call it once, before the first draft: what is left of drafts of before is removed."""

    def draft(self) -> int:
        """A new file to write to that nobody sees yet."""

    def place(self, draft: int, paths: Sequence[str]) -> None:
        """Gives it these names and lets go of it in any case. After an error it has none of them."""

    def drop(self, draft: int) -> None:
        """Nobody wants it."""

    def create(self, path: str) -> int:
        """A new file to write to; it must not be there yet."""

    def write(self, file: int, pieces: Sequence[bytes]) -> None:
        """Appends all of it."""

    def sync_file(self, file: int) -> None:
        """Returns when what has been written will outlast a power cut. After an error the file is lost: no second try is of use."""

    def close(self, file: int) -> None:
        """Lets go of it."""

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name, also in another directory."""

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
        self._unnamed = False
        self._drafts: dict[int, str] = {}
        """The names of those that have one."""
        self._numbers = itertools.count()

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def prepare(self) -> None:
        """Also tries whether the file system has files without a name, and gives them one."""
        self.make_directory(INCOMING)
        for name in self.scan(INCOMING):
            self.unlink(f"{INCOMING}/{name}")
        self._unnamed = True
        try:
            self.place(self.draft(), [f"{INCOMING}/trial"])
        except OSError:  # EOPNOTSUPP, EISDIR, EXDEV, ENOENT without a /proc: what else is wrong shows at the first image
            self._unnamed = False
        else:
            self.unlink(f"{INCOMING}/trial")

    def draft(self) -> int:
        """With O_TMPFILE, or in `incoming`."""
        if self._unnamed:
            return os.open(self._path(INCOMING), os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        path = f"{INCOMING}/{next(self._numbers)}"
        draft = self.create(path)
        self._drafts[draft] = path
        return draft

    def place(self, draft: int, paths: Sequence[str]) -> None:
        """Each name is a link; the last one of a draft in `incoming` a rename, which file systems without links have too."""
        name = self._drafts.pop(draft, "")
        placed: list[str] = []
        try:
            try:
                for path in paths:
                    self._name(draft, name, path, last=path == paths[-1])
                    placed.append(path)
            finally:
                os.close(draft)
        except OSError:
            for path in (*placed, name):
                with contextlib.suppress(OSError):  # delivered already, or the disk is gone: to have it delivered does no harm
                    if path:
                        self.unlink(path)
            raise

    def _name(self, draft: int, name: str, path: str, *, last: bool) -> None:
        if not name:  # a directory's handle makes Python ask for linkat, which follows the link in /proc; link(2) does not
            os.link(f"/proc/self/fd/{draft}", self._path(path), src_dir_fd=self._directory(""), follow_symlinks=True)
        elif last:
            os.rename(self._path(name), self._path(path))
        else:
            os.link(self._path(name), self._path(path))

    def drop(self, draft: int) -> None:
        """At once, or at the next `prepare`."""
        name = self._drafts.pop(draft, "")
        os.close(draft)
        if name:
            self.unlink(name)

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

    def sync_file(self, file: int) -> None:
        """With fdatasync: the size is part of it, times are not."""
        os.fdatasync(file)

    def close(self, file: int) -> None:
        """Once."""
        os.close(file)

    def rename(self, old: str, new: str) -> None:
        """Atomic."""
        os.rename(self._path(old), self._path(new))

    def unlink(self, path: str) -> None:
        """The data go with the last name."""
        os.unlink(self._path(path))

    def sync_directory(self, path: str) -> None:
        """With fsync of the directory, which is open from its first sync on: none fails later because there are too many open files."""
        os.fsync(self._directory(path))

    def _directory(self, path: str) -> int:
        with self._lock:
            directory = self._directories.get(path, -1)
            if directory < 0:
                directory = self._directories[path] = os.open(self._path(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return directory

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

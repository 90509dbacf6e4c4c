"""The cache: what was built once is found again by the hash of what it was built from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.running import Task, elapsed, say

# A switch between two branches should not build again; more than these only fill the disk.
KEPT = 3


def digest(files: Mapping[str, bytes]) -> str:
    """Hash named contents, independent of order; moving a byte from a name to a content changes it."""
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{len(name.encode())} {name} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()[:16]


def read_tree(root: Path, only: Iterable[str] = ("**/*",), without: Iterable[str] = ()) -> dict[str, bytes]:
    """Read the files below a directory that match a pattern, and tell the executable ones from the others."""
    left_out = {path for pattern in without for path in root.glob(pattern)}
    files = {}
    for pattern in only:
        for path in root.glob(pattern):
            if path.is_file() and path not in left_out and not left_out.intersection(path.parents):
                mode = "x" if os.access(path, os.X_OK) else "-"
                files[f"{mode} {path.relative_to(root)}"] = path.read_bytes()
    return files


@dataclass(frozen=True, slots=True)
class Artefact:
    """Something to build: a directory of files, known by its name and by the hash of what it is made from."""

    name: str
    key: str
    typical: str
    build: Callable[[Path, Task], None]


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of artefacts, shared by every checkout of the repository and every process of the user."""

    root: Path

    def path(self, artefact: Artefact) -> Path:
        """Where the artefact is once it is built."""
        return self.root / artefact.name / artefact.key

    def holds(self, artefact: Artefact) -> bool:
        """Whether the artefact is built: a directory appears under its name only when it is complete."""
        return self.path(artefact).is_dir()

    def obtain(self, artefact: Artefact) -> Path:
        """Return the directory of the artefact, building it if need be; two processes never build the same at once."""
        path = self.path(artefact)
        if path.is_dir():
            os.utime(path)
            return path
        with self.lock(artefact.name):
            if not path.is_dir():
                self._build(artefact, path)
        return path

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock by name; says so if another process has it."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{name}: another process is building it; waiting")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _build(self, artefact: Artefact, path: Path) -> None:
        log = self.root / "logs" / f"{artefact.name}.log"
        log.unlink(missing_ok=True)
        say(f"building {artefact.name} ({artefact.typical}; log: {log})")
        began = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-", ignore_cleanup_errors=True) as temporary:
            output = Path(temporary, "output")
            output.mkdir()
            artefact.build(output, Task(artefact.name, artefact.typical, log))
            output.rename(path)
        say(f"built {artefact.name} in {elapsed(time.monotonic() - began)}")
        self._prune(artefact.name)

    def _prune(self, name: str) -> None:
        entries = [entry for entry in (self.root / name).iterdir() if not entry.name.startswith(".")]
        for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(entry, ignore_errors=True)

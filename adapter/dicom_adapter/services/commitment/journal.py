"""Commitments that are still to be answered, on disk where there is a spool: one file each, UIDs and an AE title in it.

The file is there, with its directory entry, before the request is answered, and gone when the report has been taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

from dicom_adapter.services.commitment.service import Commitment

_SUFFIX: Final = ".json"


class Journal(Protocol):
    """Where commitments outlive the process. Its methods may block: they are called in a thread."""

    def add(self, commitment: Commitment) -> str:
        """Keeps one; returns its name. Raises OSError."""

    def remove(self, name: str) -> None:
        """It has been answered."""

    def load(self) -> dict[str, Commitment]:
        """Those that an earlier process has left."""


class NoJournal:
    """Nothing outlives the process."""

    def add(self, commitment: Commitment) -> str:
        """Keeps nothing."""
        return secrets.token_hex(8)

    def remove(self, name: str) -> None:
        """Nothing to do."""

    def load(self) -> dict[str, Commitment]:
        """Nothing."""
        return {}


class DirectoryJournal:
    """A directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, commitment: Commitment) -> str:
        """Written whole, then named. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"{int(commitment.accepted * 1000):015}-{secrets.token_hex(8)}{_SUFFIX}"
        unfinished = self._directory / f".{name}"
        try:
            with unfinished.open("w") as file:
                json.dump(asdict(commitment), file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._directory / name)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        _sync(self._directory)
        return name

    def remove(self, name: str) -> None:
        """What a crash brings back is answered once more, which is harmless."""
        with contextlib.suppress(OSError):
            (self._directory / name).unlink(missing_ok=True)

    def load(self) -> dict[str, Commitment]:
        """In the order of their age. What cannot be read was never acknowledged, or is no file of ours."""
        found: dict[str, Commitment] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for file in sorted(self._directory.iterdir()):
                if file.name.startswith("."):
                    file.unlink(missing_ok=True)
                elif file.suffix == _SUFFIX:
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                        found[file.name] = _commitment(json.loads(file.read_text()))
        return found


def _commitment(said: dict[str, object]) -> Commitment:
    references = said["references"]
    if not isinstance(references, list):
        raise TypeError
    pairs = tuple((str(sop_class), str(uid)) for sop_class, uid in references)
    return Commitment(str(said["ae_title"]), str(said["transaction_uid"]), pairs, float(str(said["accepted"])))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

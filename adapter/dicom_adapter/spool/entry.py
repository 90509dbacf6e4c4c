"""The name of a spooled instance: `<id>-<length>-<crc32c>.dcm`. The id orders by time; length and checksum prove that the file is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"([0-9a-f]{16})-([0-9]{1,15})-([0-9a-f]{8})\.dcm")
_DESTINATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
INCOMING, READY, FAILED, REQUESTS = "incoming", "ready", "failed", "requests"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the name says."""

    id: int
    length: int
    crc: int

    @property
    def name(self) -> str:
        """The file's."""
        return f"{self.id:016x}-{self.length}-{self.crc:08x}.dcm"

    @property
    def seconds(self) -> float:
        """When it came: time.time()."""
        return self.id / 1e6

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """None when it is no such name."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1], 16), int(match[2]), int(match[3], 16)) if match else None


def measure(name: str) -> tuple[int, int] | None:
    """Id and length in such a name, for who counts a million of them; None when it is none."""
    match = _NAME.fullmatch(name)
    return (int(match[1], 16), int(match[2])) if match else None


def is_destination(name: str) -> bool:
    """Whether it can be the name of a destination, and so of a directory in the spool."""
    return _DESTINATION.fullmatch(name) is not None and name not in (INCOMING, REQUESTS, LOCK) and not name.endswith(".dcm")


def directory(destination: str, state: str) -> str:
    """`dicomStore/ready`."""
    return f"{destination}/{state}"

"""The spool as `dicom-adapter spool` sees it: list, show, retry, discard and export, while an adapter works on it or when none does.

    access = SpoolAccess(directory)
    for listed in access.each(state="failed"): ...      # constant memory, as the directory gives them
    access.story(listed), access.open(listed)           # why it has failed, its Part 10 stream
    access.act("retry", [listed, ...])                  # or "discard"; None for all that have failed

Reading needs no lock. What changes the spool is done here when nobody holds the lock; else it is asked of the adapter that does, in a file
below `requests/`, which it looks for every second and answers beside it. So one process alone changes the spool and its counts are right.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from dicom_adapter.spool.entry import FAILED, READY, REQUESTS, Entry, directory, is_destination
from dicom_adapter.spool.errors import SpoolInUse
from dicom_adapter.spool.lock import Lock
from dicom_adapter.spool.requests import BATCH, Action, Request, perform
from dicom_adapter.spool.spool import Bounds, Spool
from dicom_adapter.spool.storage import Disk

State = Literal["ready", "failed"]
_ANSWER_SECONDS = 30.0


class NoAnswer(Exception):
    """The adapter that holds the spool has not answered in time. It does what it is asked when it comes to it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance in the spool."""

    destination: str
    state: State
    entry: Entry


class SpoolAccess:
    """One spool's directory. Every method blocks and may raise OSError."""

    def __init__(self, root: str, *, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep) -> None:
        self._root = root
        self._disk = Disk(root)
        self._clock = clock
        self._pause = pause

    def destinations(self) -> list[str]:
        """Those that have a place in it."""
        return sorted(name for name in self._disk.scan("") if is_destination(name) and os.path.isdir(f"{self._root}/{name}/{READY}"))

    def each(self, *, destination: str | None = None, state: State | None = None) -> Iterator[Listed]:
        """In no order, without holding them."""
        for name in self.destinations():
            for each in (READY, FAILED):
                if destination in (None, name) and state in (None, each):
                    for file in self._disk.scan(directory(name, each)):
                        if (entry := Entry.parse(file)) is not None:
                            yield Listed(name, each, entry)  # type: ignore[arg-type]

    def find(self, name: str) -> list[Listed]:
        """By its file's name, or the id that begins it: once for each destination that it waits for."""
        return [one for one in self.each() if name in (one.entry.name, f"{one.entry.id:016x}")]

    def story(self, listed: Listed) -> dict[str, Any]:
        """Why it has failed (delivery/failure.py); empty when it has not, or nobody knows."""
        try:
            with open(f"{self._root}/{directory(listed.destination, FAILED)}/{listed.entry.name}.json", "rb") as file:
                found = json.loads(file.read(1 << 16))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def open(self, listed: Listed) -> BinaryIO:
        """Its Part 10 stream."""
        return open(f"{self._root}/{directory(listed.destination, listed.state)}/{listed.entry.name}", "rb")

    def is_held(self) -> bool:
        """Whether an adapter works on it."""
        lock = Lock(self._root)
        try:
            lock.acquire()
        except SpoolInUse:
            return True
        lock.release()
        return False

    def act(
        self, action: Action, chosen: Sequence[Listed] | None, *, destination: str | None = None, seconds: float = _ANSWER_SECONDS
    ) -> int:
        """Retries or discards; gives how many were there. None stands for all that have failed, of one destination or of each.

        Raises NoAnswer when for so many seconds there is none, and nothing happens where the instances are.
        """
        requests = list(self._requests(action, chosen, destination))
        if not requests:
            return 0
        lock = Lock(self._root)
        try:
            lock.acquire()
        except SpoolInUse:
            return sum(self._ask(request, seconds) for request in requests)
        try:
            spool = Spool(self._disk, self.destinations(), Bounds())
            spool.open()
            return sum(len(batch) for request in requests for batch in perform(spool, request))
        finally:
            self._disk.release()
            lock.release()

    def _requests(self, action: Action, chosen: Iterable[Listed] | None, destination: str | None) -> Iterator[Request]:
        if chosen is None:
            names = self.destinations() if destination is None else [destination]
            for name in names:
                if any(self.each(destination=name, state=FAILED)):  # type: ignore[arg-type]
                    yield Request(action, name, FAILED, None)
            return
        by_place: dict[tuple[str, str], list[str]] = {}
        for listed in chosen:
            by_place.setdefault((listed.destination, listed.state), []).append(listed.entry.name)
        for (name, state), names in by_place.items():
            for start in range(0, len(names), BATCH):
                yield Request(action, name, state, tuple(names[start : start + BATCH]))

    def _ask(self, request: Request, seconds: float) -> int:
        path = f"{self._root}/{REQUESTS}/{time.time_ns():x}-{os.getpid()}"
        place = f"{self._root}/{directory(request.destination, request.state)}"
        with open(f"{path}.tmp", "xb") as file:
            file.write(request.encode())
        os.rename(f"{path}.tmp", f"{path}.json")
        seen, until = 0, self._clock() + seconds
        while self._clock() < until:
            with contextlib.suppress(FileNotFoundError), open(f"{path}.answer", "rb") as file:
                done = int(file.read(32))
                os.unlink(f"{path}.answer")
                return done
            if (changed := os.stat(place).st_mtime_ns) != seen:  # many take longer: each that goes is a sign of life
                seen, until = changed, self._clock() + seconds
            self._pause(0.05)
        raise NoAnswer

"""What is asked of the adapter that holds a spool, as files below `requests/`: `<name>.json` asks, `<name>.answer` has how many it were."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from dicom_adapter.spool.entry import FAILED, READY, REQUESTS, Entry, directory
from dicom_adapter.spool.spool import Spool

Action = Literal["retry", "discard"]
_MOST = 1 << 17


@dataclass(frozen=True, slots=True)
class Request:
    """An action on instances of one destination by their names; None stands for all in that state."""

    action: Action
    destination: str
    state: str
    names: tuple[str, ...] | None

    def encode(self) -> bytes:
        """As JSON."""
        names = None if self.names is None else list(self.names)
        return json.dumps({"action": self.action, "destination": self.destination, "state": self.state, "names": names}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Request | None:
        """None when it is no request."""
        try:
            found = json.loads(data)
            names = found["names"]
            request = cls(found["action"], found["destination"], found["state"], None if names is None else tuple(map(str, names)))
        except (ValueError, KeyError, TypeError):
            return None
        right = request.action in get_args(Action) and request.state in (READY, FAILED)
        return request if right and isinstance(request.destination, str) else None


@dataclass(frozen=True, slots=True)
class Done:
    """What an action was done to."""

    action: Action
    destination: str
    entry: Entry


def perform(spool: Spool, request: Request) -> list[Done]:
    """Does it, in a thread, to what is there. Raises OSError."""
    if request.destination not in spool.counts:
        return []
    names = request.names
    if names is None:
        names = tuple(spool.storage.scan(directory(request.destination, request.state)))
    done = []
    for entry in filter(None, map(Entry.parse, names)):
        if request.action == "discard":
            there = spool.remove(request.destination, entry, request.state)
        else:
            there = request.state == FAILED and spool.retry(request.destination, entry)
        if there:
            done.append(Done(request.action, request.destination, entry))
    return done


def serve(spool: Spool) -> Iterator[list[Done]]:
    """Does whatever is asked now, in a thread. Raises OSError."""
    storage = spool.storage
    for name in sorted(storage.scan(REQUESTS)):
        path = f"{REQUESTS}/{name}"
        if not name.endswith(".json"):
            continue
        request = Request.decode(storage.read(path, 0, _MOST))
        done = [] if request is None else perform(spool, request)
        answer = path.removesuffix(".json") + ".answer"
        with contextlib.suppress(FileExistsError):
            file = storage.create(f"{answer}.tmp")
            try:
                storage.write(file, [str(len(done)).encode()])
            finally:
                storage.close(file)
            storage.rename(f"{answer}.tmp", answer)
        storage.unlink(path)
        yield done


def clear(spool: Spool) -> None:
    """At the start: what was asked of an earlier adapter and its answers. Raises OSError."""
    for name in spool.storage.scan(REQUESTS):
        spool.storage.unlink(f"{REQUESTS}/{name}")

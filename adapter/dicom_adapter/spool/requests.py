"""What is asked of the adapter that holds a spool, as files below `requests/`: `<name>.json` asks, `<name>.answer` has how many it were."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

from dicom_adapter.spool.entry import FAILED, READY, REQUESTS, Entry, directory
from dicom_adapter.spool.spool import Spool

Action = Literal["retry", "discard"]
BATCH = 1000
"""Instances that are worked on, and held in memory, at a time."""
_MOST = 1 << 17
_AT_ONCE = 16


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


def perform(spool: Spool, request: Request) -> Iterator[list[Done]]:
    """Does it to what is there, a batch with each step, in a thread. Raises OSError, when it has told what was done before.

    A directory may give again what has come back into it meanwhile: no more are tried than were there.
    """
    if request.destination not in spool.counts:
        return
    names: Iterable[str]
    if request.names is not None:
        names, most = request.names, len(request.names)
    else:
        counts = spool.counts[request.destination]
        most = (counts.ready if request.state == READY else counts.failed).instances
        names = spool.storage.scan(directory(request.destination, request.state))
    entries = islice(filter(None, map(Entry.parse, names)), most)
    while batch := list(islice(entries, BATCH)):
        done: list[Done] = []
        try:
            done += (Done(request.action, request.destination, entry) for entry in _act(spool, request, batch))
        except OSError:
            yield done
            raise
        yield done


def _act(spool: Spool, request: Request, batch: Sequence[Entry]) -> Iterator[Entry]:
    if request.action == "discard":
        yield from (entry for entry in batch if spool.remove(request.destination, entry, request.state))
    elif request.state == FAILED:
        yield from spool.retry(request.destination, batch)


@dataclass(slots=True)
class _UnderWay:
    """A request that is being worked on, and what was done for it so far."""

    batches: Iterator[list[Done]]
    done: int = 0


def serve(spool: Spool) -> Iterator[list[Done]]:
    """Does whatever is asked, a batch with each step, in a thread: of each request in turn, so that few do not wait for many.

    It ends when nothing is asked any more. Raises OSError, when it has done the others; what has met with it is tried again the next time.
    """
    under_way: dict[str, _UnderWay] = {}
    failed: dict[str, OSError] = {}
    while True:
        for name in sorted(spool.storage.scan(REQUESTS)):
            if name.endswith(".json") and name not in under_way and name not in failed and len(under_way) < _AT_ONCE:
                under_way[name] = _UnderWay(_asked(spool, name))
        if not under_way:
            break
        for name, one in list(under_way.items()):
            try:
                batch = next(one.batches, None)
                if batch is None:
                    _answer(spool, name, one.done)
            except OSError as error:
                batch, failed[name] = None, error
            if batch is None:
                del under_way[name]
                continue
            one.done += len(batch)
            yield batch
    for why in failed.values():
        raise why


def _asked(spool: Spool, name: str) -> Iterator[list[Done]]:
    request = Request.decode(spool.storage.read(f"{REQUESTS}/{name}", 0, _MOST))
    if request is not None:
        yield from perform(spool, request)


def _answer(spool: Spool, name: str, done: int) -> None:
    storage, path = spool.storage, f"{REQUESTS}/{name}"
    answer = path.removesuffix(".json") + ".answer"
    with contextlib.suppress(FileExistsError):
        file = storage.create(f"{answer}.tmp")
        try:
            storage.write(file, [str(done).encode()])
        finally:
            storage.close(file)
        storage.rename(f"{answer}.tmp", answer)
    storage.unlink(path)


def clear(spool: Spool) -> None:
    """At the start: what was asked of an earlier adapter and its answers. Raises OSError."""
    for name in spool.storage.scan(REQUESTS):
        spool.storage.unlink(f"{REQUESTS}/{name}")

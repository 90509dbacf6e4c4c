"""What is next to be delivered to one destination: a window on its directory, oldest first, so that a million files need no memory.

The window holds the oldest entries. When it runs low and there are more on disk, the directory is read again. Senders take turns: from each
the oldest that is due. An entry that is to be tried again is due later, and the others pass it by; should such entries fill the window, the
farthest are dropped from it and reading goes on behind them, round and round.

Pure: the clock is a parameter, and `names` is what the caller has read. All methods but `Reading.choose` belong to one event loop.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dicom_adapter.spool.entry import Entry

WINDOW = 8192
"""Entries in memory. Half as many more are there for senders who would else wait for another's backlog."""
_SHARES = 128  # this part of the window for each of those
_SENDERS = 1024  # more are not told apart
_ROUND = 30.0  # seconds between two rounds through a directory whose entries all wait to be tried again
ADOPTED = ""  # the sender of what was found on disk: nobody knows


@dataclass(slots=True, eq=False)
class Waiting:
    """An entry in the window. `alone`: it is not to share a request; `due`: not before, by the clock of the queue."""

    entry: Entry
    sender: str
    attempts: int = 0
    due: float = -math.inf
    alone: bool = False

    def __lt__(self, other: Waiting) -> bool:
        return self.entry.id < other.entry.id


@dataclass(slots=True)
class _Line:
    """One sender's: what is due in order of age, and what is not yet due in order of time."""

    ready: list[Waiting] = field(default_factory=list)
    later: list[tuple[float, int, Waiting]] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """One pass through the directory."""

    window: int
    after: int  # only what is newer than this id
    gone: set[int] = field(default_factory=set)  # taken out meanwhile
    left_out: bool = False  # something new did not fit into the window meanwhile

    def choose(self, names: Iterable[str]) -> tuple[list[Entry], bool]:
        """The oldest of them, and whether there are more. In a thread: it may be a million."""
        after = f"{self.after:016x}."  # behind every name with this id
        oldest = heapq.nsmallest(self.window + 1, (name for name in names if name > after))  # by name is by age, and ten times faster
        return [entry for name in oldest[: self.window] if (entry := Entry.parse(name))], len(oldest) > self.window


class Queue:
    """One destination's. It begins knowing nothing: `needs_reading` says so."""

    def __init__(self, *, now: Callable[[], float], window: int = WINDOW) -> None:
        self._now = now
        self._window = window
        self._lines: dict[str, _Line] = {}
        self._known: dict[int, Waiting] = {}
        self._taken: dict[int, Waiting] = {}
        self._beyond = True
        self._reading: Reading | None = None
        self._read_to = 0
        self._next_round = -math.inf
        self._left_out: set[str] = set()  # senders of whom there may be older ones on disk
        self._dropped: int | None = None  # the oldest that has been dropped from the window
        self._newest_first = False

    # -- what is in it -----------------------------------------------------------------------------

    @property
    def in_memory(self) -> int:
        """Entries in the window, those that are being delivered included."""
        return len(self._known) + len(self._taken)

    @property
    def due(self) -> int:
        """Entries that may be taken now."""
        return sum(len(line.ready) for line in self._lines.values())

    @property
    def oldest(self) -> float | None:
        """When the oldest came, those that are being delivered included: time.time()."""
        oldest = [min(ids) for ids in (self._known, self._taken) if ids]
        if self._dropped is not None:
            oldest.append(self._dropped)
        return min(oldest) / 1e6 if oldest else None

    @property
    def oldest_due(self) -> float | None:
        """When the oldest came that may be taken now: time.time()."""
        return min((line.ready[0].entry.seconds for line in self._lines.values() if line.ready), default=None)

    @property
    def needs_reading(self) -> bool:
        """Whether the window runs low and there is more on disk."""
        low = self.due < self._window // 4
        return self._beyond and self._reading is None and low and self._now() >= self._next_round

    def wait(self) -> float:
        """Seconds until something is due, or to be read: 0 when there is, infinite when there is nothing."""
        self._wake()
        if any(line.ready for line in self._lines.values()) or self.needs_reading:
            return 0.0
        times = [line.later[0][0] for line in self._lines.values() if line.later]
        if self._beyond and self._reading is None:
            times.append(self._next_round)
        return max(0.0, min(times, default=math.inf) - self._now())

    # -- in ----------------------------------------------------------------------------------------

    def add(self, entry: Entry, sender: str) -> None:
        """A new one, which is on disk."""
        if entry.id in self._known or entry.id in self._taken:
            return
        line = self._lines.get(sender)
        few = line is None or len(line.ready) + len(line.later) < self._window // _SHARES
        first = few and sender not in self._left_out and len(self._left_out) < _SENDERS
        if (not self._beyond and len(self._known) < self._window) or (first and len(self._known) < self._window * 3 // 2):
            self._put(Waiting(entry, sender))
            return
        self._beyond = True
        if len(self._left_out) < _SENDERS:
            self._left_out.add(sender)
        if self._reading is not None:
            self._reading.left_out = True

    def put_back(self, waiting: Waiting, *, due: float) -> None:
        """One that was taken, to be tried again at that time."""
        if self._taken.pop(waiting.entry.id, None) is not None:
            waiting.due = due
            self._put(waiting)

    def forget(self, entry: Entry) -> None:
        """It is not there any more."""
        self._taken.pop(entry.id, None)
        self._known.pop(entry.id, None)  # its line passes over it
        if self._reading is not None:
            self._reading.gone.add(entry.id)

    def hurry(self) -> None:
        """The destination works again: everything is due."""
        self._next_round = -math.inf
        for line in self._lines.values():
            for _, _, waiting in line.later:
                waiting.due = -math.inf
                heapq.heappush(line.ready, waiting)
            line.later.clear()

    def _put(self, waiting: Waiting) -> None:
        self._known[waiting.entry.id] = waiting
        line = self._lines.setdefault(waiting.sender, _Line())
        if waiting.due <= self._now():
            heapq.heappush(line.ready, waiting)
        else:
            heapq.heappush(line.later, (waiting.due, waiting.entry.id, waiting))

    # -- out ---------------------------------------------------------------------------------------

    def take(self, instances: int, size: int, *, trial: bool = False) -> list[Waiting]:
        """The next ones for one attempt: at least one if any is due, together not more than so many and so many bytes.

        With `trial` it is one. Every second trial is the newest of those tried least, so that a destination which only the oldest upset is
        soon found to work.
        """
        self._wake()
        if trial:
            instances = 1
            self._newest_first = not self._newest_first
            if not self._newest_first:
                return self._newest()
        for sender in list(self._lines):
            line = self._lines.pop(sender)
            if line.ready or line.later:
                self._lines[sender] = line  # to the end: the others' turn comes first
            if found := self._of(line, instances, size):
                return found
        return []

    def _of(self, line: _Line, instances: int, size: int) -> list[Waiting]:
        found: list[Waiting] = []
        while line.ready and len(found) < instances:
            waiting = line.ready[0]
            if found and (waiting.alone or size < waiting.entry.length):
                break
            heapq.heappop(line.ready)
            if self._takes(waiting):
                found.append(waiting)
                size -= waiting.entry.length
                if waiting.alone:
                    break
        return found

    def _newest(self) -> list[Waiting]:
        due = [(waiting.attempts, -waiting.entry.id, waiting, line) for line in self._lines.values() for waiting in line.ready]
        if not due:
            return []
        *_, waiting, line = min(due, key=lambda one: one[:2])
        line.ready.remove(waiting)
        heapq.heapify(line.ready)
        return [waiting] if self._takes(waiting) else []

    def _takes(self, waiting: Waiting) -> bool:
        """Whether it is still there."""
        if self._known.get(waiting.entry.id) is not waiting:
            return False
        self._taken[waiting.entry.id] = self._known.pop(waiting.entry.id)
        return True

    def _wake(self) -> None:
        now = self._now()
        for line in self._lines.values():
            while line.later and line.later[0][0] <= now:
                heapq.heappush(line.ready, heapq.heappop(line.later)[2])

    # -- the directory -----------------------------------------------------------------------------

    def begin_reading(self) -> Reading:
        """A pass, whose result `end_reading` takes. What happens meanwhile is taken into account."""
        later = sum(len(line.later) for line in self._lines.values())
        crowded = later > self._window // 2
        if crowded:
            self._drop_farthest(later)
        self._reading = Reading(self._window, self._read_to if crowded else 0)
        return self._reading

    def end_reading(self, found: list[Entry], more: bool) -> None:
        """The window is filled."""
        reading, self._reading = self._reading, None
        assert reading is not None  # noqa: S101 -- begin_reading comes first
        sender = next(iter(self._left_out)) if len(self._left_out) == 1 else ADOPTED
        for entry in found:
            if entry.id not in self._known and entry.id not in self._taken and entry.id not in reading.gone:
                self._put(Waiting(entry, sender))
        self._beyond = more or reading.left_out or reading.after > 0
        if not self._beyond:
            self._left_out.clear()
        self._read_to = found[-1].id if more else 0
        if reading.after and not more:
            self._next_round = self._now() + _ROUND
        if not reading.after:
            self._dropped = None

    def give_up_reading(self) -> None:
        """The directory could not be read; it is tried again in a while."""
        self._reading = None
        self._next_round = self._now() + 1.0

    def _drop_farthest(self, later: int) -> None:
        for line in self._lines.values():
            line.later.sort()
            keep = len(line.later) * (self._window // 4) // later
            for _, _, waiting in line.later[keep:]:
                if self._known.get(waiting.entry.id) is waiting:
                    del self._known[waiting.entry.id]
                    self._dropped = min(waiting.entry.id, self._dropped or waiting.entry.id)
            del line.later[keep:]

"""The spool: a directory that is the queue. What is acknowledged from it outlasts `kill -9` and power cuts.

    lock                            held by the one process that works on it
    incoming/<id>                   being written; never acknowledged, dropped at the start
    <destination>/ready/<name>      acknowledged, to be delivered; <name> is <id>-<length>-<crc32c>.dcm (entry.py)
    <destination>/failed/<name>     refused for good, or damaged; beside it <name>.json says why
    requests/                       what `dicom-adapter spool` asks of a running adapter (requests.py)

An instance is written to `incoming`, the file is synced, it gets its name in `ready` of each of its destinations, these directories are
synced, and only then it is acknowledged. No name holds a peer's text. For several destinations it is one file with as many names: they are
made in `incoming`, before the sync, for the directories do not keep how many they are. A file system that has missed one frees the file
while there is still a name, and with it what waits for the last destination.

What fails before that is refused. An error of the file system at writing spoils that instance alone; a failed fsync spoils the spool until
the next start, because a kernel that could not write a page may have forgotten that it is dirty.

The methods block and are called in threads, several at a time; `Spool` itself keeps count under a lock.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import google_crc32c

from dicom_adapter import messages
from dicom_adapter.spool import errors
from dicom_adapter.spool.commit import DirectorySync
from dicom_adapter.spool.counts import Counts, Tally
from dicom_adapter.spool.entry import FAILED, INCOMING, READY, REQUESTS, Entry, directory, is_destination, measure
from dicom_adapter.spool.errors import SpoolError, SpoolFaulty, SpoolFull
from dicom_adapter.spool.storage import Storage

_TRIAL = 1 << 20
_RESERVE = 1 << 30


@dataclass(frozen=True, slots=True)
class Bounds:
    """`spec.spool`. Without `reserve_bytes` a tenth of the volume stays free, at most 1 GiB."""

    max_bytes: int | None = None
    reserve_bytes: int | None = None


@dataclass(slots=True)
class Draft:
    """An instance that is being written."""

    id: int
    file: int
    length: int = 0
    crc: int = 0
    reserved: int = 0
    names: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Below `incoming`."""
        return f"{INCOMING}/{self.id:016x}"


@dataclass(slots=True)
class Trouble:
    """The last error at writing, until an instance is taken again; `final` until the next start."""

    error: SpoolError | None = None
    final: SpoolFaulty | None = None


class Spool:
    """One spool on one file system. Call `open` first, in a thread like everything else."""

    def __init__(self, storage: Storage, destinations: Sequence[str], bounds: Bounds, *, now: Callable[[], int] = time.time_ns) -> None:
        assert all(is_destination(name) for name in destinations)  # noqa: S101 -- the configuration has been checked
        self.storage = storage
        self.destinations = tuple(destinations)
        self.counts: dict[str, Counts] = {name: Counts() for name in destinations}
        self.trouble = Trouble()
        self._bounds = bounds
        self._now = now
        self._last_id = 0
        self._used = 0
        self._reserved = bounds.reserve_bytes or 0
        self._most = 0
        self._lock = threading.Lock()
        self._syncs: dict[str, DirectorySync] = {}

    # -- start -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Makes the directories, drops what was never acknowledged and counts the rest, in constant memory. Raises OSError."""
        storage = self.storage
        for path in (INCOMING, REQUESTS):
            storage.make_directory(path)
        for name in self.destinations:
            for state in (READY, FAILED):
                storage.make_directory(directory(name, state))
                storage.sync_directory(directory(name, state))
        for name in storage.scan(INCOMING):
            storage.unlink(f"{INCOMING}/{name}")
        for name in storage.scan(""):  # also those that the configuration does not name any more
            if is_destination(name) and name not in self.counts:
                self.counts[name] = Counts()
        for name, counts in self.counts.items():
            counts.ready = self._count(directory(name, READY))
            counts.failed = self._count(directory(name, FAILED))
        for name in [name for name, counts in self.counts.items() if name not in self.destinations and counts.none]:
            del self.counts[name]
        whole = storage.whole()
        self._most = whole if self._bounds.max_bytes is None else min(whole, self._bounds.max_bytes)
        if self._bounds.reserve_bytes is None:
            self._reserved = min(_RESERVE, whole // 10)
        self._used = sum(counts.ready.bytes for counts in self.counts.values())

    def _count(self, path: str) -> Tally:
        tally = Tally()
        for name in self.storage.scan(path):
            if (found := measure(name)) is not None:
                number, length = found
                tally.add(length)
                self._last_id = max(self._last_id, number)
            elif path.endswith(f"/{READY}"):
                self.storage.rename(f"{path}/{name}", f"{path.removesuffix(READY)}{FAILED}/{name}")  # not ours: it is kept, not sent
        return tally

    # -- writing -----------------------------------------------------------------------------------

    def begin(self, pieces: Sequence[bytes]) -> Draft:
        """A new instance with its first bytes. Raises SpoolError."""
        self._check()
        size = sum(map(len, pieces))
        self._reserve(size)
        try:
            draft = self._create()
        except OSError as error:
            self._release(size)
            raise self._failure(error) from error
        draft.reserved = size
        self._append(draft, pieces, size)
        return draft

    def add(self, draft: Draft, pieces: Sequence[bytes]) -> None:
        """More of it. Raises SpoolError; the draft is gone then."""
        size = sum(map(len, pieces))
        try:
            self._reserve(size)
        except SpoolError:
            self.abandon(draft)
            raise
        draft.reserved += size
        self._append(draft, pieces, size)

    def commit(self, draft: Draft, destinations: Sequence[str]) -> Entry:
        """Returns when it is safe in each destination. Raises SpoolError; the sender must keep it then."""
        if self.trouble.final is not None:
            self.abandon(draft)
            raise self.trouble.final
        try:
            for number in range(1, len(destinations)):
                self.storage.link(draft.path, f"{draft.path}.{number}")
                draft.names.append(f"{draft.path}.{number}")
        except OSError as error:
            self.abandon(draft)
            raise self._failure(error) from error
        try:
            self.storage.sync_file(draft.file, names=len(destinations) > 1)
        except OSError as error:
            self.abandon(draft)
            raise self._failure(error, synced=not errors.is_full(error)) from error
        entry = Entry(draft.id, draft.length, draft.crc)
        try:
            self._close(draft)
            self._place(draft, entry, destinations)
        except OSError as error:
            self.abandon(draft)
            raise self._failure(error) from error
        try:
            for name in destinations:
                self._sync(directory(name, READY)).sync()
        except OSError as error:  # it stays in `ready`: a sender that sends it again does no harm
            self._placed(draft, entry, destinations)
            raise self._failure(error, synced=True) from error
        if self.trouble.final is not None:  # failed meanwhile: nothing is acknowledged any more
            self._placed(draft, entry, destinations)
            raise self.trouble.final
        self._placed(draft, entry, destinations)
        self.trouble.error = None
        return entry

    def abandon(self, draft: Draft) -> None:
        """The sender has broken off, or the disk has. What cannot be removed now is dropped at the next start."""
        self._release(draft.reserved)
        draft.reserved = 0
        with contextlib.suppress(OSError):
            self._close(draft)
        for name in draft.names:
            with contextlib.suppress(OSError):
                self.storage.unlink(name)

    def _create(self) -> Draft:
        with self._lock:
            self._last_id = number = max(self._last_id + 1, self._now() // 1000)
        draft = Draft(number, -1)
        draft.file = self.storage.create(draft.path)
        draft.names.append(draft.path)
        return draft

    def _append(self, draft: Draft, pieces: Sequence[bytes], size: int) -> None:
        try:
            self.storage.write(draft.file, pieces)
        except OSError as error:
            self.abandon(draft)
            raise self._failure(error) from error
        for piece in pieces:
            draft.crc = google_crc32c.extend(draft.crc, piece)
        draft.length += size

    def _close(self, draft: Draft) -> None:
        if draft.file >= 0:
            file, draft.file = draft.file, -1
            self.storage.close(file)

    def _place(self, draft: Draft, entry: Entry, destinations: Sequence[str]) -> None:
        placed: list[str] = []
        try:
            for name, destination in zip(tuple(draft.names), destinations, strict=True):
                path = f"{directory(destination, READY)}/{entry.name}"
                self.storage.rename(name, path)
                draft.names.remove(name)
                placed.append(path)
        except OSError:
            for path in placed:
                with contextlib.suppress(OSError):  # delivered already, or the disk is gone: to have it delivered does no harm
                    self.storage.unlink(path)
            raise

    def _placed(self, draft: Draft, entry: Entry, destinations: Sequence[str]) -> None:
        with self._lock:
            self._used += entry.length * len(destinations) - draft.reserved
            draft.reserved = 0
            for name in destinations:
                self.counts[name].ready.add(entry.length)

    def _sync(self, path: str) -> DirectorySync:
        with self._lock:
            found = self._syncs.get(path)
            if found is None:
                found = self._syncs[path] = DirectorySync(self.storage, path)
            return found

    # -- room and trouble --------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes that wait, or are being written; counted for each destination."""
        return self._used

    @property
    def roomy(self) -> bool:
        """Whether most of the room is left."""
        return self._used < self._most // 4

    def _check(self) -> None:
        if self.trouble.final is not None:
            raise self.trouble.final

    def _reserve(self, size: int) -> None:
        """Raises SpoolFull before a byte is written, and SpoolFaulty when the file system does not even tell."""
        most, reserve = self._bounds.max_bytes, self._reserved
        try:
            free = self.storage.free()
        except OSError as error:
            raise self._failure(error) from error
        with self._lock:
            if most is not None and self._used + size > most:
                raise self._full(messages.spool_over_maximum(self._used, most))
            if free - size < reserve:
                raise self._full(messages.spool_at_reserve(free, reserve))
            self._used += size

    def look_again(self) -> None:
        """Whether a trouble that is not final is over, for when nobody sends."""
        most = self._bounds.max_bytes
        size = _TRIAL if most is None else min(_TRIAL, most // 10)
        try:
            self._reserve(size)
            self._release(size)
            draft = self._create()
            self.abandon(draft)
        except (OSError, SpoolError):
            return
        if self.trouble.final is None:
            self.trouble.error = None

    def _release(self, size: int) -> None:
        with self._lock:
            self._used -= size

    def _full(self, text: str) -> SpoolFull:
        full = SpoolFull(text)
        self.trouble.error = full
        return full

    def _failure(self, error: OSError, *, synced: bool = False) -> SpoolError:
        """`synced`: it was an fsync that failed, and no later one can be believed."""
        text = messages.spool_write_failed(errors.why(error))
        if errors.is_full(error) and not synced:
            return self._full(text)
        faulty = SpoolFaulty(text, errors.code(error), final=synced)
        self.trouble.error = faulty
        if synced and self.trouble.final is None:
            self.trouble.final = faulty
        return faulty

    # -- what has been delivered, or never will be -------------------------------------------------

    def remove(self, destination: str, entry: Entry, state: str = READY) -> bool:
        """The destination has it, or nobody wants it. Tells whether it was there. No sync: a repeat does no harm. Raises OSError."""
        there = True
        try:
            self.storage.unlink(f"{directory(destination, state)}/{entry.name}")
        except FileNotFoundError:
            there = False
        if state == FAILED:
            self._forget_story(destination, entry)
        if there:
            self._tally(destination, entry, state, -1)
        return there

    def fail(self, destination: str, entry: Entry, story: bytes) -> None:
        """Moves it to `failed`, with the reason beside it. Raises OSError."""
        failed = directory(destination, FAILED)
        self._forget_story(destination, entry)
        file = self.storage.create(f"{failed}/{entry.name}.json")
        try:
            self.storage.write(file, [story])
        finally:
            self.storage.close(file)
        self.storage.rename(f"{directory(destination, READY)}/{entry.name}", f"{failed}/{entry.name}")
        self.storage.sync_directory(failed)
        self._tally(destination, entry, READY, -1)
        self._tally(destination, entry, FAILED, 1)

    def retry(self, destination: str, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Back from `failed` to `ready`, with one sync: gives those that were there, safe or not. Raises OSError after them."""
        failed, ready = directory(destination, FAILED), directory(destination, READY)
        back: list[Entry] = []
        error: OSError | None = None
        for entry in entries:
            try:
                self.storage.rename(f"{failed}/{entry.name}", f"{ready}/{entry.name}")
            except FileNotFoundError:
                continue
            except OSError as why:
                error = why
                break
            back.append(entry)
        if back:
            try:
                self.storage.sync_directory(ready)
            except OSError as why:
                error = why
        for entry in back:
            self._tally(destination, entry, FAILED, -1)
            self._tally(destination, entry, READY, 1)
            yield entry
            self._forget_story(destination, entry)
        if error is not None:
            raise error

    def _forget_story(self, destination: str, entry: Entry) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.storage.unlink(f"{directory(destination, FAILED)}/{entry.name}.json")

    def _tally(self, destination: str, entry: Entry, state: str, by: int) -> None:
        with self._lock:
            counts = self.counts[destination]
            (counts.ready if state == READY else counts.failed).add(entry.length, by)
            if state == READY:
                self._used += by * entry.length

"""A file system in memory that forgets: every state that a power cut may leave behind can be made, and mounted again.

The model is what POSIX promises and no more. What is written to a file is safe after its sync; before it, it may be missing, be zeros, or
break off within. A name (made, moved, linked or taken away) is safe after a sync of its directory; before it each change may or may not
have come to disk, in any order, but a rename is seen whole or not at all. How many names a file has is kept with the file, and safe only
after a sync that asks for it: of a file that has more than it knows of nothing is left when as many are taken away.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SECTOR = 512


@dataclass(slots=True)
class Inode:
    """A file: what has been written, and how much of it is safe; how many names it has, and how many of them it is sure to know of."""

    data: bytearray = field(default_factory=bytearray)
    safe: int = 0
    names: int = 1
    safe_names: int = 1


@dataclass(frozen=True, slots=True)
class Change:
    """One change of names that is not yet safe: what disappears and what appears, together."""

    removed: tuple[str, ...]
    added: tuple[tuple[str, int], ...]


def parent(path: str) -> str:
    return path.rpartition("/")[0]


class MemoryStorage:
    """`Storage` in memory."""

    def __init__(self) -> None:
        self.inodes: dict[int, Inode] = {}
        self.names: dict[str, int] = {}
        self.directories: set[str] = {""}
        self.safe_names: dict[str, int] = {}
        self.pending: list[Change] = []
        self.files: dict[int, int] = {}
        self.space = 1 << 40
        self.volume = 1 << 40
        self.steps = 0
        self._numbers = itertools.count(1)

    def step(self, what: str, path: str) -> None:
        """Before each change."""
        self.steps += 1

    # -- Storage -----------------------------------------------------------------------------------

    def create(self, path: str) -> int:
        self.step("create", path)
        if path in self.names:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        if parent(path) not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        number, file = next(self._numbers), next(self._numbers)
        self.inodes[number] = Inode()
        self.files[file] = number
        self._change(Change((), ((path, number),)))
        return file

    def write(self, file: int, pieces: Sequence[bytes]) -> None:
        self.step("write", "")
        data = b"".join(pieces)
        self.inodes[self.files[file]].data += data
        self.space -= len(data)

    def sync_file(self, file: int, *, names: bool = False) -> None:
        self.step("sync_file", "")
        inode = self.inodes[self.files[file]]
        inode.safe = len(inode.data)
        if names:
            inode.safe_names = inode.names

    def close(self, file: int) -> None:
        self.step("close", "")
        del self.files[file]

    def rename(self, old: str, new: str) -> None:
        self.step("rename", old)
        number = self._number(old)
        self._change(Change((old,), ((new, number),)))

    def link(self, old: str, new: str) -> None:
        self.step("link", old)
        number = self._number(old)
        if new in self.names:
            raise FileExistsError(errno.EEXIST, "File exists", new)
        self.inodes[number].names += 1
        self._change(Change((), ((new, number),)))

    def unlink(self, path: str) -> None:
        self.step("unlink", path)
        inode = self.inodes[self._number(path)]
        inode.names -= 1
        if inode.names <= 0:
            inode.data.clear()
        self._change(Change((path,), ()))

    def sync_directory(self, path: str) -> None:
        self.step("sync_directory", path)
        rest: list[Change] = []
        for change in self.pending:
            touches = {parent(name) for name in (*change.removed, *(added for added, _ in change.added))}
            if path in touches:
                _apply(self.safe_names, change)
                rest = [one for one in rest if not {name for name, _ in one.added} & set(change.removed)]  # gone for good
            else:
                rest.append(change)
        self.pending = rest

    def release(self) -> None: ...

    def make_directory(self, path: str) -> None:
        while path:
            self.directories.add(path)
            path = parent(path)

    def scan(self, path: str) -> Iterator[str]:
        inside = [name for name in self.names if parent(name) == path]
        below = [name for name in self.directories if name and parent(name) == path]
        yield from [name.rpartition("/")[2] for name in (*inside, *below)]

    def size(self, path: str) -> int:
        return len(self.inodes[self._number(path)].data)

    def read(self, path: str, offset: int, length: int) -> bytes:
        return bytes(self.inodes[self._number(path)].data[offset : offset + length])

    def free(self) -> int:
        return self.space

    def whole(self) -> int:
        return self.volume

    def _number(self, path: str) -> int:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self.names[path]

    def _change(self, change: Change) -> None:
        _apply(self.names, change)
        self.pending.append(change)

    # -- a power cut -------------------------------------------------------------------------------

    def after_power_cut(self) -> Iterator[MemoryStorage]:
        """Every state that one may leave now: each choice of the changes of names, with each fate of what was not synced."""
        for chosen in _subsets(self.pending):
            names = dict(self.safe_names)
            for change in chosen:
                _apply(names, change)
            unsafe = sorted({number for number in names.values() if self.inodes[number].safe < len(self.inodes[number].data)})
            for fate in FATES if unsafe else ("whole",):
                after = MemoryStorage()
                after.names, after.safe_names = dict(names), dict(names)
                after.directories = set(self.directories)
                after.inodes = {number: _after(self.inodes[number], fate) for number in set(names.values())}
                after._numbers = itertools.count(1 << 20)
                yield after


FATES = ("whole", "dropped", "zeros", "torn", "torn and zeros")
_ALL = 6  # so many pending changes are chosen from in every way; of more, each prefix and each single one left out


def _subsets(changes: list[Change]) -> Iterator[list[Change]]:
    if len(changes) <= _ALL:
        for bits in range(1 << len(changes)):
            yield [change for number, change in enumerate(changes) if bits >> number & 1]
        return
    for length in range(len(changes) + 1):
        yield changes[:length]
    for left_out in range(len(changes)):
        yield changes[:left_out] + changes[left_out + 1 :]


def _apply(names: dict[str, int], change: Change) -> None:
    for name in change.removed:
        names.pop(name, None)
    names.update(change.added)


def _after(inode: Inode, fate: str) -> Inode:
    safe, rest = bytes(inode.data[: inode.safe]), bytes(inode.data[inode.safe :])
    half = len(rest) // 2 // SECTOR * SECTOR
    kept = {
        "whole": rest,
        "dropped": b"",
        "zeros": bytes(len(rest)),
        "torn": rest[:half],
        "torn and zeros": rest[:half] + bytes(len(rest) - half),
    }[fate]
    data = bytearray(safe + kept)
    return Inode(data, len(data), inode.safe_names, inode.safe_names)

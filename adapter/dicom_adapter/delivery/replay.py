"""What has come of an instance, kept so that it can be sent again byte for byte: in memory up to 4 MiB, beyond that in a temporary file.
When all instances together have 64 MiB in memory, only the small ones stay there.

The file has no name: whatever ends the process, nothing of an instance stays behind. All files together are bounded, and a part of the file
system is left to others.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from io import BytesIO
from typing import BinaryIO, cast

MEMORY_BYTES = 4 << 20
MEMORY_IN_ALL = 64 << 20
SMALL_BYTES = 256 << 10
MAXIMUM_BYTES = 16 << 30
_STEP = 64 << 20  # room is reserved ahead in steps of this
_LEFT_FREE = 1 << 30
_WRITE_BYTES = 1 << 16  # smaller pieces are joined to about this size, larger ones go as they are
_BATCH = 1 << 20  # bytes for one visit to the thread that writes


class NoRoom(Exception):
    """There is no room for a copy."""


class Room:
    """The space for all copies: memory, and the file system for their temporary files."""

    def __init__(self, directory: str, *, maximum: int = MAXIMUM_BYTES, memory: int = MEMORY_IN_ALL) -> None:
        self.directory = directory
        self._maximum = maximum
        self._memory = memory
        self.reserved = 0
        self.held = 0

    @property
    def crowded(self) -> bool:
        """Whether there is more in memory than should be."""
        return self.held > self._memory

    def reserve(self, size: int) -> None:
        """Raises NoRoom."""
        system = os.statvfs(self.directory)
        free, whole = system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize
        if self.reserved + size > self._maximum or free - size < min(_LEFT_FREE, whole // 10):
            raise NoRoom
        self.reserved += size

    def release(self, size: int) -> None:
        """Gives it back."""
        self.reserved -= size


class Copy:
    """One instance. Filled by one writer; read, from the beginning, as often as it has to be sent."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pieces: list[bytes] = []
        self._joined = bytearray()
        self._held = 0
        self._file: BinaryIO | None = None
        self._reserved = 0
        self._batch: list[bytes] = []
        self._batched = 0
        self._writing: asyncio.Task[None] | None = None
        self._holders = 1
        self.size = 0
        self.lost = False  # given up: what was sent once cannot be sent again

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *_: object) -> None:
        self._holders -= 1
        if not self._holders:
            self.discard()

    def hold(self) -> Copy:
        """For a `with` block that may outlast the first one."""
        self._holders += 1
        return self

    def open(self) -> BinaryIO:
        """A whole copy as a file, for a thread that looks into it."""
        if self._file is None:
            return BytesIO(b"".join((*self._pieces, self._joined)))
        file = os.fdopen(os.dup(self._file.fileno()), "rb")
        file.seek(0)  # nothing is written any more, and `read` keeps a position of its own
        return file

    @property
    def too_large(self) -> bool:
        """Whether it should not stay in memory."""
        return self.size > MEMORY_BYTES or (self.size > SMALL_BYTES and self._room.crowded)

    def take(self, piece: bytes) -> None:
        """Adds a piece in memory. Small ones are joined: a million single bytes must not be a million objects."""
        self.size += len(piece)
        self._held += len(piece)
        self._room.held += len(piece)
        if len(piece) < _WRITE_BYTES:
            self._joined += piece
            if len(self._joined) < _WRITE_BYTES:
                return
        if self._joined:
            self._pieces.append(bytes(self._joined))
            self._joined.clear()
        if len(piece) >= _WRITE_BYTES:
            self._pieces.append(piece)

    async def spill(self) -> None:
        """Moves what is in memory to a file. Raises NoRoom."""
        if self._joined:
            self._pieces.append(bytes(self._joined))
            self._joined.clear()
        pieces, self._pieces = self._pieces, []
        try:
            self._reserve(self.size)
            self._file = file = await asyncio.to_thread(_unnamed, self._room.directory)
            await asyncio.to_thread(_write, file, pieces)
        except OSError as error:
            self.discard()
            raise NoRoom from error
        finally:
            self._let_go()

    async def fill(self, pieces: AsyncIterator[bytes]) -> None:
        """All of it, wherever it fits. Raises NoRoom."""
        async for piece in pieces:
            if self._file is not None:
                await self.add(piece)
            else:
                self.take(piece)
                if self.too_large:
                    await self.spill()
        await self.flush()
        if self.lost:
            raise NoRoom

    async def add(self, piece: bytes) -> None:
        """Adds a piece to the file. Without room, or when the disk fails, the copy is lost and the instance goes on without."""
        self.size += len(piece)
        if self._file is None:
            return
        self._batch.append(piece)
        self._batched += len(piece)
        if self._batched >= _BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Writes what `add` has gathered. One write at a time, and each to its end: whoever gave it may be cancelled meanwhile."""
        while self._writing is not None:
            await asyncio.shield(self._writing)
        if self._file is not None and self._batch:
            batch, self._batch, self._batched = self._batch, [], 0
            self._writing = asyncio.create_task(self._write(self._file, batch))
            await asyncio.shield(self._writing)

    async def _write(self, file: BinaryIO, batch: list[bytes]) -> None:
        try:
            self._reserve(self.size)
            await asyncio.to_thread(_write, file, batch)
        except (NoRoom, OSError, ValueError):  # ValueError: discarded meanwhile
            self.discard()
            self.lost = True
        finally:
            self._writing = None

    async def read(self) -> AsyncIterator[bytes]:
        """The whole of it, from its beginning."""
        if self._file is None:
            for piece in self._pieces:
                yield piece
            if self._joined:
                yield bytes(self._joined)
            return
        position = 0
        while piece := await asyncio.to_thread(os.pread, self._file.fileno(), _BATCH, position):
            position += len(piece)
            yield piece

    def discard(self) -> None:
        """Lets go of memory, file and room."""
        self._pieces, self._batch = [], []
        self._joined.clear()
        self._let_go()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._room.release(self._reserved)
        self._reserved = 0

    def _let_go(self) -> None:
        self._room.held -= self._held
        self._held = 0

    def _reserve(self, size: int) -> None:
        while self._reserved < size:
            self._room.reserve(_STEP)
            self._reserved += _STEP


def _unnamed(directory: str) -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile(dir=directory, buffering=0))


def _write(file: BinaryIO, pieces: list[bytes]) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[file.write(rest) :]

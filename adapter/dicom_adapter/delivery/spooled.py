"""A spooled instance as content to be sent: proven whole by the length and checksum in its name before a byte of it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader, BytesIO, RawIOBase
from typing import BinaryIO, cast

import google_crc32c

from dicom_adapter import messages, part10
from dicom_adapter.delivery.target import Content, Whole
from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.storage import Storage

KEPT = 1 << 20
"""Instances up to this size are read once and kept for the attempt, if memory allows; larger ones are read again while they are sent."""
_STEP = 1 << 20
_HEAD = 4096


class Damaged(Exception):
    """The file is not what was acknowledged; says how."""


class Spooled:
    """A file of the spool, or its bytes when they have been kept."""

    def __init__(self, storage: Storage, path: str, size: int, data: bytes | None) -> None:
        self._storage = storage
        self._path = path
        self._data = data
        self.size = size
        self.lost = False

    async def read(self) -> AsyncIterator[bytes]:
        """All of it."""
        if self._data is not None:
            yield self._data
            return
        position = 0
        while position < self.size:
            piece = await asyncio.to_thread(self._storage.read, self._path, position, min(_STEP, self.size - position))
            if not piece:
                raise OSError("the file has become shorter")
            position += len(piece)
            yield piece

    def open(self) -> BinaryIO:
        """It as a file."""
        if self._data is not None:
            return BytesIO(self._data)
        return cast(BinaryIO, BufferedReader(_Raw(self._storage, self._path, self.size), _STEP))

    def hold(self) -> AbstractContextManager[Content]:
        """Nothing lets go of it: the file stays until there is a verdict."""
        return nullcontext(self)


class _Raw(RawIOBase):
    """A file that is read through the storage."""

    name = "spooled"  # pydicom asks for one

    def __init__(self, storage: Storage, path: str, size: int) -> None:
        self._storage, self._path, self._size, self._position = storage, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._storage.read(self._path, self._position, len(buffer))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


def load(storage: Storage, path: str, entry: Entry, *, keep: bool) -> Whole:
    """Reads and proves it, in a thread. Raises Damaged, FileNotFoundError when it is gone, OSError."""
    if storage.size(path) != entry.length:
        raise Damaged(messages.damaged_length(storage.size(path), entry.length))
    position, crc, head, data = 0, 0, b"", None
    while position < entry.length:
        piece = storage.read(path, position, min(_STEP, entry.length - position))
        if not piece:
            raise Damaged(messages.damaged_length(position, entry.length))
        crc = google_crc32c.extend(crc, piece)
        head = head or piece[:_HEAD]
        data = piece if keep and len(piece) == entry.length else None
        position += len(piece)
    if crc != entry.crc:
        raise Damaged(messages.DAMAGED_CHECKSUM)
    meta = part10.file_meta(head)
    if meta is None:
        raise Damaged(messages.DAMAGED_HEAD)
    return Whole(meta, Spooled(storage, path, entry.length, data))

"""Instances on their way into one STOW request (PS3.18 10.5.1): one part of multipart/related each, whole or still arriving."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from dicom_adapter.dicomweb.multipart import Envelope

_LARGE: Final = 1 << 16
"""Of what is there as a whole, pieces below this go out together, others as they are: no system call for a few bytes, no copy of many."""
_PACE: Final = 0.01
"""By so much of its length a time limit may be short."""


@dataclass(frozen=True, slots=True)
class Part:
    """One Part 10 stream, and its length when it is known."""

    pieces: AsyncIterator[bytes]
    length: int | None


class Upload:
    """The body of one request: `finished` once all of it has been taken from us to be sent, `interruption` is what broke it off."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._envelope = envelope = Envelope()
        self.content_type = envelope.content_type
        lengths = [part.length for part in parts]
        known = [length for length in lengths if length is not None]
        self.length = envelope.length(known) if len(known) == len(lengths) else None
        self.finished = False
        self.interruption: BaseException | None = None
        self._limit: asyncio.Timeout | None = None
        self._seconds = 0.0

    def paced(self, limit: asyncio.Timeout, seconds: float) -> Upload:
        """The same, with a time limit that begins anew when a piece has been taken: it is for a store that takes nothing."""
        self._limit, self._seconds = limit, seconds
        return self

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body. An interruption of an instance breaks the request off: neither tail nor last chunk are ever sent."""
        try:
            async for piece in self._pieces() if self.length is None else _joined(self._pieces()):
                yield piece
                self._extend()
        except Exception as error:
            self.interruption = error
            raise
        self.finished = True

    def _extend(self) -> None:
        if self._limit is None:
            return
        until = asyncio.get_running_loop().time() + self._seconds
        if until - (self._limit.when() or 0.0) > _PACE * self._seconds:  # a timer for each piece costs more than the piece
            with contextlib.suppress(RuntimeError):  # the request is already over
                self._limit.reschedule(until)

    async def _pieces(self) -> AsyncIterator[bytes]:
        for number, part in enumerate(self._parts):
            yield self._envelope.head if number == 0 else self._envelope.between
            async for piece in part.pieces:
                yield piece
        yield self._envelope.tail


async def _joined(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for piece in pieces:
        if len(piece) < _LARGE:
            held += piece
            if len(held) < _LARGE:
                continue
        if held:
            yield bytes(held)
            held.clear()
        if len(piece) >= _LARGE:
            yield piece
    if held:
        yield bytes(held)


class Question(Upload):
    """A small body that stores nothing, as it is."""

    def __init__(self, content_type: str, content: bytes) -> None:
        self._content = content
        self.content_type = content_type
        self.length = len(content)
        self.finished = False
        self.interruption = None

    async def body(self) -> AsyncIterator[bytes]:
        """The content."""
        yield self._content
        self.finished = True

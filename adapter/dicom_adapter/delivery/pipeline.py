"""AfterStore: the sender's answer waits for the store's verdict.

Up to 4 MiB an instance is received whole, then posted with a Content-Length: no half requests, and a slow sender holds no connection to
the store. A larger one streams into the request as it comes; if the sender breaks off, so does the request, before its closing boundary
and last chunk, so that nothing half sent can be completed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass

from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.delivery import verdict
from dicom_adapter.delivery.verdict import Verdict
from dicom_adapter.dicomweb.client import Answer, DicomwebClient, Upload
from dicom_adapter.dicomweb.errors import StaleConnection, StoreUnreachable
from dicom_adapter.part10 import FileMeta

WHOLE_BYTES = 4 << 20
_WRITE_BYTES = 1 << 16  # smaller pieces are joined to about this size, larger ones go as they are


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that is arriving: what its file meta information says, and its data set's bytes."""

    meta: FileMeta
    body: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Delivered:
    """The verdict, after how many attempts and seconds (counted from the last fragment)."""

    verdict: Verdict
    attempts: int
    seconds: float


class EmptyDataSet(Exception):
    """A C-STORE without a single byte of data set."""


class Pipeline:
    """From an arriving instance to the store's verdict. Whatever interrupts the instance's body is raised to the caller."""

    def __init__(self, client: DicomwebClient, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def deliver(self, instance: Instance) -> Delivered:
        """Receives and posts one instance."""
        header = instance.meta.encode()
        received = await _receive(header, instance.body)
        if received.size == len(header):
            raise EmptyDataSet
        started = time.monotonic()
        deadline = asyncio.timeout(self._timeout)
        uploads: list[Upload] = []
        if received.whole:
            answering = self._post_whole(received, uploads)
        else:
            uploads.append(Upload(_paced(received.pieces, instance.body, deadline, self._timeout), None))
            answering = self._client.store(uploads[0], fresh=True)
        result = await self._judged(answering, deadline, uploads, instance.meta.sop_instance_uid)
        return Delivered(result, len(uploads), time.monotonic() - started)

    async def _post_whole(self, received: _Received, uploads: list[Upload]) -> Answer:
        """One request, and a second one where the first met a connection that the server was closing: a resend is byte-exact."""
        uploads.append(Upload(_each(received.pieces), received.size))
        try:
            return await self._client.store(uploads[-1])
        except StaleConnection:
            uploads.append(Upload(_each(received.pieces), received.size))
            return await self._client.store(uploads[-1], fresh=True)

    async def _judged(
        self, answering: Coroutine[None, None, Answer], deadline: asyncio.Timeout, uploads: list[Upload], uid: str
    ) -> Verdict:
        """The verdict, whatever comes of the request."""
        try:
            async with deadline:
                answer = await answering
        except TimeoutError:
            return verdict.too_late(self._timeout, sent=uploads[-1].finished)
        except StoreUnreachable as error:
            return verdict.unreachable(error, sent=any(upload.finished for upload in uploads))
        except (Missing, Unusable) as error:
            return verdict.no_credentials(f"{error.mounted.what} '{error.mounted.name}' is not usable")
        except CredentialsUnavailable as error:
            return verdict.no_credentials(error.text)
        return verdict.judge(answer, uid)


@dataclass(frozen=True, slots=True)
class _Received:
    """The first pieces of a Part 10 stream, their bytes, and whether they are all of it."""

    pieces: list[bytes]
    size: int
    whole: bool


async def _receive(header: bytes, body: AsyncIterator[bytes]) -> _Received:
    """Takes pieces until there are more than WHOLE_BYTES. Small ones are joined: a million single bytes must not be a million objects."""
    pieces: list[bytes] = []
    joined = bytearray(header)
    size, whole = len(header), True
    async for piece in body:
        size += len(piece)
        if len(piece) < _WRITE_BYTES:
            joined += piece
        if joined and (len(piece) >= _WRITE_BYTES or len(joined) >= _WRITE_BYTES):
            pieces.append(bytes(joined))
            joined.clear()
        if len(piece) >= _WRITE_BYTES:
            pieces.append(piece)
        if size > WHOLE_BYTES:
            whole = False
            break
    if joined:
        pieces.append(bytes(joined))
    return _Received(pieces, size, whole)


async def _each(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """The pieces as they are."""
    for piece in pieces:
        yield piece


async def _paced(pieces: list[bytes], body: AsyncIterator[bytes], deadline: asyncio.Timeout, seconds: float) -> AsyncIterator[bytes]:
    """The pieces received so far, then the rest as it comes.

    The deadline runs while the store takes a piece and rests while the sender is slow (the engine watches the sender); after the last
    fragment it runs for the store's answer.
    """
    loop = asyncio.get_running_loop()

    def until(when: float | None) -> None:
        with contextlib.suppress(RuntimeError):  # the request is already over
            deadline.reschedule(when)

    pieces.reverse()
    while pieces:
        yield pieces.pop()  # let go of each at once
        until(loop.time() + seconds)
    while True:
        until(None)
        try:
            piece = await anext(body)
        except StopAsyncIteration:
            until(loop.time() + seconds)
            return
        until(loop.time() + seconds)
        yield piece

"""AfterStore: the sender's answer waits for the store's verdict.

Up to 4 MiB an instance is received whole, then posted with a Content-Length: no half requests, and a slow sender holds no connection to
the store. A larger one streams into the request as it comes, and into a temporary file for a resend; if the sender breaks off, so does the
request, before its closing boundary and last chunk, so that nothing half sent can be completed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from dicom_adapter import messages
from dicom_adapter.delivery.conflict import Conflicts, is_conflict
from dicom_adapter.delivery.destination import Destination, Story
from dicom_adapter.delivery.replay import Copy, NoRoom, Room
from dicom_adapter.delivery.verdict import Outcome, Verdict, too_late
from dicom_adapter.dicomweb.upload import Part, Upload
from dicom_adapter.part10 import FileMeta


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that is arriving: what its file meta information says, its data set's bytes, and the AE title of who sends it."""

    meta: FileMeta
    body: AsyncIterator[bytes]
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The verdict, after how many attempts and seconds (counted from the last fragment), and what came of it at each destination."""

    verdict: Verdict
    attempts: int
    seconds: float
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)


class EmptyDataSet(Exception):
    """A C-STORE without a single byte of data set."""


class Pipeline:
    """From an arriving instance to the store's verdict. Whatever interrupts the instance's body is raised to the caller."""

    def __init__(self, destination: Destination, conflicts: Conflicts, room: Room) -> None:
        self._destination = destination
        self._conflicts = conflicts
        self._room = room

    async def deliver(self, instance: Instance) -> Delivered:
        """Receives and posts one instance."""
        header, uid = instance.meta.encode(), instance.meta.sop_instance_uid
        with Copy(self._room) as copy:
            copy.take(header)
            whole = await _receive(copy, instance.body)
            if copy.size == len(header):
                raise EmptyDataSet
            story = self._destination.begin(uid)
            began = asyncio.get_running_loop().time()
            if whole or await self._streamed(story, copy, instance.body):
                began = story.deadline - self._destination.timeout
                await self._destination.persist(story, copy)
                await self._look_at_conflict(story, copy)
            return Delivered(story.result, story.attempts, asyncio.get_running_loop().time() - began)

    async def _streamed(self, story: Story, copy: Copy, body: AsyncIterator[bytes]) -> bool:
        """The first attempt at a large instance, while it arrives. Tells whether it may be made again; then the copy is whole."""
        try:
            await copy.spill()
        except NoRoom:
            self._destination.refuse(story, messages.NO_ROOM)
            return False
        limit = asyncio.timeout(None)
        rest = _Rest(copy, body)
        upload = Upload(Part(_paced(copy, rest, limit, self._destination.timeout), None))
        await self._destination.attempt(story, upload, limit, fresh=True)
        if not (self._destination.repeats(story, copy) or is_conflict(story.verdict)):
            return False
        await rest.receive()
        story.deadline = asyncio.get_running_loop().time() + self._destination.timeout
        return not copy.lost

    async def _look_at_conflict(self, story: Story, copy: Copy) -> None:
        verdict = story.verdict
        if verdict is None or not is_conflict(verdict):
            return
        try:
            async with asyncio.timeout_at(story.deadline):
                story.verdict = await self._conflicts.resolve(copy, story.uid, verdict)
        except TimeoutError:
            story.verdict = too_late(self._destination.timeout, sent=True)


async def _receive(copy: Copy, body: AsyncIterator[bytes]) -> bool:
    """Takes pieces until there are too many for memory. Tells whether that is all of it."""
    async for piece in body:
        copy.take(piece)
        if copy.too_large:
            return False
    return True


class _Rest:
    """What is still to come of a large instance: the request takes it while it lives, then whoever wants the copy whole."""

    def __init__(self, copy: Copy, body: AsyncIterator[bytes]) -> None:
        self._copy = copy
        self._body = body
        self._taking = asyncio.Lock()  # a request that is being given up may still be at it
        self._given_up = False

    async def take(self) -> bytes | None:
        """The next piece, which is in the copy then as well; None after the last one."""
        async with self._taking:
            if self._given_up:
                raise asyncio.CancelledError
            return await self._next()

    async def receive(self) -> None:
        """All of the rest, into the copy alone."""
        self._given_up = True
        async with self._taking:
            while await self._next() is not None:
                pass
            await self._copy.flush()

    async def _next(self) -> bytes | None:
        try:
            piece = await anext(self._body)
        except StopAsyncIteration:
            return None
        await self._copy.add(piece)
        return piece


async def _paced(copy: Copy, rest: _Rest, limit: asyncio.Timeout, seconds: float) -> AsyncIterator[bytes]:
    """What has been received so far, then the rest as it comes.

    The time limit runs while the store takes a piece and pauses while the sender is slow (the engine watches the sender); after the last
    fragment it runs for the store's answer.
    """
    loop = asyncio.get_running_loop()

    def until(when: float | None) -> None:
        with contextlib.suppress(RuntimeError):  # the request is already over
            limit.reschedule(when)

    async for piece in copy.read():  # the file: memory is not for those who wait for their turn
        yield piece
        until(loop.time() + seconds)
    while True:
        until(None)
        following = await rest.take()
        until(loop.time() + seconds)
        if following is None:
            return
        yield following

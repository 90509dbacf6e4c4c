"""A store that answers 409: what it has is looked at, and `delivery.onConflict` decides, on a proven duplicate only.

409 says that nothing was stored, for whatever reason (PS3.18 10.5.3). It is a duplicate when the answer says so, or when the store gives
the instance of these three UIDs. Equal data sets are no conflict: a reply was lost, and the instance is stored.

`Overwrite` never costs the stored instance: it is deleted only when it has been fetched whole, and put back when the new one is not taken.
What it cannot promise: between the deletion and the end of the new upload the old instance is only in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from dicom_adapter import messages, part10
from dicom_adapter.config import OnConflict
from dicom_adapter.delivery.replay import Copy, NoRoom, Room
from dicom_adapter.delivery.target import Content
from dicom_adapter.delivery.verdict import DUPLICATE, SUCCESS, Outcome, Verdict, duplicate, other_instance
from dicom_adapter.dicomweb.client import DicomwebClient, InstancePath, Refusal
from dicom_adapter.dicomweb.errors import BrokenAnswer, StoreUnreachable

Post = Callable[[Content, str], Awaitable[Verdict]]
PUT_BACK_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)


def is_conflict(verdict: Verdict | None) -> bool:
    """Whether the store may have the instance already."""
    if verdict is None or verdict.outcome is not Outcome.INSTANCE_REFUSED:
        return False
    return verdict.http_status == 409 or verdict.status == DUPLICATE


class ConflictObserver(Protocol):
    """Hears how conflicts end. Called on the event loop; must not raise."""

    def conflict(self, action: str) -> None:
        """`action`: Equal, Failed, Kept, Overwritten, PutBack or Lost."""

    def overwriting(self, sop_instance_uid: str, message: str, *, lost: bool = False) -> None:
        """Something that people must know of an overwritten instance; `lost`: neither the old nor the new one is in the store."""


class Conflicts:
    """Resolves conflicts with one store, one at a time for each instance."""

    def __init__(
        self,
        client: DicomwebClient,
        policy: OnConflict,
        room: Room,
        *,
        post: Post,
        observer: ConflictObserver,
        pauses: tuple[float, ...] = PUT_BACK_PAUSES,
    ) -> None:
        self._client = client
        self._policy = policy
        self._room = room
        self._post = post
        self._observer = observer
        self._pauses = pauses
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[Verdict]] = set()

    async def resolve(self, copy: Content, uid: str, verdict: Verdict) -> Verdict:
        """The verdict after a 409."""
        identity = await asyncio.to_thread(_identify, copy)
        if identity is not None and identity.instance != uid:
            return other_instance()
        if identity is None:
            return self._unseen(verdict)
        path = InstancePath(identity.study, identity.series, identity.instance)
        # Overwriting goes on when the sender goes away: half done would be the store's loss.
        task = asyncio.create_task(self._resolve(copy, copy.hold(), path, verdict))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Verdict]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it hears of it

    async def settle(self, seconds: float) -> None:
        """Waits for what is not finished."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _resolve(self, copy: Content, hold: AbstractContextManager[Content], path: InstancePath, verdict: Verdict) -> Verdict:
        lock = self._locks.setdefault(str(path), asyncio.Lock())
        try:
            with hold, Copy(self._room) as old:
                async with lock:
                    held = await self._fetch(path, old)
                    if not held and verdict.status != DUPLICATE:
                        return verdict
                    if held and await _same_data_set(copy, old):
                        return self._ended("Equal", Verdict(Outcome.STORED, SUCCESS, http_status=verdict.http_status))
                    proven = verdict if verdict.status == DUPLICATE else duplicate(messages.OTHER_CONTENT, verdict.http_status or 409)
                    if held and self._policy is OnConflict.OVERWRITE:
                        return await self._overwrite(path, copy, old, proven)
                    return self._unseen(proven)
        finally:
            if not lock.locked():
                self._locks.pop(str(path), None)

    def _unseen(self, verdict: Verdict) -> Verdict:
        """The verdict where the old instance is not looked at, or need not be."""
        if verdict.status != DUPLICATE:
            return verdict
        if self._policy is OnConflict.KEEP:
            return self._ended("Kept", Verdict(Outcome.STORED, SUCCESS, http_status=verdict.http_status, remark=messages.KEPT))
        if self._policy is OnConflict.OVERWRITE:
            return self._ended("Failed", replace(verdict, text=messages.not_overwritten("the store does not give the old one")))
        return self._ended("Failed", verdict)

    def _ended(self, action: str, verdict: Verdict) -> Verdict:
        self._observer.conflict(action)
        return verdict

    async def _fetch(self, path: InstancePath, old: Copy) -> bool:
        """The stored instance, whole; False when the store has none or does not give it."""
        try:
            async with self._client.retrieve(path) as pieces:
                await old.fill(pieces)
        except (Refusal, BrokenAnswer, StoreUnreachable, NoRoom):
            return False
        return True

    # -- Overwrite ---------------------------------------------------------------------------------

    async def _overwrite(self, path: InstancePath, copy: Content, old: Copy, proven: Verdict) -> Verdict:
        try:
            answer = await self._client.delete(path)
        except StoreUnreachable:
            pass  # deleted or not: the upload will show it
        else:
            if answer.status >= 300:
                return self._ended(
                    "Failed", replace(proven, text=messages.not_overwritten(f"the store answers {answer.status} to the deletion"))
                )
        verdict = await self._post(copy, path.instance)
        if verdict.outcome is Outcome.STORED:
            return self._ended("Overwritten", replace(verdict, remark=messages.OVERWRITTEN))
        await self._put_back(path, old)
        if verdict.status == DUPLICATE:  # the deletion was not done after all, or somebody else has stored one meanwhile
            return replace(verdict, text=messages.not_overwritten("it is still there"))
        return verdict

    async def _put_back(self, path: InstancePath, old: Copy) -> None:
        for pause in (*self._pauses, None):
            verdict = await self._post(old, path.instance)
            if verdict.outcome is Outcome.STORED or verdict.http_status == 409:  # 409: one of both is there
                self._observer.conflict("PutBack")
                self._observer.overwriting(path.instance, messages.PUT_BACK)
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._observer.conflict("Lost")
        self._observer.overwriting(path.instance, messages.NOT_PUT_BACK, lost=True)


def _identify(copy: Content) -> part10.Identity | None:
    with copy.open() as file:
        return part10.identify(file)


async def _same_data_set(one: Content, other: Content) -> bool:
    """Whether two Part 10 streams hold the same data set, byte for byte: file meta information tells who wrote them and does not count."""
    digest = await _digest(one)
    return digest is not None and digest == await _digest(other)


async def _digest(copy: Content) -> bytes | None:
    """Of the data set in a Part 10 stream, None when it is no such stream."""
    digest, head, before = hashlib.sha256(), b"", -1
    async for piece in copy.read():
        if before < 0:
            head += piece
            if len(head) < part10.HEAD_BYTES:
                continue
            offset = part10.data_set_offset(head)
            if offset is None:
                return None
            before, piece = offset, head  # pieces may be as short as they like
        digest.update(piece[before:])
        before = max(0, before - len(piece))
    return digest.digest() if before >= 0 else None

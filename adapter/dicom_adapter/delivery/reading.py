"""An arriving instance looked into for its route: nothing of it is changed, held back or lost.

    reading = Reading(router, meta, sender)
    async for piece in reading.passing(body): ...     # the very bytes of `body`
    choice = reading.choice()                          # as soon as `reading.decided`, at the latest at the end

What cannot be routed because it cannot be read, or is another instance than the command says, raises `NotToBeDelivered`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from dicom_adapter.delivery.prefix import Prefix, Unreadable
from dicom_adapter.delivery.routing import Choice, Router, other_instance
from dicom_adapter.delivery.verdict import Verdict, mismatch, unreadable
from dicom_adapter.part10 import FileMeta


class NotToBeDelivered(Exception):
    """The verdict on an instance that goes nowhere; no destination has been asked."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


class Reading:
    """One instance, while its bytes come."""

    def __init__(self, router: Router, meta: FileMeta, sender: str) -> None:
        self._router = router
        self._meta = meta
        self._sender = sender
        self._prefix = Prefix(meta.transfer_syntax_uid, router.tags) if router.reads else None
        self._bytes = 0

    @property
    def decided(self) -> bool:
        """Whether the rest of the instance changes nothing."""
        return self._prefix is None or self._prefix.complete

    def choice(self) -> Choice:
        """Where it goes."""
        return self._router.choose(self._sender, self._prefix.elements if self._prefix else {})

    async def passing(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of the data set, each looked at on its way."""
        async for piece in body:
            await self.look(piece)
            yield piece
        self.end()

    async def look(self, piece: bytes) -> None:
        """The next piece."""
        prefix = self._prefix
        if prefix is None or prefix.complete:
            return
        self._bytes += len(piece)
        try:
            busy = prefix.feed(piece)
            while busy:  # a data set may be deflated a thousandfold: others have their turn meanwhile
                await asyncio.sleep(0)
                busy = prefix.feed()
        except Unreadable as error:
            raise NotToBeDelivered(unreadable(error.position, error.why)) from None
        if prefix.complete:
            self._compare()

    def end(self) -> None:
        """There is no more of it."""
        prefix = self._prefix
        if prefix is None or prefix.complete or not self._bytes:  # without a single byte there is nothing to be unreadable
            return
        try:
            prefix.finish()
        except Unreadable as error:
            raise NotToBeDelivered(unreadable(error.position, error.why)) from None
        self._compare()

    def _compare(self) -> None:
        assert self._prefix is not None  # noqa: S101 -- called by what has read it
        if what := other_instance(self._prefix.elements, self._meta.sop_class_uid, self._meta.sop_instance_uid):
            raise NotToBeDelivered(mismatch(what))

"""Leader election with a Lease: of several replicas one works, the others have their caches warm and take over.

As client-go's `leaderelection`, on asyncio, and it can be stopped and gives the Lease back:

- A replica that leads renews the Lease. Before each write it is asked whether its last renewal is young enough (`holds`), on the
  monotonic clock: a process that was stopped and wakes, or whose renewals fail, does not write, whatever it believes.
- A standby follows the Lease. It takes it when it is given back, or when it has not changed for its whole duration by the standby's
  own clock: the times in the Lease are never compared, so that clocks may differ.
- `DEADLINE` is well below `DURATION`: the old leader has stopped writing before a new one starts. The API server fences nothing, so a
  write that was on its way may still arrive; that is harmless, since each write is an idempotent apply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any, Protocol

from dicom_operator import messages
from dicom_operator.api import Json
from dicom_operator.errors import ApiConflict, ApiError

DURATION = 6
DEADLINE = 4.0
PATIENCE = 2.0
RETRY = 1.0
"""Seconds: how long the Lease lasts, after which its leader gives up, how long one renewal may take, and how often it renews and tries
again. One connection that hangs, or an API server that needs two seconds, costs nobody the lead."""
LONGEST = 60
"""No Lease is waited for longer, whatever somebody has written into it."""


class Lease(Protocol):
    """The Lease as the API server keeps it; see KubeLease."""

    async def get(self) -> Json | None:
        """The Lease."""
        ...

    async def create(self, spec: Json) -> Json:
        """Makes it."""
        ...

    async def update(self, lease: Json, spec: Json) -> Json:
        """Changes it."""
        ...

    def follow(self, lease: Json) -> AsyncGenerator[Json, None]:
        """Tells its changes."""
        ...


class Elector:
    """One candidate."""

    def __init__(self, lease: Lease, identity: str, now: Callable[[], datetime], log: logging.Logger) -> None:
        self._lease = lease
        self._identity = identity
        self._now = now
        self._log = log
        self._held: Json = {}
        self._until = 0.0
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._told = ""
        self.leading = False

    def holds(self) -> bool:
        """Whether it may write now."""
        return self.leading and asyncio.get_running_loop().time() < self._until

    async def run(self, term: Callable[[], Awaitable[None]]) -> None:
        """Stands by and leads by turns; `term` runs while it leads and is cancelled when it does no longer.

        Returns, and gives the Lease back, when `term` ends by itself.
        """
        while True:
            await self._stand_by()
            self._log.info("%s", messages.leads(self._identity))
            self.leading = True
            work, renewal = asyncio.ensure_future(term()), asyncio.create_task(self._renew(), name="lease")
            try:
                await asyncio.wait([work, renewal], return_when=asyncio.FIRST_COMPLETED)
                ended = work.done()
            finally:
                self.leading = False
                for task in (work, renewal):
                    task.cancel()
                await asyncio.gather(work, renewal, return_exceptions=True)
            if ended:
                await self._release()
                return work.result()
            renewal.result()
            self._log.warning("%s", messages.leads_no_more(self._identity))

    async def _release(self) -> None:
        """Nothing is written any more: another replica need not wait until the Lease expires."""
        try:
            async with asyncio.timeout(RETRY):
                lease = await self._lease.get()
                if lease and lease["spec"].get("holderIdentity") == self._identity:
                    await self._lease.update(lease, {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})
        except (ApiError, TimeoutError) as error:
            self._log.info("%s", messages.lease_not_released(str(error)))

    async def _stand_by(self) -> None:
        """Returns when the Lease is ours."""
        self._held = {}
        while True:
            try:
                lease = await self._lease.get()
                if lease is None or self._free(lease):
                    await self._take(lease)
                    return
                await self._wait(lease)
            except ApiConflict:
                await asyncio.sleep(RETRY)  # another candidate was faster, or our namespace is being terminated
            except ApiError as error:
                self._tell(messages.lease_unavailable(error.text), logging.WARNING)
                await asyncio.sleep(RETRY)

    async def _wait(self, lease: Json) -> None:
        """Returns when the Lease may be free: given back, deleted, unchanged for its whole duration, or no longer followed."""
        try:
            async with asyncio.timeout_at(self._expires(lease)) as limit, aclosing(self._lease.follow(lease)) as changes:
                async for change in changes:
                    if self._free(change):
                        return
                    limit.reschedule(self._expires(change))
        except TimeoutError:
            return
        await asyncio.sleep(RETRY)  # the watch has ended; nothing says that the Lease is free

    def _free(self, lease: Json) -> bool:
        """Whether nobody holds it, as far as we have seen."""
        return not lease["spec"].get("holderIdentity") or asyncio.get_running_loop().time() >= self._expires(lease)

    def _expires(self, lease: Json) -> float:
        """When it is too old, counted from when we first saw it as it is."""
        spec = lease["spec"]
        seen = (lease["metadata"]["uid"], spec.get("holderIdentity"), spec.get("renewTime"), spec.get("acquireTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, asyncio.get_running_loop().time()
            self._tell(messages.stands_by(spec.get("holderIdentity") or ""))
        return self._seen_at + min(max(spec.get("leaseDurationSeconds") or DURATION, 1), LONGEST)

    async def _take(self, lease: Json | None) -> None:
        sent, stamp = asyncio.get_running_loop().time(), self._stamp()
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION, "acquireTime": stamp, "renewTime": stamp}
        if lease is None:
            self._held = await self._lease.create({**spec, "leaseTransitions": 0})
        else:
            transitions = (lease["spec"].get("leaseTransitions") or 0) + 1
            self._held = await self._lease.update(lease, {**spec, "leaseTransitions": transitions})
        self._until = sent + DEADLINE

    async def _renew(self) -> None:
        """Renews; returns when the Lease is lost."""
        loop = asyncio.get_running_loop()
        sent = self._until - DEADLINE
        while True:
            await asyncio.sleep(max(0.0, min(sent + RETRY, self._until) - loop.time()))
            sent = loop.time()
            if sent >= self._until:
                return
            try:
                async with asyncio.timeout_at(min(self._until, sent + PATIENCE)):
                    self._held = await self._lease.update(self._held, {**self._held["spec"], "renewTime": self._stamp()})
                self._until, self._told = sent + DEADLINE, ""
            except ApiConflict:
                if not await self._still_ours():
                    return
            except ApiError as error:
                self._tell(messages.lease_unavailable(error.text), logging.WARNING)
            except TimeoutError:
                self._tell(messages.lease_unavailable("no answer"), logging.WARNING)

    async def _still_ours(self) -> bool:
        """Whether the Lease that is not as we left it names us all the same: somebody may have labelled it."""
        try:
            async with asyncio.timeout_at(self._until):
                lease = await self._lease.get()
        except (ApiError, TimeoutError):
            return True  # not known: the deadline decides
        if lease is None or lease["spec"].get("holderIdentity") != self._identity:
            return False
        self._held = lease
        return True

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # metav1.MicroTime

    def _tell(self, line: str, level: int = logging.INFO) -> None:
        """A line, unless it is the one told last."""
        if line != self._told:
            self._told = line
            self._log.log(level, "%s", line)


class Alone:
    """No election: the only replica leads."""

    def __init__(self) -> None:
        self.leading = True

    def holds(self) -> bool:
        """Always."""
        return True

    async def run(self, term: Callable[[], Awaitable[None]]) -> None:
        """One term without end."""
        await term()

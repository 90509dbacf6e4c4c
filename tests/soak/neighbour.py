"""The good neighbour: a well-behaved sender whose echo and store must succeed, whatever others do to the server meanwhile."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION, RawScu, associate_rq, context, echo_rq, store_rq
from tests.support.sink import instance_uid

REQUEST = associate_rq("GATE", "GOOD", [context(1, CT_STORAGE, EXPLICIT), context(3, VERIFICATION, IMPLICIT)])


def serve_once(port: int, number: int, data: bytes) -> None:
    """An association of its own: echo, store, release. Raises when anything is not as it must be."""
    with RawScu("127.0.0.1", port, timeout=60).associated(REQUEST) as scu:
        scu.send_message(3, echo_rq(1))
        assert scu.response().status == 0
        scu.send_message(1, store_rq(CT_STORAGE, instance_uid(number, data), 2), data)
        assert scu.response().status == 0
        scu.release()


@dataclass
class Neighbour:
    """Sends again and again, each time over a new association, until told to stop. A failure is raised at the end."""

    port: int
    size: int = 40_000
    pause: float = 0.05
    seconds: list[float] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        await self._task
        assert self.seconds, "the neighbour never had its turn"

    async def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            await asyncio.to_thread(serve_once, self.port, len(self.seconds) + 1, os.urandom(self.size))
            self.seconds.append(time.monotonic() - began)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self.pause)

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        median, p99, longest = (round(seconds * 1000) for seconds in (statistics.median(ordered), p99, ordered[-1]))
        return f"neighbour served {len(ordered)} times: median {median} ms, p99 {p99} ms, longest {longest} ms"

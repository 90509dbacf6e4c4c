"""A term of the leader: what starts with it, what ends with it, and what its end leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from dicom_operator.api import ADAPTER, Key
from dicom_operator.apiserver.cache import Cache
from dicom_operator.metrics import Metrics
from dicom_operator.probe import Prober
from dicom_operator.reconcile import Reconciler
from dicom_operator.work import Work
from dicom_operator.workqueue import Done, Outcome, WorkQueue
from tests.unit.operator.builders import body

KEY = Key("rad", "ct-east")


class Probes:
    """A prober that ends when it is told to."""

    def __init__(self) -> None:
        self.forgot = 0
        self.end = asyncio.Event()

    def forget(self) -> None:
        self.forgot += 1

    async def run(self) -> None:
        await self.end.wait()
        raise RuntimeError("the probes died")


class Term:
    """One term, with a reconciler that takes notes."""

    def __init__(self) -> None:
        self.seen: list[Key] = []
        self.probes, self.metrics, self.cache = Probes(), Metrics(), Cache()
        self.queue: WorkQueue[Key] = WorkQueue(random=lambda: 1.0)
        self.queue.close()
        self.cache.put(ADAPTER, body())
        reconciler = cast(Reconciler, self)
        self.work = Work(self.queue, reconciler, cast(Prober, self.probes), self.cache, self.metrics, 2)

    async def process(self, key: Key) -> Outcome:
        self.seen.append(key)
        if len(self.seen) == 3:
            raise RuntimeError("a worker died")
        return Done()

    def leads(self) -> bool:
        return "dicom_operator_leader 1.0" in self.metrics.render().decode()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- it is the only way to see it
            await asyncio.sleep(0.001)


async def test_a_term_looks_at_every_adapter_and_its_end_leaves_nothing_running():
    it = Term()
    for number in (1, 2):
        term = asyncio.create_task(it.work.term())
        await until(lambda number=number: it.seen == [KEY] * number)  # type: ignore[misc]
        assert it.leads()
        it.metrics.conditions(KEY, {"Ready": ("True", "Available")})
        term.cancel()
        await asyncio.gather(term, return_exceptions=True)
        assert not it.leads()
        assert "ct-east" not in it.metrics.render().decode()  # it is for the one that leads to tell
        it.queue.add(KEY)
        assert it.queue.depth == 0
    assert it.probes.forgot == 2


async def test_a_term_ends_by_itself_when_the_queue_is_closed():
    it = Term()
    term = asyncio.create_task(it.work.term())
    await until(lambda: it.seen)
    it.queue.close()
    await term


async def test_a_part_that_dies_ends_the_term_with_its_error():
    it = Term()
    it.probes.end.set()
    with pytest.raises(RuntimeError, match="the probes died"):
        await it.work.term()
    it = Term()
    term = asyncio.create_task(it.work.term())
    for number in (1, 2):
        await until(lambda number=number: len(it.seen) == number and not it.queue.in_flight)  # type: ignore[misc]
        it.queue.add(KEY)
    with pytest.raises(RuntimeError, match="a worker died"):
        await term

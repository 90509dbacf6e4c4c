"""Work that begins before it is a task, and goes on in one."""

from __future__ import annotations

import asyncio

import pytest

from dicom_adapter.dicomweb.eager import begun


class Work:
    """Waits twice; keeps what happened to it."""

    def __init__(self) -> None:
        self.first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.second: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.happened: list[str] = []

    async def run(self) -> None:
        self.happened.append("begun")
        try:
            self.happened.append(await self.first)
        except asyncio.CancelledError:
            self.happened.append(await self.second)
            raise
        self.happened.append(await self.second)


async def test_it_runs_until_it_first_waits_before_anybody_awaits_it() -> None:
    work = Work()
    task = asyncio.create_task(begun(work.run()))
    assert work.happened == ["begun"]
    work.first.set_result("one")
    work.second.set_result("two")
    await task
    assert work.happened == ["begun", "one", "two"]


async def test_what_it_waits_for_may_come_before_the_rest_is_awaited_or_after() -> None:
    early, late = Work(), Work()
    tasks = [asyncio.create_task(begun(work.run())) for work in (early, late)]
    early.first.set_result("one")
    await asyncio.sleep(0)
    late.first.set_result("one")
    for work in (early, late):
        work.second.set_result("two")
    await asyncio.gather(*tasks)
    assert early.happened == late.happened == ["begun", "one", "two"]


async def test_what_never_waits_has_ended() -> None:
    happened = []

    async def short() -> None:
        happened.append("done")

    rest = begun(short())
    assert happened == ["done"]
    await rest


async def test_an_error_before_it_waits_is_told_to_whoever_awaits_the_rest() -> None:
    async def wrong() -> None:
        raise ValueError

    rest = begun(wrong())
    with pytest.raises(ValueError):
        await rest


async def test_an_error_of_what_it_waits_for_is_its_own() -> None:
    work = Work()
    task = asyncio.create_task(begun(work.run()))
    work.first.set_exception(ValueError)
    with pytest.raises(ValueError):
        await task
    assert work.happened == ["begun"]


async def test_a_cancellation_reaches_it_and_it_may_wait_once_more() -> None:
    work = Work()
    task = asyncio.create_task(begun(work.run()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    work.second.set_result("cleared up")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.happened == ["begun", "cleared up"]


async def test_others_may_wait_for_the_same_before_the_rest_is_awaited() -> None:
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    happened: list[str] = []

    async def work(name: str) -> None:
        happened.append(name + await shared)

    other = asyncio.create_task(work("other "))
    rest = begun(work("eager "))
    await asyncio.sleep(0)
    task = asyncio.create_task(rest)
    await asyncio.sleep(0)
    shared.set_result("done")
    await asyncio.gather(task, other)
    assert sorted(happened) == ["eager done", "other done"]

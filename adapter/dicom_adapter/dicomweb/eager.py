"""Coroutines that run until they first wait before they become a task: what Python 3.12 calls an eager task, for those before it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def begun(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    """Runs it until it first waits, in the caller's task; what is returned, to be awaited, does the rest of it.

    What it raises until then is raised when the rest is awaited. It must not ask for the current task before it waits, as `asyncio.timeout`
    does: that is the caller's.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return _ended(None)
    except BaseException as error:
        return _ended(error)
    return _rest(_Rest(work, awaited))


async def _ended(error: BaseException | None) -> None:
    if error is not None:
        raise error


async def _rest(rest: _Rest) -> None:
    await rest


class _Rest:
    """Work that waits for something, until somebody awaits it."""

    def __init__(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._work = work
        self._awaited = awaited
        # A future that is being yielded to a task is marked so, which others who await it meanwhile would fall over.
        self._marked = isinstance(awaited, asyncio.Future) and awaited._asyncio_future_blocking
        if self._marked:
            awaited._asyncio_future_blocking = False

    def __await__(self) -> Generator[Any, Any, None]:
        awaited = self._awaited
        if self._marked:
            awaited._asyncio_future_blocking = True
        while True:
            try:
                try:
                    yield awaited
                except BaseException as error:  # a cancellation, above all
                    awaited = self._work.throw(error)
                else:
                    awaited = self._work.send(None)
            except StopIteration:
                return

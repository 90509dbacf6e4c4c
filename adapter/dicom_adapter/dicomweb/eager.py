"""Coroutines that run until they first wait before they become a task: what Python 3.12 calls an eager task, for those before it."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any


def begun(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    """Runs it until it first waits, in the caller's task; what is returned, to be awaited, does the rest of it.

    What it raises until then is raised when the rest is awaited.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return _ended(None)
    except BaseException as error:
        return _ended(error)
    return _rest(work, awaited)


async def _ended(error: BaseException | None) -> None:
    if error is not None:
        raise error


@types.coroutine
def _rest(work: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            try:
                yield awaited
            except BaseException as error:  # a cancellation, above all
                awaited = work.throw(error)
            else:
                awaited = work.send(None)
        except StopIteration:
            return

"""Pages of a search (QIDO-RS, PS3.18 8.3.4): the next one is asked for while this one is used, and no more than those two are in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Parameters = Sequence[tuple[str, str]]
Page = list[dict[str, Any]]
Ask = Callable[[str, Parameters, int, int], Awaitable[Page]]
"""Asks for one page: resource, parameters, limit, offset."""


@dataclass(slots=True)
class Ends:
    """What is known of the store's own limit, by resource: the longest page shorter than asked for that turned out to be the last.

    A store may give fewer results than it has and than it is asked for. A page that is no longer than one that has been the last is the
    last as well; any other is followed by one more question.
    """

    proven: dict[str, int] = field(default_factory=dict)

    def is_last(self, resource: str, length: int, limit: int) -> bool:
        """Whether no page follows one of this length."""
        return not length or (length < limit and length <= self.proven.get(resource, 0))

    def learn(self, resource: str, length: int, limit: int) -> None:
        """Nothing came after a page of this length."""
        if length < limit:
            self.proven[resource] = max(length, self.proven.get(resource, 0))


async def pages(
    ask: Ask, resource: str, parameters: Parameters, *, size: Callable[[], int], ends: Ends, offset: int = 0
) -> AsyncGenerator[Page, None]:
    """The pages of a search in the store's order from `offset` to their end; none is empty but the only one. `size` says how many results
    to ask for.

    A store that does not know `offset` begins again: what it gives after its first page is not taken.
    """
    limit = size()
    page = await ask(resource, parameters, limit, offset)
    while True:
        following, before = None, limit
        if not ends.is_last(resource, len(page), limit):
            limit = size()
            following = asyncio.ensure_future(ask(resource, parameters, limit, offset + len(page)))
        try:
            yield page
            if following is None:
                return
            after = await following
        finally:
            if following is not None and not following.done():
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await following
        if not after or after[0] == page[0]:
            if not after:
                ends.learn(resource, len(page), before)
            return
        offset += len(page)
        page = after


def text(match: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute of a result, empty when it is missing or no text."""
    element = match.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return first.strip(" \0") if isinstance(first, str) else ""

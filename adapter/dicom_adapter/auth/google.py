"""Google tokens, shared by all requests: however many wait, one is fetched, in a thread, and the next in the background before it expires.

Where tokens come from is `google_sources`' affair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

REFRESH_BEFORE = 300.0  # seconds before the end of a token's life, or half of what is left of a shorter one
RETRY_AFTER = 2.0  # seconds between two attempts while the token endpoint fails
RENEW_AFTER = 60.0  # seconds between two tokens thrown away because the store refused them


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the time.time() of its end."""

    value: str
    expires: float


class TokenSource(Protocol):
    """Where tokens come from. Called in a thread, one call at a time; raises Missing, Unusable or CredentialsUnavailable."""

    def load(self) -> None:
        """Finds the credentials without fetching a token."""

    def fetch(self) -> Token:
        """A new token."""

    @property
    def stamp(self) -> object:
        """Changes when the credentials have been replaced, so that an old token is thrown away."""

    @property
    def identity(self) -> str:
        """The account's e-mail address, when it is known."""


class GoogleTokens:
    """Bearer tokens out of a source, cached."""

    def __init__(self, source: TokenSource, *, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._now = now
        self._token: Token | None = None
        self._stamp: object = None
        self._refresh_at = 0.0
        self._renewed: float | None = None
        self._refresh: asyncio.Task[Token] | None = None
        self._failure: tuple[float, Exception] | None = None

    @property
    def identity(self) -> str:
        """The service account."""
        return self._source.identity

    async def prepare(self) -> None:
        """Finds the credentials. A token is fetched when the first request needs it."""
        await asyncio.to_thread(self._source.load)

    async def headers(self) -> Mapping[str, str]:
        """A token with some life left."""
        return _bearer(await self._current())

    async def refused(self, headers: Mapping[str, str]) -> bool:
        """Throws the token away, unless one was lately: a store that refuses everything must not cost a token each time."""
        token, now = self._token, self._now()
        if token is None or _bearer(token) != headers:
            return True  # another has heard it before, and there is a new one or soon will be
        if now >= token.expires:
            return True  # it has ended on its way
        if self._renewed is not None and now < self._renewed + RENEW_AFTER:
            return False
        self._renewed, self._token = now, None
        return True

    async def _current(self) -> Token:
        token, now = self._token, self._now()
        if token is not None and self._stamp == self._source.stamp and now < token.expires:
            if now >= self._refresh_at and not self._failed_recently():
                self._start()  # nobody waits for it
            return token
        if self._failure is not None and self._failed_recently():
            raise self._failure[1]
        return await asyncio.shield(self._start())

    def _failed_recently(self) -> bool:
        return self._failure is not None and self._now() < self._failure[0] + RETRY_AFTER

    def _start(self) -> asyncio.Task[Token]:
        if self._refresh is None:
            self._refresh = asyncio.create_task(self._fetch())
            self._refresh.add_done_callback(_seen)
        return self._refresh

    async def _fetch(self) -> Token:
        # All that the next caller looks at is set before the task ends: a callback at its end would come a step later,
        # and who asked between the two would get an answer from before.
        try:
            stamp = self._source.stamp  # before: what is replaced meanwhile is fetched again
            token = await asyncio.to_thread(self._source.fetch)
        except Exception as error:
            self._failure = (self._now(), error)
            raise
        finally:
            self._refresh = None
        self._token, self._stamp, self._failure, now = token, stamp, None, self._now()
        # A metadata server gives the token that it has, however little of its life is left.
        self._refresh_at = token.expires - min(REFRESH_BEFORE, (token.expires - now) / 2)
        return token


def _seen(task: asyncio.Task[Token]) -> None:
    """Asks for the failure of a refresh that nobody may have waited for, or asyncio would report it as lost."""
    if not task.cancelled():
        task.exception()


def _bearer(token: Token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.value}"}

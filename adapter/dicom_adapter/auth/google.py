"""Google tokens through google-auth: Application Default Credentials or a service-account key.

https://google-auth.readthedocs.io. Tokens are fetched in a thread and shared by all requests; one is refreshed in the background before it
expires, and however many requests wait, there is one refresh. google-auth and requests are imported only here and only when used.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dicom_adapter.auth.mounted import MountedFile, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable

REFRESH_BEFORE = 300.0  # seconds before the end of a token's life
RETRY_AFTER = 2.0  # seconds between two attempts while the token endpoint fails


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
        return {"Authorization": f"Bearer {(await self._current()).value}"}

    async def _current(self) -> Token:
        token, now = self._token, self._now()
        if token is not None and self._stamp == self._source.stamp and now < token.expires:
            if now >= token.expires - REFRESH_BEFORE and not self._failed_recently():
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
            self._refresh.add_done_callback(self._fetched)
        return self._refresh

    async def _fetch(self) -> Token:
        token = await asyncio.to_thread(self._source.fetch)
        self._token, self._stamp = token, self._source.stamp
        return token

    def _fetched(self, task: asyncio.Task[Token]) -> None:
        self._refresh = None
        error = None if task.cancelled() else task.exception()  # asking for it marks it as seen
        self._failure = (self._now(), error) if isinstance(error, Exception) else None


class KeyFileSource:
    """`googleKeySecret`: a service-account key, read again when its file changes."""

    def __init__(self, file: MountedFile, scopes: Sequence[str]) -> None:
        self._file = file
        self._scopes = list(scopes)
        self.identity = ""

    @property
    def stamp(self) -> object:
        """The file's."""
        try:
            self._file.read()
        except Exception:
            return None
        return self._file.stamp

    def load(self) -> None:
        """Reads and checks the key."""
        self._credentials()

    def fetch(self) -> Token:
        """A token for the key as it is now."""
        return _refreshed(self._credentials())

    def _credentials(self) -> _GoogleCredentials:
        from google.oauth2 import service_account

        content = self._file.read()
        try:
            make = service_account.Credentials.from_service_account_info
            credentials: _GoogleCredentials = make(json.loads(content), scopes=self._scopes)  # type: ignore[no-untyped-call]
        except Exception as error:  # google-auth raises what its parsers raise; their texts may quote the key
            raise Unusable(self._file.mounted, "is not the key file of a Google service account") from error
        self.identity = str(getattr(credentials, "service_account_email", ""))
        return credentials


class DefaultSource:
    """`googleApplicationDefault`: workload identity, the metadata server, or the file in GOOGLE_APPLICATION_CREDENTIALS."""

    stamp: object = None

    def __init__(self, scopes: Sequence[str]) -> None:
        self._scopes = list(scopes)
        self._found: _GoogleCredentials | None = None

    @property
    def identity(self) -> str:
        """Known after the first token on the metadata server; `default` before."""
        email = str(getattr(self._found, "service_account_email", "") or "")
        return "" if email == "default" else email

    def load(self) -> None:
        """Looks where google-auth looks."""
        if self._found is not None:
            return
        import google.auth
        from google.auth import exceptions

        try:
            self._found = google.auth.default(scopes=self._scopes)[0]
        except exceptions.DefaultCredentialsError as error:
            raise CredentialsUnavailable(
                "no Google credentials in the pod: give its service account a Google identity (workload identity), "
                "or name a key in spec.credentials.googleKeySecret"
            ) from error

    def fetch(self) -> Token:
        """A token for what was found."""
        self.load()
        assert self._found is not None  # noqa: S101 -- load() has set it or raised
        return _refreshed(self._found)


class _GoogleCredentials(Protocol):
    """google.auth.credentials.Credentials, as far as it is used here."""

    token: str | None
    expiry: object

    def refresh(self, request: object) -> None: ...


def _refreshed(credentials: _GoogleCredentials) -> Token:
    import requests
    from google.auth import exceptions
    from google.auth.transport.requests import Request

    with requests.Session() as session:
        try:
            credentials.refresh(Request(session=session))
        except exceptions.GoogleAuthError as error:
            text = str(error.args[0]) if error.args else ""
            raise CredentialsUnavailable(f"Google gave no token ({type(error).__name__}: {' '.join(text.split())[:200]})") from error
    expiry = getattr(credentials, "expiry", None)  # naive UTC, or None
    seconds = (expiry - type(expiry)(1970, 1, 1)).total_seconds() if expiry is not None else time.time() + REFRESH_BEFORE + 60
    return Token(credentials.token or "", seconds)

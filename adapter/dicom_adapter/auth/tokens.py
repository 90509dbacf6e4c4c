"""Credentials as request headers. What is wrong with them is an exception that names the Secret and key, never their content."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Protocol

from dicom_adapter.auth.mounted import MountedFile, Unusable


class CredentialsUnavailable(Exception):
    """No token could be had; `text` says why and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class StoreCredentials(Protocol):
    """What proves to the store who we are."""

    async def prepare(self) -> None:
        """Shows that the credentials are there. Raises Missing, Unusable or CredentialsUnavailable."""

    async def headers(self) -> Mapping[str, str]:
        """The headers for one request, fresh; raises as `prepare`."""

    async def refused(self, headers: Mapping[str, str]) -> bool:
        """Hears that the store has not accepted these headers (401). Tells whether `headers()` now gives others, worth one more try."""

    @property
    def identity(self) -> str:
        """Who we are to the store, when it is known: an account's name."""


class NoCredentials:
    """`none`: no header at all."""

    identity = ""

    async def prepare(self) -> None:
        """Nothing to do."""

    async def headers(self) -> Mapping[str, str]:
        """None."""
        return {}

    async def refused(self, _: Mapping[str, str]) -> bool:
        """There is nothing else to send."""
        return False


class BearerToken:
    """`bearerTokenSecret`: a token in a file (RFC 6750)."""

    identity = ""

    def __init__(self, file: MountedFile) -> None:
        self._file = file

    async def prepare(self) -> None:
        """Reads the token."""
        await self.headers()

    async def headers(self) -> Mapping[str, str]:
        """The token as it is now in the file."""
        return {"Authorization": f"Bearer {_header_text(self._file)}"}

    async def refused(self, headers: Mapping[str, str]) -> bool:
        """Whether the file has another token by now."""
        return await self.headers() != headers


class BasicAuth:
    """`basicAuthSecret`: a Secret of type kubernetes.io/basic-auth (RFC 7617)."""

    def __init__(self, username: MountedFile, password: MountedFile) -> None:
        self._username = username
        self._password = password

    @property
    def identity(self) -> str:
        """Not told: a user's name is a part of the Secret."""
        return ""

    async def prepare(self) -> None:
        """Reads both."""
        await self.headers()

    async def headers(self) -> Mapping[str, str]:
        """User and password as they are now in the files."""
        username, password = (_text(file) for file in (self._username, self._password))
        if ":" in username:
            raise Unusable(self._username.mounted, "a user name cannot hold a colon")
        return {"Authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}

    async def refused(self, headers: Mapping[str, str]) -> bool:
        """Whether the files have another user or password by now."""
        return await self.headers() != headers


def _text(file: MountedFile) -> str:
    content = file.read()
    try:
        text = content.decode("utf-8").rstrip("\r\n")  # editors and `echo` add a line end
    except UnicodeDecodeError as error:
        raise Unusable(file.mounted, "is not UTF-8 text") from error
    if not text:
        raise Unusable(file.mounted, "is empty")
    return text


def _header_text(file: MountedFile) -> str:
    text = _text(file).strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Unusable(file.mounted, "is not a token: it holds white space or control characters")
    return text

"""Google tokens: shared, refreshed in time, and sentences when there are none."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth
import google.oauth2.service_account
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions

from dicom_adapter.auth.google import REFRESH_BEFORE, RETRY_AFTER, DefaultSource, GoogleTokens, KeyFileSource, Token
from dicom_adapter.auth.mounted import Mounted, MountedFile, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable


def key_secret(directory: Path, content: str) -> MountedFile:
    (directory / "key.json").write_text(content)
    return MountedFile(Mounted("Secret", "pacs", "key.json", directory))


class FakeSource:
    """Tokens t1, t2, … that live for an hour of the given clock."""

    identity = "dicom@p.iam.gserviceaccount.com"
    stamp: object = "key 1"

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.fetched = 0
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def load(self) -> None:
        if self.failure:
            raise self.failure

    def fetch(self) -> Token:
        self.gate.wait(10)
        self.fetched += 1
        if self.failure:
            raise self.failure
        return Token(f"t{self.fetched}", self.clock[0] + 3600)


@pytest.fixture
def clock() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def source(clock: list[float]) -> FakeSource:
    return FakeSource(clock)


@pytest.fixture
def tokens(source: FakeSource, clock: list[float]) -> GoogleTokens:
    return GoogleTokens(source, now=lambda: clock[0])


async def bearer(tokens: GoogleTokens) -> str:
    return (await tokens.headers())["Authorization"]


async def test_a_hundred_waiters_cost_one_request_and_the_token_is_kept(tokens: GoogleTokens, source: FakeSource) -> None:
    source.gate.clear()
    waiting = [asyncio.create_task(bearer(tokens)) for _ in range(100)]
    await asyncio.sleep(0)
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"Bearer t1"}
    assert await bearer(tokens) == "Bearer t1"
    assert source.fetched == 1
    assert tokens.identity == source.identity


async def test_a_token_is_refreshed_before_it_ends_and_nobody_waits_for_it(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    await bearer(tokens)
    clock[0] += 3600 - REFRESH_BEFORE
    source.gate.clear()
    assert await bearer(tokens) == "Bearer t1"
    assert await bearer(tokens) == "Bearer t1"
    source.gate.set()
    async with asyncio.timeout(10):
        while await bearer(tokens) != "Bearer t2":  # noqa: ASYNC110 -- the refresh runs in a thread
            await asyncio.sleep(0)
    assert source.fetched == 2


async def test_an_expired_token_is_never_sent(tokens: GoogleTokens, clock: list[float]) -> None:
    await bearer(tokens)
    clock[0] += 3600
    assert await bearer(tokens) == "Bearer t2"


async def test_a_new_key_replaces_the_token_at_once(tokens: GoogleTokens, source: FakeSource) -> None:
    await bearer(tokens)
    source.stamp = "key 2"
    assert await bearer(tokens) == "Bearer t2"


async def test_while_the_token_endpoint_fails_it_is_asked_seldom_and_an_old_token_serves_to_its_end(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    await bearer(tokens)
    source.failure = CredentialsUnavailable("down")
    clock[0] += 3600 - REFRESH_BEFORE
    for _ in range(10):
        assert await bearer(tokens) == "Bearer t1"
        await asyncio.sleep(0)
    clock[0] += REFRESH_BEFORE
    for _ in range(10):
        with pytest.raises(CredentialsUnavailable, match="down"):
            await bearer(tokens)
    assert source.fetched <= 3
    source.failure = None
    clock[0] += RETRY_AFTER
    assert (await bearer(tokens)).startswith("Bearer t")


async def test_a_waiter_that_gives_up_does_not_end_the_refresh_of_the_others(tokens: GoogleTokens, source: FakeSource) -> None:
    source.gate.clear()
    first, second = asyncio.create_task(bearer(tokens)), asyncio.create_task(bearer(tokens))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert await second == "Bearer t1"


def key_file() -> str:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": "dicom@p.iam.gserviceaccount.com",
            "token_uri": "http://127.0.0.1:9/token",
        }
    )


def test_a_service_account_key_is_read_with_its_scopes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refresh(self: Any, request: object) -> None:
        asked.append(self.scopes)
        self.token, self.expiry = "abc", datetime(2030, 1, 1)  # naive UTC, as google-auth has it

    monkeypatch.setattr(google.oauth2.service_account.Credentials, "refresh", refresh)
    source = KeyFileSource(key_secret(tmp_path, key_file()), ["scope"])
    source.load()
    assert source.identity == "dicom@p.iam.gserviceaccount.com"
    assert source.fetch() == Token("abc", datetime(2030, 1, 1, tzinfo=UTC).timestamp())
    assert asked == [["scope"]]
    before = source.stamp
    (tmp_path / "key.json").write_text(key_file() + " ")
    assert source.stamp != before


def test_a_token_endpoint_that_cannot_be_reached_is_a_sentence(tmp_path: Path) -> None:
    source = KeyFileSource(key_secret(tmp_path, key_file()), ["scope"])
    with pytest.raises(CredentialsUnavailable, match="Google gave no token"):
        source.fetch()


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"private_key": "t0ps3cret"}'])
def test_what_is_no_key_file_is_told_without_quoting_it(tmp_path: Path, content: str) -> None:
    source = KeyFileSource(key_secret(tmp_path, content), ["scope"])
    with pytest.raises(Unusable, match="is not the key file of a Google service account") as caught:
        source.load()
    assert "t0ps3cret" not in str(caught.value)


def test_application_default_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        token, expiry, service_account_email = "adc", None, "default"

        def refresh(self, request: object) -> None:
            self.service_account_email = "node@p.iam.gserviceaccount.com"

    calls: list[object] = []

    def default(scopes: object) -> tuple[Found, str]:
        calls.append(scopes)
        return Found(), "p"

    monkeypatch.setattr(google.auth, "default", default)
    source = DefaultSource(["scope"])
    source.load()
    assert source.identity == ""
    assert source.fetch().value == "adc"
    assert source.identity == "node@p.iam.gserviceaccount.com"
    assert calls == [["scope"]]


def test_no_application_default_credentials_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def default(scopes: object) -> None:
        raise exceptions.DefaultCredentialsError("long text")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(google.auth, "default", default)
    with pytest.raises(CredentialsUnavailable) as caught:
        DefaultSource(["scope"]).load()
    assert caught.value.text == (
        "no Google credentials in the pod: give its service account a Google identity (workload identity), "
        "or name a key in spec.credentials.googleKeySecret"
    )

"""google-auth's own flows against Google's identity services on loopback, and the sentences when they end without a token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import google.auth
import google.auth.iam
import pytest
from google.auth import exceptions

from dicom_adapter.auth import google_sources
from dicom_adapter.auth.google import TokenSource
from dicom_adapter.auth.google_sources import NO_DEFAULT, DefaultSource, KeyFileSource
from dicom_adapter.auth.mounted import Mounted, MountedFile, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from tests.support.google import CLOUD_HEALTHCARE, KEY_ACCOUNT, GoogleIdentity

TARGET = "stores@p.iam.gserviceaccount.com"


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GoogleIdentity]:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    async with GoogleIdentity() as found:
        local = google.auth.iam._IAM_ENDPOINT.replace("https://iamcredentials.googleapis.com", found.url)
        monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", local)
        yield found


def file_source(directory: Path, content: str) -> KeyFileSource:
    (directory / "key.json").write_text(content)
    return KeyFileSource(MountedFile(Mounted("Secret", "pacs", "key.json", directory)), [CLOUD_HEALTHCARE])


async def granted(source: TokenSource, identity: GoogleIdentity) -> tuple[str, set[str]]:
    token = await asyncio.to_thread(source.fetch)
    grant = identity.grant(f"Bearer {token.value}")
    assert grant
    assert abs(token.expires - grant.expires) < 5
    return grant.email, set(grant.scopes)


async def test_a_service_account_key(tmp_path: Path, identity: GoogleIdentity) -> None:
    source = file_source(tmp_path, identity.key_file())
    source.load()
    assert source.identity == KEY_ACCOUNT
    assert await granted(source, identity) == (KEY_ACCOUNT, {CLOUD_HEALTHCARE})
    before = source.stamp
    (tmp_path / "key.json").write_text(identity.key_file(email="next@p.iam.gserviceaccount.com"))
    assert source.stamp != before
    assert (await granted(source, identity))[0] == "next@p.iam.gserviceaccount.com"
    assert identity.asked == ["token", "token"]


async def test_a_service_account_that_acts_as_another(tmp_path: Path, identity: GoogleIdentity) -> None:
    source = file_source(tmp_path, identity.impersonation_file(TARGET))
    assert await granted(source, identity) == (TARGET, {CLOUD_HEALTHCARE})
    assert source.identity == TARGET
    assert identity.asked == ["token", "impersonate"]


@pytest.mark.parametrize(("target", "asked"), [("", ["exchange"]), (TARGET, ["exchange", "impersonate"])])
async def test_workload_identity_federation(target: str, asked: list[str], tmp_path: Path, identity: GoogleIdentity) -> None:
    (tmp_path / "projected").write_text(identity.federated_token)
    source = file_source(tmp_path, identity.federation_file(str(tmp_path / "projected"), target))
    assert await granted(source, identity) == (target or KEY_ACCOUNT, {CLOUD_HEALTHCARE})
    assert source.identity == target
    assert identity.asked == asked


async def test_a_token_is_fetched_through_the_proxy_of_the_spec(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 503 no\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "key.json").write_text(GoogleIdentity().key_file("https://oauth2.example/token"))
        file = MountedFile(Mounted("Secret", "pacs", "key.json", tmp_path))
        with pytest.raises(CredentialsUnavailable):
            await asyncio.to_thread(KeyFileSource(file, ["scope"], f"http://127.0.0.1:{port}").fetch)
    assert asked[0].startswith(b"CONNECT oauth2.example:443 ")


async def test_application_default_credentials_out_of_a_file(
    tmp_path: Path, identity: GoogleIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adc.json").write_text(identity.key_file())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    source = DefaultSource([CLOUD_HEALTHCARE])
    await asyncio.to_thread(source.load)
    assert await granted(source, identity) == (KEY_ACCOUNT, {CLOUD_HEALTHCARE})


def test_application_default_credentials_are_looked_for_once_and_know_their_account_after_the_first_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    assert (
        caught.value.text
        == NO_DEFAULT
        == (
            "no Google credentials in the pod: give its service account a Google identity (workload identity), "
            "or name a key in spec.credentials.googleKeySecret"
        )
    )


def down(identity: GoogleIdentity) -> str:
    identity.down = True
    return identity.key_file()


def revoked(identity: GoogleIdentity) -> str:
    key = json.loads(GoogleIdentity.key_file(identity))
    key["private_key"] = another_key()
    return json.dumps(key)


def not_allowed(identity: GoogleIdentity) -> str:
    identity.impersonators = set()
    return identity.impersonation_file(TARGET)


def elsewhere(identity: GoogleIdentity) -> str:
    return identity.key_file("http://127.0.0.1:9/token")


def odd(identity: GoogleIdentity) -> str:
    return identity.key_file(f"{identity.url}/nothing/token")


def no_subject(identity: GoogleIdentity) -> str:
    return identity.federation_file("/nonexistent/token")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (down, "Google gave no token: its token server fails at the moment"),
        (
            revoked,
            "Google gave no token: it does not accept the key (deleted, disabled, or the clock is wrong); make a new one",
        ),
        (
            not_allowed,
            "Google gave no token: the pod's identity may not act as the service account; grant it roles/iam.workloadIdentityUser on that "
            "account (roles/iam.serviceAccountTokenCreator where an account acts as another)",
        ),
        (
            elsewhere,
            "Google gave no token: its token server cannot be reached from the pod; is a firewall, NetworkPolicy or proxy in the way?",
        ),
        (odd, "Google gave no token: it answers with an error; check that the service account exists and is enabled"),
        (no_subject, "Google gave no token: it answers with an error; check that the service account exists and is enabled"),
    ],
)
async def test_why_there_is_no_token_is_a_sentence_that_stays_the_same(
    prepare: Callable[[GoogleIdentity], str], sentence: str, tmp_path: Path, identity: GoogleIdentity
) -> None:
    source = file_source(tmp_path, prepare(identity))
    for _ in range(2):
        with pytest.raises(CredentialsUnavailable) as caught:
            await asyncio.to_thread(source.fetch)
        assert caught.value.text == sentence


def test_a_scope_that_google_does_not_know() -> None:
    error = exceptions.RefreshError("invalid_scope: Invalid OAuth scope or ID token audience provided.", {"error": "invalid_scope"})  # type: ignore[no-untyped-call]
    assert google_sources._explained(error) == "Google gave no token: it does not know a scope; correct spec.credentials.scopes"


PROGRAM = {"type": "external_account", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "not json",
        '{"type": "service_account", "private_key": "t0ps3cret"}',
        '{"type": "authorized_user"}',
        json.dumps({**PROGRAM, "credential_source": {"executable": {"command": "/bin/sh"}}}),
    ],
)
def test_what_is_no_credential_file_is_told_without_quoting_it(tmp_path: Path, content: str) -> None:
    with pytest.raises(Unusable, match="is not a credential file of Google's: a service-account key, for example") as caught:
        file_source(tmp_path, content).load()
    assert "t0ps3cret" not in str(caught.value)


def another_key() -> Any:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

"""Credentials: files that change while we run, tokens that are shared, and sentences for what is missing."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from dicom_adapter.auth.google import GoogleTokens
from dicom_adapter.auth.mounted import Missing, Mounted, MountedFile, Unusable
from dicom_adapter.auth.tls import ClientCertificate, StoreTls
from dicom_adapter.auth.tokens import BasicAuth, BearerToken, CredentialsUnavailable, NoCredentials
from dicom_adapter.config import CredentialKind, Credentials, ObjectKey
from dicom_adapter.credentials import access, explain
from dicom_adapter.state import Reason
from tests.support.certificates import Authority, private_pem


def mounted(directory: Path, key: str = "token", content: str | None = None, what: str = "Secret") -> MountedFile:
    if content is not None:
        (directory / key).write_text(content)
    return MountedFile(Mounted(what, "pacs", key, directory))


async def test_none_sends_no_header() -> None:
    await NoCredentials().prepare()
    assert await NoCredentials().headers() == {}


async def test_a_bearer_token_is_read_again_when_its_file_changes_and_kept_when_it_goes_away(tmp_path: Path) -> None:
    token = BearerToken(mounted(tmp_path, content="one\n"))
    await token.prepare()
    assert await token.headers() == {"Authorization": "Bearer one"}
    replacement = tmp_path / "..new"
    replacement.write_text("two")
    os.replace(replacement, tmp_path / "token")
    assert await token.headers() == {"Authorization": "Bearer two"}
    (tmp_path / "token").unlink()
    assert await token.headers() == {"Authorization": "Bearer two"}


async def test_user_and_password(tmp_path: Path) -> None:
    basic = BasicAuth(mounted(tmp_path, "username", "ü"), mounted(tmp_path, "password", "p:q"))
    await basic.prepare()
    assert await basic.headers() == {"Authorization": "Basic " + base64.b64encode("ü:p:q".encode()).decode()}
    (tmp_path / "username").write_text("a:b")
    with pytest.raises(Unusable, match="a user name cannot hold a colon"):
        await basic.headers()


@pytest.mark.parametrize(("content", "why"), [("", "is empty"), ("a b", "is not a token"), ("a\nb", "is not a token")])
async def test_what_is_no_token(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        await BearerToken(mounted(tmp_path, content=content)).prepare()


async def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(Unusable, match="is not UTF-8 text"):
        await BearerToken(mounted(tmp_path)).prepare()


def test_a_key_that_is_a_directory_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    with pytest.raises(Unusable, match="cannot be read"):
        mounted(tmp_path).read()


def test_the_sentences_for_what_is_missing(tmp_path: Path) -> None:
    def sentence(what: str = "Secret", namespace: str = "rad") -> tuple[Reason, str]:
        with pytest.raises((Missing, Unusable)) as caught:
            mounted(tmp_path, "key.json", what=what).read()
        return explain(caught.value, namespace)  # type: ignore[arg-type]

    assert sentence() == (Reason.SECRET_MISSING, "Secret 'pacs' does not exist in namespace 'rad'; create it, no restart is needed")
    (tmp_path / "..data").mkdir()
    assert sentence("ConfigMap", "") == (
        Reason.SECRET_MISSING,
        f"ConfigMap 'pacs' does not exist: there is nothing in {tmp_path}; create it, no restart is needed",
    )
    (tmp_path / "sa.json").touch()
    assert sentence() == (Reason.SECRET_MISSING, "Secret 'pacs' has no key 'key.json' (it has 'sa.json'); add it, no restart is needed")
    assert explain(Unusable(Mounted("Secret", "pacs", "token", tmp_path), "is empty"), "") == (
        Reason.CREDENTIALS_UNAVAILABLE,
        "Secret 'pacs', key 'token': is empty; correct it, no restart is needed",
    )
    assert explain(CredentialsUnavailable("x"), "") == (Reason.CREDENTIALS_UNAVAILABLE, "x")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (CredentialKind.NONE, NoCredentials),
        (CredentialKind.CLIENT_CERTIFICATE, NoCredentials),
        (CredentialKind.BEARER, BearerToken),
        (CredentialKind.BASIC, BasicAuth),
        (CredentialKind.GOOGLE_KEY, GoogleTokens),
        (CredentialKind.GOOGLE_DEFAULT, GoogleTokens),
    ],
)
def test_each_kind_of_credentials(kind: CredentialKind, kept: type, tmp_path: Path) -> None:
    assert isinstance(access(Credentials(kind, ObjectKey("pacs", "token")), tmp_path).credentials, kept)


async def test_secrets_and_config_maps_are_looked_for_by_name(tmp_path: Path) -> None:
    directory = tmp_path / "secrets" / "pacs"
    directory.mkdir(parents=True)
    (directory / "token").write_text("x")
    found = access(Credentials(CredentialKind.BEARER, ObjectKey("pacs", "token"), ca_bundle=ObjectKey("ca", "ca.crt")), tmp_path)
    with pytest.raises(Missing) as caught:
        await found.prepare()
    assert caught.value.mounted == Mounted("ConfigMap", "ca", "ca.crt", tmp_path / "configmaps" / "ca")
    assert (await found.credentials.headers())["Authorization"] == "Bearer x"


# -- TLS ---------------------------------------------------------------------------------------


def test_without_a_bundle_the_default_context_is_used() -> None:
    tls = StoreTls(None)
    tls.prepare()
    assert tls.context() is None


def test_a_bundle_is_loaded_again_when_it_changes_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    pem = Authority().certificate
    tls = StoreTls(mounted(tmp_path, "ca.crt", pem, "ConfigMap"))
    tls.prepare()
    first = tls.context()
    assert first is not None
    assert any(dict(pair[0] for pair in ca["subject"]).get("commonName") == "hospital-ca" for ca in first.get_ca_certs())  # type: ignore[misc]
    assert tls.context() is first
    (tmp_path / "ca.crt").write_text(pem + "\n")
    second = tls.context()
    assert second is not first
    (tmp_path / "ca.crt").write_text("nothing")
    assert tls.context() is second


def test_a_bundle_without_certificates_is_unusable(tmp_path: Path) -> None:
    tls = StoreTls(mounted(tmp_path, "ca.crt", "nothing", "ConfigMap"))
    with pytest.raises(Unusable, match="holds no certificates in PEM form"):
        tls.prepare()
    with pytest.raises(Unusable):
        tls.context()


def certificate_tls(directory: Path) -> StoreTls:
    return StoreTls(None, ClientCertificate(mounted(directory, "tls.crt"), mounted(directory, "tls.key")))


def test_a_renewed_client_certificate_is_taken_over_when_both_halves_are_there(tmp_path: Path) -> None:
    authority = Authority()
    old, new = authority.issue("old").write(tmp_path), authority.issue("new")
    tls = certificate_tls(old)
    tls.prepare()
    first = tls.context()
    assert first is not None
    (tmp_path / "tls.crt").write_text(new.certificate)
    assert tls.context() is first  # its key has not come yet
    (tmp_path / "tls.key").write_text(new.key)
    assert tls.context() not in (first, None)


@pytest.mark.parametrize(
    ("spoil", "key", "why"),
    [
        ({"tls.key": Authority().issue().key}, "tls.key", "is not the key of the certificate beside it"),
        (
            {"tls.key": private_pem(ec.generate_private_key(ec.SECP256R1()), b"x")},
            "tls.key",
            "is encrypted; write the key without a passphrase",
        ),
        ({"tls.crt": "nothing"}, "tls.crt", "and its key are no certificate chain and private key in PEM form"),
    ],
)
def test_what_is_no_client_certificate(spoil: dict[str, str], key: str, why: str, tmp_path: Path) -> None:
    Authority().issue().write(tmp_path)
    for name, content in spoil.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(Unusable) as caught:
        certificate_tls(tmp_path).prepare()
    assert (caught.value.mounted.key, caught.value.why) == (key, why)


def test_a_client_certificate_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        access(Credentials(CredentialKind.CLIENT_CERTIFICATE, ObjectKey("pair", "tls.crt")), tmp_path).tls.prepare()
    assert caught.value.mounted == Mounted("Secret", "pair", "tls.crt", tmp_path / "secrets" / "pair")


async def test_a_refused_token_is_worth_another_try_when_its_file_has_changed(tmp_path: Path) -> None:
    token = BearerToken(mounted(tmp_path, content="one"))
    basic = BasicAuth(mounted(tmp_path, "username", "u"), mounted(tmp_path, "password", "p"))
    sent = [await one.headers() for one in (token, basic)]
    assert not await token.refused(sent[0])
    assert not await basic.refused(sent[1])
    assert not await NoCredentials().refused({})
    (tmp_path / "token").write_text("two")
    (tmp_path / "password").write_text("q")
    assert await token.refused(sent[0])
    assert await basic.refused(sent[1])

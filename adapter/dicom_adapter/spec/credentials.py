"""`spec.credentials`: one alternative, and the origins that it may go to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from dicom_adapter.config import HEALTHCARE_SCOPE, CredentialKind, Credentials, DicomStore, ObjectKey
from dicom_adapter.reader import Problems, Reader
from dicom_adapter.spec.store import is_google_host

_ALTERNATIVES = tuple(str(kind) for kind in CredentialKind)
_GOOGLE_KINDS = (CredentialKind.GOOGLE_DEFAULT, CredentialKind.GOOGLE_KEY)
_SECRET_KEYS = {CredentialKind.GOOGLE_KEY: "key.json", CredentialKind.BEARER: "token", CredentialKind.CLIENT_CERTIFICATE: "tls.crt"}
_FIXED_KEYS = (CredentialKind.BASIC, CredentialKind.CLIENT_CERTIFICATE)


def read(spec: Reader, store: DicomStore | None, problems: Problems, google_hosts: tuple[str, ...]) -> Credentials:
    """The credentials for `store`; `spec` is the mapping that holds the section."""
    reader = spec.mapping("credentials") or Reader({}, spec.where("credentials"), problems)
    reader.close((*_ALTERNATIVES, "scopes", "caBundle", "proxy", "allowInsecure"))
    chosen = [kind for kind in CredentialKind if reader.has(kind)]
    if len(chosen) > 1:
        spec.problem("credentials", f"holds {' and '.join(chosen)}; keep one of them")
    default = CredentialKind.GOOGLE_DEFAULT if store and store.healthcare_path else CredentialKind.NONE
    kind = chosen[0] if chosen else default
    secret = None
    body = reader.mapping(kind)
    if kind in (CredentialKind.GOOGLE_DEFAULT, CredentialKind.NONE):
        if body:
            body.close(())
    elif body:
        body.close(("name",) if kind in _FIXED_KEYS else ("name", "key"))
        secret = ObjectKey(_object_name(body, "Secret"), _file_name(body, _SECRET_KEYS.get(kind, "username")))
    ca_bundle = _ca_bundle(reader)
    allow_insecure = reader.boolean("allowInsecure", False)
    if store:
        _check_origin(reader, spec.where("dicomStore"), kind, urlsplit(store.url), allow_insecure, google_hosts)
    scopes = reader.texts("scopes", (HEALTHCARE_SCOPE,), 16)
    return Credentials(kind, secret, scopes or (HEALTHCARE_SCOPE,), ca_bundle, allow_insecure, _proxy(reader))


def tls(reader: Reader) -> Credentials:
    """A section that has of credentials what TLS needs, and nothing else."""
    certificate, secret = reader.mapping(CredentialKind.CLIENT_CERTIFICATE), None
    if certificate:
        certificate.close(("name",))
        secret = ObjectKey(_object_name(certificate, "Secret"), _SECRET_KEYS[CredentialKind.CLIENT_CERTIFICATE])
    kind = CredentialKind.CLIENT_CERTIFICATE if secret else CredentialKind.NONE
    return Credentials(kind, secret, ca_bundle=_ca_bundle(reader))


def _ca_bundle(reader: Reader) -> ObjectKey | None:
    bundle = reader.mapping("caBundle")
    if not bundle:
        return None
    bundle.close(("configMap", "key"))
    return ObjectKey(_object_name(bundle, "ConfigMap", "configMap"), _file_name(bundle, "ca.crt"))


def _proxy(reader: Reader) -> str:
    text = reader.text("proxy").rstrip("/")
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        bare = parts.scheme == "http" and parts.hostname and not (parts.path or parts.query or parts.fragment)
        port = parts.port
    except ValueError:
        bare, port = False, None
    if "@" in text:  # said without quoting it: there is a password in it
        reader.problem("proxy", "holds a user or password; write the URL without it")
    elif not bare or port == 0:
        reader.problem("proxy", f"{text[:60]!r} is no HTTP proxy; write http://HOST:PORT")
    return text


def _check_origin(reader: Reader, field: str, kind: CredentialKind, url: Any, allow_insecure: bool, google_hosts: tuple[str, ...]) -> None:
    """A token or password never leaves for an origin other than the one it is for, nor unencrypted unless that is asked for."""
    if kind in _GOOGLE_KINDS and not is_google_host(url.hostname, google_hosts):
        reader.problem(
            kind, f"a Google token goes to Google's hosts only, not to '{url.hostname}'; use another kind of credentials or none: {{}}"
        )
    elif kind in _GOOGLE_KINDS and url.scheme == "http" and is_google_host(url.hostname):
        reader.problem(kind, f"a Google token is not sent over http://; write an https:// URL in {field}")
    elif kind in (CredentialKind.BEARER, CredentialKind.BASIC) and url.scheme == "http" and not allow_insecure:
        what = "the token" if kind is CredentialKind.BEARER else "the password"
        reader.problem(kind, f"{what} would cross the network in the clear; use an https:// dicomStore, or write allowInsecure: true")
    elif kind is CredentialKind.CLIENT_CERTIFICATE and url.scheme == "http":
        reader.problem(kind, f"a client certificate is shown in TLS, which http:// has not; write an https:// URL in {field}")


def _object_name(reader: Reader, what: str, key: str = "name") -> str:
    name = reader.text(key, required=f"write the name of the {what}")
    if "/" in name or name.startswith("."):
        reader.problem(key, f"'{name}' cannot be the name of a {what}; write its name alone")
    return name


def _file_name(reader: Reader, default: str) -> str:
    key = reader.text("key", default)
    if "/" in key or key in (".", ".."):
        reader.problem("key", f"'{key}' cannot be a key; write the name of a key alone")
    return key

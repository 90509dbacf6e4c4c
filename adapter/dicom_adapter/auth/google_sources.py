"""Where Google tokens come from: google-auth's flows for a credential file and for Application Default Credentials.

https://google-auth.readthedocs.io. google-auth and requests are imported only here and only when used. What google-auth says of a failure
may hold addresses of objects and parts of answers: people get a sentence of ours instead, which stays the same while the failure does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dicom_adapter.auth.google import REFRESH_BEFORE, Token
from dicom_adapter.auth.mounted import MountedFile, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable

NO_DEFAULT = (
    "no Google credentials in the pod: give its service account a Google identity (workload identity), "
    "or name a key in spec.credentials.googleKeySecret"
)
NO_ENDPOINT = "Google gave no token: its token server cannot be reached from the pod; is a firewall, NetworkPolicy or proxy in the way?"
NOT_NOW = "Google gave no token: its token server fails at the moment"
NOT_ALLOWED = (
    "Google gave no token: the pod's identity may not act as the service account; grant it roles/iam.workloadIdentityUser on that account "
    "(roles/iam.serviceAccountTokenCreator where an account acts as another)"
)
NOT_ACCEPTED = "Google gave no token: it does not accept the key (deleted, disabled, or the clock is wrong); make a new one"
NO_SCOPE = "Google gave no token: it does not know a scope; correct spec.credentials.scopes"
OTHERWISE = "Google gave no token: it answers with an error; check that the service account exists and is enabled"
_CAUSES = (
    (("iam.serviceAccounts.getAccessToken",), NOT_ALLOWED),
    (("invalid_scope",), NO_SCOPE),
    (("invalid_grant", "invalid_client", "unauthorized_client"), NOT_ACCEPTED),
    (("status: 5", "'code': 5", '"code": 5', "internal_failure", "unavailable", "temporarily"), NOT_NOW),
)


class KeyFileSource:
    """`googleKeySecret`: a credential file of Google's, read again when it changes.

    A service-account key; impersonation, as gcloud writes it; or workload identity federation (external_account), whose own token another
    platform puts into the pod. One that would run a program is refused.
    """

    def __init__(self, file: MountedFile, scopes: Sequence[str], proxy: str = "") -> None:
        self._file = file
        self._scopes = list(scopes)
        self._proxy = proxy
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
        """Reads and checks the file."""
        self._credentials()

    def fetch(self) -> Token:
        """A token for the file as it is now."""
        return _refreshed(self._credentials(), self._proxy)

    def _credentials(self) -> _GoogleCredentials:
        content = self._file.read()
        try:
            found = _from_file(json.loads(content), self._scopes)
        except Exception as error:  # google-auth raises what its parsers raise; their texts may quote the key
            raise Unusable(self._file.mounted, "is not a credential file of Google's: a service-account key, for example") from error
        self.identity = _email(found)
        return found


class DefaultSource:
    """`googleApplicationDefault`: workload identity, the metadata server, or the file in GOOGLE_APPLICATION_CREDENTIALS."""

    stamp: object = None

    def __init__(self, scopes: Sequence[str], proxy: str = "") -> None:
        self._scopes = list(scopes)
        self._proxy = proxy
        self._found: _GoogleCredentials | None = None

    @property
    def identity(self) -> str:
        """Known after the first token on the metadata server; `default` before."""
        return _email(self._found)

    def load(self) -> None:
        """Looks where google-auth looks."""
        if self._found is not None:
            return
        import google.auth
        from google.auth import exceptions

        try:
            self._found = google.auth.default(scopes=self._scopes)[0]
        except exceptions.DefaultCredentialsError as error:
            raise CredentialsUnavailable(NO_DEFAULT) from error

    def fetch(self) -> Token:
        """A token for what was found."""
        self.load()
        assert self._found is not None  # noqa: S101 -- load() has set it or raised
        return _refreshed(self._found, self._proxy)


class _GoogleCredentials(Protocol):
    """google.auth.credentials.Credentials, as far as it is used here."""

    token: str | None
    expiry: object

    def refresh(self, request: object) -> None: ...


def _from_file(info: Mapping[str, Any], scopes: list[str]) -> _GoogleCredentials:
    make: Callable[..., _GoogleCredentials]
    match info["type"]:
        case "service_account":
            from google.oauth2 import service_account

            make = service_account.Credentials.from_service_account_info
        case "impersonated_service_account":
            from google.auth import impersonated_credentials

            make = impersonated_credentials.Credentials.from_impersonated_service_account_info
        case "external_account" if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
            from google.auth import aws

            make = aws.Credentials.from_info
        case "external_account" if "executable" not in info["credential_source"]:
            from google.auth import identity_pool

            make = identity_pool.Credentials.from_info
        case _:
            raise ValueError
    found: _GoogleCredentials = make(info, scopes=scopes)
    return found


def _email(found: object) -> str:
    email = str(getattr(found, "service_account_email", "") or "")
    return "" if email == "default" else email


def _refreshed(credentials: _GoogleCredentials, proxy: str) -> Token:
    import requests
    from google.auth import exceptions
    from google.auth.transport.requests import Request

    with requests.Session() as session:
        if proxy:  # of spec.credentials; the environment's are requests' affair. The metadata server, http://, is always near
            session.trust_env, session.proxies = False, {"https": proxy}
        try:
            credentials.refresh(Request(session=session))
        except (exceptions.GoogleAuthError, OSError) as error:  # OSError: the subject token's file
            raise CredentialsUnavailable(_explained(error)) from error
    expiry = getattr(credentials, "expiry", None)  # naive UTC, or None
    seconds = (expiry - type(expiry)(1970, 1, 1)).total_seconds() if expiry is not None else time.time() + REFRESH_BEFORE + 60
    return Token(credentials.token or "", seconds)


def _explained(error: BaseException) -> str:
    told = " ".join(str(part) for part in error.args)
    for words, sentence in _CAUSES:
        if any(word in told for word in words):
            return sentence
    return NO_ENDPOINT if _unreached(error) else OTHERWISE


def _unreached(error: BaseException | None) -> bool:
    """Whether there was no answer at all."""
    import requests

    while error is not None and not isinstance(error, requests.exceptions.RequestException):
        error = error.__cause__ or error.__context__
    return error is not None

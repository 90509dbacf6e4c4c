"""From `spec.credentials` to what makes request headers and TLS contexts, and the sentences when something of it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_adapter import messages
from dicom_adapter.auth.google import GoogleTokens
from dicom_adapter.auth.google_sources import DefaultSource, KeyFileSource
from dicom_adapter.auth.mounted import Missing, Mounted, MountedFile, Unusable
from dicom_adapter.auth.tls import ClientCertificate, StoreTls
from dicom_adapter.auth.tokens import BasicAuth, BearerToken, CredentialsUnavailable, NoCredentials, StoreCredentials
from dicom_adapter.config import CredentialKind, Credentials, ObjectKey
from dicom_adapter.dicomweb.proxies import Proxies
from dicom_adapter.state import Reason


@dataclass(frozen=True, slots=True)
class Access:
    """How the store is to be approached."""

    credentials: StoreCredentials
    tls: StoreTls

    async def prepare(self) -> None:
        """Raises Missing, Unusable or CredentialsUnavailable while something is not there."""
        self.tls.prepare()
        await self.credentials.prepare()


def access(spec: Credentials, mounts: Path) -> Access:
    """Builds it; nothing is read yet."""

    def secret(key: str = "") -> MountedFile:
        wanted = spec.secret or ObjectKey("", "")
        return MountedFile(Mounted("Secret", wanted.name, key or wanted.key, mounts / "secrets" / wanted.name))

    bundle = spec.ca_bundle
    certificate = ClientCertificate(secret("tls.crt"), secret("tls.key")) if spec.kind is CredentialKind.CLIENT_CERTIFICATE else None
    tls = StoreTls(
        MountedFile(Mounted("ConfigMap", bundle.name, bundle.key, mounts / "configmaps" / bundle.name)) if bundle else None, certificate
    )
    credentials: StoreCredentials
    match spec.kind:
        case CredentialKind.GOOGLE_DEFAULT:
            credentials = GoogleTokens(DefaultSource(spec.scopes, spec.proxy))
        case CredentialKind.GOOGLE_KEY:
            credentials = GoogleTokens(KeyFileSource(secret(), spec.scopes, spec.proxy))
        case CredentialKind.BEARER:
            credentials = BearerToken(secret())
        case CredentialKind.BASIC:
            credentials = BasicAuth(secret("username"), secret("password"))
        case CredentialKind.NONE | CredentialKind.CLIENT_CERTIFICATE:  # a certificate speaks in the handshake
            credentials = NoCredentials()
    return Access(credentials, tls)


def proxies(spec: Credentials, environment: Proxies) -> Proxies:
    """`spec.credentials.proxy`, or what the environment says."""
    return Proxies.always(spec.proxy) if spec.proxy else environment


def explain(error: Missing | Unusable | CredentialsUnavailable, namespace: str) -> tuple[Reason, str]:
    """Reason and sentence of what Access.prepare has raised."""
    if isinstance(error, CredentialsUnavailable):
        return Reason.CREDENTIALS_UNAVAILABLE, error.text
    mounted = error.mounted
    if isinstance(error, Unusable):
        return Reason.CREDENTIALS_UNAVAILABLE, messages.key_unusable(mounted.what, mounted.name, mounted.key, error.why)
    if error.others:
        return Reason.SECRET_MISSING, messages.key_missing(mounted.what, mounted.name, mounted.key, error.others)
    return Reason.SECRET_MISSING, messages.object_missing(mounted.what, mounted.name, namespace, str(mounted.directory))

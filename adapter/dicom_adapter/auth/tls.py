"""TLS towards the store: the system's CAs, those of `spec.credentials.caBundle` beside them, and our own certificate if it wants one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from dicom_adapter.auth.mounted import MountedFile, Unusable


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """`clientCertificateSecret`: a Secret of type kubernetes.io/tls."""

    chain: MountedFile
    key: MountedFile


class StoreTls:
    """The TLS context for each new connection, made again when a mounted file has changed. A bad file changes nothing while we run."""

    def __init__(self, bundle: MountedFile | None, certificate: ClientCertificate | None = None) -> None:
        self._bundle = bundle
        self._certificate = certificate
        self._files = [file for file in (bundle, *((certificate.chain, certificate.key) if certificate else ())) if file]
        self._context: ssl.SSLContext | None = None
        self._stamps: list[object] = []

    def prepare(self) -> None:
        """Raises Missing or Unusable."""
        if self._files:
            self._load()

    def context(self) -> ssl.SSLContext | None:
        """None stands for the default context."""
        if not self._files:
            return None
        try:
            self._load()
        except Unusable:
            if self._context is None:
                raise
        return self._context

    def _load(self) -> None:
        for file in self._files:
            file.read()
        stamps = [file.stamp for file in self._files]
        if self._context is not None and stamps == self._stamps:
            return
        self._stamps = stamps
        context = ssl.create_default_context()
        if self._bundle:
            _trust(context, self._bundle)
        if self._certificate:
            _present(context, self._certificate)
        self._context = context


def _trust(context: ssl.SSLContext, bundle: MountedFile) -> None:
    try:
        context.load_verify_locations(cadata=bundle.read().decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise Unusable(bundle.mounted, "holds no certificates in PEM form") from error


def _present(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    encrypted = False

    def password() -> str:  # without it OpenSSL would ask on the terminal
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        # Python's ssl takes paths alone. A Secret that is being replaced may give two halves that do not fit: the next look finds both.
        context.load_cert_chain(certificate.chain.mounted.path, certificate.key.mounted.path, password)
    except (ssl.SSLError, OSError) as error:
        if encrypted:
            raise Unusable(certificate.key.mounted, "is encrypted; write the key without a passphrase") from error
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise Unusable(certificate.key.mounted, "is not the key of the certificate beside it") from error
        raise Unusable(certificate.chain.mounted, "and its key are no certificate chain and private key in PEM form") from error

"""TLS towards the store: the system's CAs, and those of `spec.credentials.caBundle` beside them."""

from __future__ import annotations

import ssl

from dicom_adapter.auth.mounted import MountedFile, Unusable


class StoreTls:
    """The TLS context for each new connection, made again when the mounted CA bundle has changed."""

    def __init__(self, bundle: MountedFile | None) -> None:
        self._bundle = bundle
        self._context: ssl.SSLContext | None = None
        self._stamp: object = None

    def prepare(self) -> None:
        """Raises Missing or Unusable."""
        if self._bundle is not None:
            self._load(self._bundle)

    def context(self) -> ssl.SSLContext | None:
        """None stands for the default context."""
        if self._bundle is None:
            return None
        try:
            self._load(self._bundle)
        except Unusable:
            if self._context is None:
                raise
        return self._context

    def _load(self, bundle: MountedFile) -> None:
        content = bundle.read()
        if self._context is not None and bundle.stamp == self._stamp:
            return
        self._stamp = bundle.stamp
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(cadata=content.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise Unusable(bundle.mounted, "holds no certificates in PEM form") from error
        self._context = context

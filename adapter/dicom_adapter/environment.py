"""What the adapter takes from its environment: read in one place, passed on as a value."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_adapter import google_flags, messages
from dicom_adapter.config import Config, CredentialKind, Credentials
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies

SPOOL_DIRECTORY = "/var/spool/dicom-adapter"  # the volume of the pod; --spool_directory names another
TEMPORARY_DIRECTORY = "/tmp"  # noqa: S108 -- the writable emptyDir of the pod; what is made there is unlinked at once


class CannotRun(Exception):
    """The configuration is right, but this machine cannot run it: exit status 1 and this one line."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables that count, under their own names."""

    pod_namespace: str = ""
    pod_name: str = ""
    google_application_credentials: str = ""
    google: Mapping[str, str] = field(default_factory=dict)
    temporary_directory: str = TEMPORARY_DIRECTORY
    proxies: Proxies = NO_PROXIES

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Environment:
        """From os.environ."""
        return cls(
            pod_namespace=variables.get("POD_NAMESPACE", ""),
            pod_name=variables.get("POD_NAME", ""),
            google_application_credentials=variables.get("GOOGLE_APPLICATION_CREDENTIALS", ""),
            google={name: variables.get(name, "") for name in google_flags.VARIABLES},
            temporary_directory=variables.get("TMPDIR", "") or TEMPORARY_DIRECTORY,
            proxies=_proxies(variables),
        )

    def check(self, config: Config) -> None:
        """Raises CannotRun for what would fail only at the first image."""
        try:
            with tempfile.TemporaryFile(dir=self.temporary_directory) as file:
                file.write(b"\0")
        except OSError as error:
            raise CannotRun(messages.cannot_write_temporary(self.temporary_directory, error.strerror or "no access")) from error
        self.check_key_file(config.credentials)

    def check_key_file(self, credentials: Credentials) -> None:
        """Raises CannotRun when GOOGLE_APPLICATION_CREDENTIALS is needed and cannot be read."""
        path = self.google_application_credentials
        if path and credentials.kind is CredentialKind.GOOGLE_DEFAULT:
            try:
                Path(path).read_bytes()
            except OSError as error:
                raise CannotRun(messages.cannot_read_key_file(path, error.strerror or "no access")) from error


def _proxies(variables: Mapping[str, str]) -> Proxies:
    """The lower-case spelling first, as curl has it: HTTP_PROXY alone could come from a CGI request's header, but we serve none."""

    def value(name: str) -> str:
        return variables.get(name.lower(), "") or variables.get(name, "")

    everything = value("ALL_PROXY")
    direct = tuple(entry.strip() for entry in value("NO_PROXY").split(",") if entry.strip())
    return Proxies(value("HTTP_PROXY") or everything, value("HTTPS_PROXY") or everything, direct)

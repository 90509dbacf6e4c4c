"""The flags of Google's import adapter that this version serves, each mapped onto the field that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_adapter.config import ConfigError, LogLevel


@dataclass(frozen=True, slots=True)
class GoogleFlag:
    """A flag in Google's spelling, and the field of the document that it sets."""

    name: str
    value: str
    path: str
    help: str
    switch: bool = False


GOOGLE_FLAGS = (
    GoogleFlag("--dimse_aet", "TITLE", "spec.aeTitle", "the AE title that senders call (aeTitle)"),
    GoogleFlag("--dimse_port", "PORT", "spec.port", "the port to listen on (port, default 11112)"),
    GoogleFlag(
        "--dicomweb_address", "STORE", "spec.dicomStore", "the DICOMweb base URL, or a Cloud Healthcare path projects/... (dicomStore)"
    ),
    GoogleFlag("--oauth_scopes", "A,B", "spec.credentials.scopes", "scopes of Google tokens, separated by commas (credentials.scopes)"),
    GoogleFlag("--verbose", "", "spec.logLevel", "log everything (logLevel: Debug)", switch=True),
)
ALIASES: Mapping[str, str] = {flag.path: flag.name for flag in GOOGLE_FLAGS}


def overrides(values: Mapping[str, str], errors: list[ConfigError]) -> dict[str, Any]:
    """The values of these flags by the dotted path of the field that each sets. An empty value is Google's way to say `not set`."""
    found: dict[str, Any] = {}
    for flag in GOOGLE_FLAGS:
        value = values.get(flag.name, "")
        if not value:
            continue
        if flag.name == "--dimse_port":
            port = port_number(flag.name, value, errors)
            if port is not None:
                found[flag.path] = port
        elif flag.name == "--oauth_scopes":
            found[flag.path] = [scope.strip() for scope in value.split(",") if scope.strip()]
        elif flag.name == "--verbose":
            if value == "true":
                found[flag.path] = str(LogLevel.DEBUG)
        elif flag.name == "--dicomweb_address":
            found[flag.path] = value.strip("/")
        else:
            found[flag.path] = value
    return found


def port_number(name: str, value: str, errors: list[ConfigError]) -> int | None:
    """A port from a flag's text."""
    if value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 65535:
        return int(value)
    errors.append(ConfigError(name, f"'{value[:20]}' is not a port; write a number from 1 to 65535"))
    return None

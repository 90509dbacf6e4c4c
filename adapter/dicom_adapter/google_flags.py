"""The flags of Google's import adapter that this version serves, each mapped onto the field that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_adapter.config import ConfigError, LogLevel, OnConflict, Retry


def _text(value: str) -> str:
    return value


def _number(what: str, low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if value.isascii() and value.isdigit() and low <= int(value[:9]) <= high:
            return int(value)
        raise ValueError(f"'{value[:20]}' is not {what}; write a number from {low} to {high}")

    return read


_port = _number("a port", 1, 65535)
_retries = _number("a number of retries", 0, 19)


def _list(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _codes(value: str) -> list[int]:
    """Google's adapter always retries 5xx; these come on top."""
    return sorted({*Retry().status_codes, *(_number("an HTTP status", 400, 599)(item) for item in _list(value.strip("[]")))})


def _if_true(meaning: str) -> Callable[[str], str | None]:
    return lambda value: meaning if value == "true" else None


@dataclass(frozen=True, slots=True)
class GoogleFlag:
    """A flag in Google's spelling, the field of the document that it sets, and how its value is read (ValueError: what to write)."""

    name: str
    value: str
    path: str
    help: str
    read: Callable[[str], Any] = _text
    switch: bool = False


GOOGLE_FLAGS = (
    GoogleFlag("--dimse_aet", "TITLE", "spec.aeTitle", "the AE title that senders call (aeTitle)"),
    GoogleFlag("--dimse_port", "PORT", "spec.port", "the port to listen on (port, default 11112)", _port),
    GoogleFlag(
        "--dicomweb_address",
        "STORE",
        "spec.dicomStore",
        "the DICOMweb base URL, or a Cloud Healthcare path projects/... (dicomStore)",
        lambda value: value.strip("/"),
    ),
    GoogleFlag(
        "--oauth_scopes", "A,B", "spec.credentials.scopes", "scopes of Google tokens, separated by commas (credentials.scopes)", _list
    ),
    GoogleFlag(
        "--stow_overwrite",
        "",
        "spec.delivery.onConflict",
        "replace what the store has with other content (delivery.onConflict: Overwrite)",
        _if_true(OnConflict.OVERWRITE),
        switch=True,
    ),
    GoogleFlag(
        "--persistent_file_upload_retry_amount",
        "N",
        "spec.delivery.retry.maxAttempts",
        "further attempts after the first one (delivery.retry.maxAttempts is one more)",
        lambda value: _retries(value) + 1,
    ),
    GoogleFlag(
        "--min_upload_delay",
        "MS",
        "spec.delivery.retry.initialDelayMilliseconds",
        "the longest pause before the second attempt (delivery.retry.initialDelayMilliseconds)",
        _number("a number of milliseconds", 10, 60_000),
    ),
    GoogleFlag(
        "--max_waiting_time_between_uploads",
        "MS",
        "spec.delivery.retry.maxDelayMilliseconds",
        "the longest pause before any attempt (delivery.retry.maxDelayMilliseconds)",
        _number("a number of milliseconds", 10, 300_000),
    ),
    GoogleFlag(
        "--http_error_codes_to_retry",
        "A,B",
        "spec.delivery.retry.statusCodes",
        "HTTP statuses to try again after, besides the usual ones (delivery.retry.statusCodes)",
        _codes,
    ),
    GoogleFlag("--verbose", "", "spec.logLevel", "log everything (logLevel: Debug)", _if_true(LogLevel.DEBUG), switch=True),
)
ALIASES: Mapping[str, str] = {flag.path: flag.name for flag in GOOGLE_FLAGS}


@dataclass(frozen=True, slots=True)
class IdleFlag:
    """A flag of Google's adapter that an existing Deployment may go on giving: it changes nothing, and `notice` says why."""

    name: str
    value: str
    notice: str
    switch: bool = False


IDLE_FLAGS = (
    IdleFlag("--stow_http2", "", "connections are kept and shared, images go over HTTP/1.1 in either case; remove the flag", switch=True),
    IdleFlag("--monitoring_project_id", "PROJECT", "metrics are served at /metrics, for Prometheus to collect; remove the flag"),
)


def notices(values: Mapping[str, str]) -> list[str]:
    """What to say of the flags that change nothing."""
    return [f"{flag.name} has no effect: {flag.notice}" for flag in IDLE_FLAGS if values.get(flag.name)]


def overrides(values: Mapping[str, str], errors: list[ConfigError]) -> dict[str, Any]:
    """The values of these flags by the dotted path of the field that each sets. An empty value is Google's way to say `not set`."""
    found: dict[str, Any] = {}
    for flag in GOOGLE_FLAGS:
        if not (value := values.get(flag.name, "")):
            continue
        try:
            read = flag.read(value)
        except ValueError as error:
            errors.append(ConfigError(flag.name, str(error)))
        else:
            if read is not None:
                found[flag.path] = str(read) if isinstance(read, str) else read
    return found


def port_number(name: str, value: str, errors: list[ConfigError]) -> int | None:
    """A port from a flag's text."""
    try:
        return _port(value)
    except ValueError as error:
        errors.append(ConfigError(name, str(error)))
        return None

"""The flags of Google's import adapter that this version serves, each mapped onto the field that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dicom_adapter import google_routes
from dicom_adapter.config import Acknowledge, ConfigError, LogLevel, OnConflict, Retry, Routing
from dicom_adapter.google_routes import Fields


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


def comma_separated(value: str) -> list[str]:
    """`a,b`."""
    return [item.strip() for item in value.split(",") if item.strip()]


def _codes(value: str) -> list[int]:
    """Google's adapter always retries 5xx; these come on top."""
    return sorted({*Retry().status_codes, *(_number("an HTTP status", 400, 599)(item) for item in comma_separated(value.strip("[]")))})


_MAXIMUM_DICTIONARY = 1 << 20
_AE = ("name", "host", "port")


def _dictionary(text: str) -> list[dict[str, Any]]:
    """An AE dictionary: Google's parser takes single quotes, bare words and a comma too many, and so does YAML."""
    try:
        entries = yaml.safe_load(text.replace("\t", " "))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError("is no JSON; write [{name: AE, host: HOST, port: PORT}]") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("is no list of AEs; write [{name: AE, host: HOST, port: PORT}]")
    for number, entry in enumerate(entries):
        if missing := [key for key in _AE if entry.get(key) in (None, "")]:
            more = [str(key)[:20] for key in entry if key not in _AE]
            there = f" (it has '{more[0]}', which means nothing here)" if more else ""
            raise ValueError(f"entry {number} has no {missing[0]}{there}; write name, host and port")
    return [{"aeTitle": str(entry["name"]), "host": str(entry["host"]), "port": _number_of(entry["port"])} for entry in entries]


def _number_of(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _from_file(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def of(path: str) -> Any:
        try:
            with Path(path).open("rb") as file:
                return read(file.read(_MAXIMUM_DICTIONARY).decode("utf-8"))
        except OSError as error:
            raise ValueError(f"cannot read '{path[:200]}' ({error.strerror or 'no access'}); name a readable file") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"'{path[:200]}' is not UTF-8 text; write JSON") from error

    return of


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
        "--oauth_scopes",
        "A,B",
        "spec.credentials.scopes",
        "scopes of Google tokens, separated by commas (credentials.scopes)",
        comma_separated,
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
    GoogleFlag(
        "--aet_dictionary",
        "FILE",
        "spec.peers",
        'a file with the known AEs as JSON, [{"name": AE, "host": HOST, "port": PORT}] (peers)',
        _from_file(_dictionary),
    ),
    GoogleFlag(
        "--aet_dictionary_inline",
        "JSON",
        "spec.peers",
        "the same JSON itself; it wins over --aet_dictionary, which wins over ENV_AETS_JSON (peers)",
        _dictionary,
    ),
    GoogleFlag(
        "--destination_config_path",
        "FILE",
        "spec.routes",
        'a file with further destinations as JSON, [{"filter": FILTER, "dicomweb_destination": URL}] (destinations, routes)',
        _from_file(google_routes.read),
    ),
    GoogleFlag(
        "--destination_config_inline",
        "JSON",
        "spec.routes",
        "the same JSON itself; it wins over --destination_config_path, which wins over ENV_DESTINATION_CONFIG_JSON (destinations, routes)",
        google_routes.read,
    ),
    GoogleFlag(
        "--send_to_all_matching_destinations",
        "",
        "spec.routing",
        "to the destinations of every filter that matches, not of the first one alone (routing: AllMatches)",
        _if_true(Routing.ALL_MATCHES),
        switch=True,
    ),
    GoogleFlag(
        "--fuzzy_matching",
        "",
        "spec.query.fuzzyMatching",
        "ask the store to match names as people write them (query.fuzzyMatching)",
        lambda value: True if value == "true" else None,
        switch=True,
    ),
    GoogleFlag("--dimse_cmove_aet", "TITLE", "spec.callingAETitle", "the AE title of the adapter's own calls (callingAETitle)"),
    GoogleFlag(
        "--persistent_file_storage_location",
        "DIRECTORY",
        "",
        "the same as --spool_directory; what Google's adapter has left there is delivered",
    ),
    GoogleFlag(
        "--auto_ack_cstore",
        "",
        "spec.delivery.acknowledge",
        "answer a sender when the image is on disk (delivery.acknowledge: AfterSpool)",
        _if_true(Acknowledge.AFTER_SPOOL),
        switch=True,
    ),
    GoogleFlag("--verbose", "", "spec.logLevel", "log everything (logLevel: Debug)", _if_true(LogLevel.DEBUG), switch=True),
)
ALIASES: Mapping[str, str] = {flag.path: flag.name for flag in GOOGLE_FLAGS if flag.path}
_VARIABLES: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("spec.peers", "ENV_AETS_JSON", _dictionary),
    ("spec.routes", "ENV_DESTINATION_CONFIG_JSON", google_routes.read),
)
VARIABLES = tuple(name for _, name, _ in _VARIABLES)


def aliases(values: Mapping[str, str]) -> dict[str, str]:
    """What to call a field in an error: the flag that has set it, else the one that could have."""
    given = {flag.path: flag.name for flag in GOOGLE_FLAGS if flag.path and values.get(flag.name)}
    return {**ALIASES, **given, "spec.destinations": given.get("spec.routes", ALIASES["spec.routes"])}


def from_environment(variables: Mapping[str, str], found: dict[str, Any], named: dict[str, str], errors: list[ConfigError]) -> None:
    """What Google's adapter takes from its environment when no flag says it: added to `found`, and its name to `named` for errors."""
    for path, name, read in _VARIABLES:
        if path not in found and (text := variables.get(name)):
            try:
                fields = read(text)
            except ValueError as error:
                errors.append(ConfigError(name, str(error)))
                continue
            fields = fields if isinstance(fields, Fields) else Fields({path: fields})
            found |= fields
            named |= dict.fromkeys(fields, name)


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
        if not flag.path or not (value := values.get(flag.name, "")):
            continue
        try:
            read = flag.read(value)
        except ValueError as error:
            errors.append(ConfigError(flag.name, str(error)))
        else:
            if isinstance(read, Fields):
                found |= read
            elif read is not None:
                found[flag.path] = str(read) if isinstance(read, str) else read
    return found


def spool_directory(values: Mapping[str, str], errors: list[ConfigError]) -> str:
    """Where the spool is: our own flag wins over Google's. A bucket is no place for it."""
    google = values.get("--persistent_file_storage_location", "")
    if google.startswith("gs://"):
        errors.append(
            ConfigError(
                "--persistent_file_storage_location", f"'{google[:80]}' is a bucket, which cannot be a spool; name a directory on a volume"
            )
        )
    elif values.get("--auto_ack_cstore") == "true" and not (google or values.get("--spool_directory")):
        errors.append(
            ConfigError("--auto_ack_cstore", "needs a place for the images; name a directory with --persistent_file_storage_location")
        )
    return values.get("--spool_directory", "") or google


def port_number(name: str, value: str, errors: list[ConfigError]) -> int | None:
    """A port from a flag's text."""
    try:
        return _port(value)
    except ValueError as error:
        errors.append(ConfigError(name, str(error)))
        return None

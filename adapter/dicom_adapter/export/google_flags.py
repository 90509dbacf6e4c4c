"""The flags of Google's export adapter, each mapped onto the field that it stands for, and how two of them make one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicom_adapter.config import ConfigError, LogLevel
from dicom_adapter.export import messages
from dicom_adapter.google_flags import GoogleFlag, IdleFlag, comma_separated, port_number

_PEER, _WEB, _SUBSCRIPTION = "spec.destination.peer", "spec.destination.dicomweb", "spec.source.pubsub.subscription"


class WrongPeers(Exception):
    """Both kinds of destination, or none: Google's sentence, and exit status 1."""


GOOGLE_FLAGS = (
    GoogleFlag("--project_id", "PROJECT", _SUBSCRIPTION, "the project of the subscription (source.pubsub.subscription)"),
    GoogleFlag("--subscription_id", "ID", _SUBSCRIPTION, "the subscription to pull from (source.pubsub.subscription)"),
    GoogleFlag(
        "--dicomweb_addr",
        "STORE",
        "spec.source.dicomStore",
        "the DICOMweb base URL to fetch from, or a Cloud Healthcare path projects/... (source.dicomStore)",
        lambda value: value.strip("/"),
    ),
    GoogleFlag("--peer_dimse_aet", "TITLE", f"{_PEER}.aeTitle", "the AE title to send to (destination.peer.aeTitle)"),
    GoogleFlag("--peer_dimse_ip", "HOST", f"{_PEER}.host", "its address, or its name (destination.peer.host)"),
    GoogleFlag("--peer_dimse_port", "PORT", f"{_PEER}.port", "its port (destination.peer.port)"),
    GoogleFlag("--client_aet", "TITLE", "spec.callingAETitle", "the AE title to call as (callingAETitle, default EXPORTADAPTER)"),
    GoogleFlag("--peer_dicomweb_address", "STORE", f"{_WEB}.url", "the DICOMweb base URL to send to (destination.dicomweb.url)"),
    GoogleFlag("--peer_dicomweb_addr", "URL", f"{_WEB}.url", "the same, in two parts with the next"),
    GoogleFlag("--peer_dicomweb_stow_path", "PATH", f"{_WEB}.url", "its path, with or without /studies"),
    GoogleFlag(
        "--use_gcp_application_default_credentials",
        "",
        f"{_WEB}.credentials",
        "send our Google credentials to that DICOMweb service, which has to be Google's (destination.dicomweb.credentials)",
        switch=True,
    ),
    GoogleFlag("--oauth_scopes", "A,B", "spec.source.credentials.scopes", "scopes of Google tokens (source.credentials.scopes)"),
    GoogleFlag("--verbose", "", "spec.logLevel", "log everything (logLevel: Debug)", switch=True),
)
ALIASES: Mapping[str, str] = {flag.path: flag.name for flag in reversed(GOOGLE_FLAGS)}
IDLE_FLAGS = (IdleFlag("--monitoring_project_id", "PROJECT", "metrics are served at /metrics, for Prometheus to collect; remove the flag"),)


def notices(values: Mapping[str, str]) -> list[str]:
    """What to say of the flags that change nothing."""
    return [f"{flag.name} has no effect: {flag.notice}" for flag in IDLE_FLAGS if values.get(flag.name)]


def overrides(values: Mapping[str, str], errors: list[ConfigError], *, document: bool) -> dict[str, Any]:
    """The values by the dotted path of the field that each sets. Without a `document` the destination is among them: raises WrongPeers."""
    given = {name: value for name, value in values.items() if value}
    found: dict[str, Any] = {}
    project, subscription = given.get("--project_id"), given.get("--subscription_id")
    if project and subscription:
        found[_SUBSCRIPTION] = f"projects/{project}/subscriptions/{subscription}"
    elif project or subscription:
        missing = "--subscription_id" if project else "--project_id"
        errors.append(ConfigError(missing, "is missing; --project_id and --subscription_id name a subscription together"))
    for flag in GOOGLE_FLAGS[2:7]:
        if value := given.get(flag.name):
            read = port_number(flag.name, value, errors) if flag.name == "--peer_dimse_port" else flag.read(value)
            if read is not None:
                found[flag.path] = read
    if url := _web_url(given):
        found[f"{_WEB}.url"] = url
    if given.get("--use_gcp_application_default_credentials") == "true":
        found[f"{_WEB}.credentials"] = {"googleApplicationDefault": {}}
    if scopes := given.get("--oauth_scopes"):
        found["spec.source.credentials.scopes"] = comma_separated(scopes)
    if given.get("--verbose") == "true":
        found["spec.logLevel"] = str(LogLevel.DEBUG)
    dimse = any(given.get(flag.name) for flag in GOOGLE_FLAGS[3:6])
    if dimse and url:
        raise WrongPeers(messages.BOTH_PEERS)
    if not document and not dimse and not url:
        raise WrongPeers(messages.NO_PEER)
    return found


def _web_url(given: Mapping[str, str]) -> str:
    """Google's adapter adds /studies to the first form and takes the second as it is written."""
    if url := given.get("--peer_dicomweb_address", ""):
        return url.rstrip("/")
    base, path = given.get("--peer_dicomweb_addr", "").rstrip("/"), given.get("--peer_dicomweb_stow_path", "").strip("/")
    return f"{base}/{path}".rstrip("/").removesuffix("/studies") if base else ""

"""`spec.dicomStore`: from what people write to a DICOMweb base URL (PS3.18 section 8.2), or a sentence that says what to write instead."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from dicom_adapter.config import DicomStore

HEALTHCARE_ORIGIN = "https://healthcare.googleapis.com"
_SHAPE = "projects/P/locations/L/datasets/D/dicomStores/S"
_PATH = re.compile(r"projects/[^/\s?#]+/locations/[^/\s?#]+/datasets/[^/\s?#]+/dicomStores/[^/\s?#]+")
_URL_PATH = re.compile(rf"/v1(?:beta1)?/({_PATH.pattern})/dicomWeb")
_MAXIMUM = 2048
_LEGAL = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")  # RFC 3986
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,254}}$)(?:{_LABEL}\.)*{_LABEL}\.?")


def parse(text: str, is_google: Callable[[str], bool]) -> DicomStore:
    """Returns the store that `text` names; raises ValueError with the sentence for the user. `is_google`: of a host's name."""
    if len(text) > _MAXIMUM:
        raise ValueError(f"has {len(text)} characters; write at most {_MAXIMUM}")
    value = text.strip().rstrip("/")
    if value.endswith("/studies"):
        raise ValueError(f"must not end in /studies, the adapter adds that itself; write '{value.removesuffix('/studies')}'")
    if "://" not in value:
        return _parse_path(value.lstrip("/"))
    return _parse_url(value, is_google)


def _parse_path(value: str) -> DicomStore:
    if _PATH.fullmatch(value):
        _check_characters(value)
        return DicomStore(url=f"{HEALTHCARE_ORIGIN}/v1/{value}/dicomWeb", healthcare_path=value)
    if value.startswith("projects"):
        raise ValueError(f"'{value}' is not the whole path of a DICOM store; write {_SHAPE}")
    raise ValueError(f"'{value}' is neither a Cloud Healthcare path nor a URL; write {_SHAPE} or https://HOST/PATH")


def _parse_url(value: str, is_google: Callable[[str], bool]) -> DicomStore:
    scheme, _, rest = value.partition("://")
    if scheme.lower() not in ("http", "https"):
        raise ValueError(f"has the scheme '{scheme}'; write an http:// or https:// URL")
    if re.search(r"\s", value):
        raise ValueError("holds white space; write one URL")
    if "@" in rest.partition("/")[0]:  # said without quoting it: there is a password in it
        raise ValueError("holds a user or password; write the URL without it and name a Secret in spec.credentials.basicAuthSecret")
    _check_characters(value)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0 or not _is_host(host):
        raise ValueError(f"'{value}' has no valid host and port; write https://HOST/PATH")
    if "?" in value or "#" in value:
        raise ValueError("holds a query or fragment; write the base URL alone, without ? and #")
    match = _URL_PATH.fullmatch(parts.path) if is_google(host) else None
    if host != "healthcare.googleapis.com":
        return DicomStore(url=value, healthcare_path=match.group(1) if match else None)  # Google's regional endpoints among them
    if parts.scheme != "https" or match is None or port not in (None, 443):
        raise ValueError(f"'{value}' is not the address of a Cloud Healthcare DICOM store; write {HEALTHCARE_ORIGIN}/v1/{_SHAPE}/dicomWeb")
    return DicomStore(url=value, healthcare_path=match.group(1))


def _check_characters(value: str) -> None:
    if not _LEGAL.fullmatch(value):
        raise ValueError("holds characters that a URL cannot hold; write them percent-encoded, and a host name in its xn-- form")


def _is_host(host: str) -> bool:
    """An address, or a name that a resolver takes; what looks like half an IPv4 address is neither."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None and not host.rstrip(".").rpartition(".")[2].isdigit()
    return True

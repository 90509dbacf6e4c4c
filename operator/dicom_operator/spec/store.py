"""`dicomStore`: where images go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from dicom_operator import messages
from dicom_operator.errors import SpecError

HEALTHCARE_PATH = re.compile(r"projects/[^/]+/locations/[^/]+/datasets/[^/]+/dicomStores/[^/]+")
HEALTHCARE_HOST = "healthcare.googleapis.com"


@dataclass(frozen=True, slots=True)
class Store:
    """Where images go."""

    text: str
    host: str
    port: int
    secure: bool
    healthcare: bool


def parse_store(text: str, path: str = "spec.dicomStore") -> Store:
    """A Cloud Healthcare path or a DICOMweb base URL; raises SpecError with what to write instead."""
    text = text.rstrip("/")
    if text.endswith("/studies"):
        raise SpecError(path, messages.store_studies())
    if text.startswith("projects/"):
        if not HEALTHCARE_PATH.fullmatch(text):
            raise SpecError(path, messages.store_path_incomplete())
        return Store(text, HEALTHCARE_HOST, 443, secure=True, healthcare=True)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SpecError(path, messages.store_scheme()) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SpecError(path, messages.store_scheme())
    if parts.username is not None or parts.password is not None:
        raise SpecError(path, messages.store_userinfo())
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise SpecError(path, messages.store_query())
    secure = parts.scheme == "https"
    return Store(text, parts.hostname, port or (443 if secure else 80), secure, healthcare=parts.hostname == HEALTHCARE_HOST)

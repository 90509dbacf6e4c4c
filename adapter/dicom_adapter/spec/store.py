"""`spec.dicomStore` and any other DICOMweb service that a document names."""

from __future__ import annotations

from collections.abc import Iterable

from dicom_adapter import dicomstore
from dicom_adapter.config import DicomStore
from dicom_adapter.reader import Reader

GOOGLE_HOSTS = ("googleapis.com",)


def is_google_host(host: str, google_hosts: Iterable[str] = GOOGLE_HOSTS) -> bool:
    """Whether a Google token may go to this host: one of the domains, or a host inside one."""
    return any(host == domain or host.endswith(f".{domain}") for domain in google_hosts)


def read(spec: Reader, google_hosts: tuple[str, ...], key: str = "dicomStore") -> DicomStore | None:
    """The service that the field `key` names."""
    text = spec.text(key, required="write projects/P/locations/L/datasets/D/dicomStores/S or the base URL of a DICOMweb service")
    if not text:
        return None
    try:
        return dicomstore.parse(text, lambda host: is_google_host(host, google_hosts))
    except ValueError as error:
        spec.problem(key, str(error))
        return None

"""What a message of a dicomStore says (https://cloud.google.com/healthcare-api/docs/dicom-pubsub): the path of what has arrived.

Its text is a path and nothing else is believed: what it names must be inside the configured store, or a forged message would have us send
our token to wherever it likes. Attributes are hints: older stores send none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dicom_adapter.config import DicomStore
from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.dimse.sopclasses import is_uid

_LONGEST = 2048
_RESOURCE = re.compile(r"studies/([0-9.]+)(?:/series/([0-9.]+)(?:/instances/([0-9.]+))?)?")
_NO_ARRIVALS = re.compile(r"SetBlobSettings|(Batch)?Delete.*", re.IGNORECASE)


class Unreadable(Exception):
    """The message names nothing of this store; the text says why and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What has arrived: an instance, or a series or study whose instances have to be looked up."""

    study: str
    series: str = ""
    instance: str = ""
    version: str = ""
    arrival: bool = True

    @property
    def path(self) -> InstancePath | None:
        """The instance, when the message names one."""
        return InstancePath(self.study, self.series, self.instance) if self.instance else None

    @property
    def resource(self) -> str:
        """Below the base URL."""
        series = f"/series/{self.series}" if self.series else ""
        return f"/studies/{self.study}{series}" + (f"/instances/{self.instance}" if self.instance else "")


def read(data: bytes, attributes: Mapping[str, str], store: DicomStore) -> Notification:
    """What a message says. Raises Unreadable."""
    try:
        text = data[: _LONGEST + 1].decode("ascii").strip().strip("/")
    except UnicodeDecodeError:
        raise Unreadable("the message is no path") from None
    if not text or len(text) > _LONGEST:
        raise Unreadable("the message is no path")
    if text.startswith("projects/"):
        inside = f"{store.healthcare_path}/dicomWeb/"
        if store.healthcare_path is None or not text.startswith(inside):
            raise Unreadable("the message is about another store than spec.source.dicomStore")
        text = text.removeprefix(inside)
    found = _RESOURCE.fullmatch(text)
    if found is None:
        raise Unreadable("the message is no path of a study, series or instance")
    if not all(is_uid(uid) for uid in found.groups() if uid is not None):
        raise Unreadable("the message holds what is no UID")
    arrival = _NO_ARRIVALS.fullmatch(attributes.get("action", "")) is None
    study, series, instance = (uid or "" for uid in found.groups())
    return Notification(study, series, instance, attributes.get("versionId", "")[:128], arrival)

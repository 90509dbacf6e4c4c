"""What a DicomAdapter and a DicomExport have in common once they are parsed: what becomes pods. Names only."""

from __future__ import annotations

from typing import Protocol

from dicom_operator.api import Json, Key
from dicom_operator.spec.pod import PodOverrides


class Managed(Protocol):
    """One resource, whole and valid."""

    @property
    def key(self) -> Key:
        """Its kind and name."""
        ...

    @property
    def uid(self) -> str:
        """The uid that its children name as their owner's."""
        ...

    @property
    def replicas(self) -> int:
        """Pods that the spec asks for."""
        ...

    @property
    def wanted_replicas(self) -> int:
        """Pods that should run now."""
        ...

    @property
    def suspend(self) -> bool:
        """Whether the user asked for a pause."""
        ...

    @property
    def spools(self) -> bool:
        """Whether its pods hold images that nobody else has."""
        ...

    @property
    def termination_grace_seconds(self) -> int:
        """How long a pod may take to end."""
        ...

    @property
    def pod(self) -> PodOverrides:
        """What the user sets on the pods."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """Secrets that the pods mount."""
        ...

    @property
    def config_maps(self) -> tuple[str, ...]:
        """ConfigMaps that the pods mount."""
        ...

    @property
    def pod_spec(self) -> Json:
        """The part of the spec that the pods read, with every default written out."""
        ...

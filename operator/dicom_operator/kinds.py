"""What differs between a DicomAdapter and a DicomExport: how it is read, what it becomes, what its status has of its own. Pure.

Everything else is the same for both: the queue, the reconciler, the writing of children, conditions and events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dicom_operator import api, succession
from dicom_operator.api import Json
from dicom_operator.config import Config
from dicom_operator.model.adapter import DicomAdapter
from dicom_operator.model.adapter import parse as parse_adapter
from dicom_operator.model.export import DicomExport
from dicom_operator.model.export import parse as parse_export
from dicom_operator.model.managed import Managed
from dicom_operator.observed.objects import Observed
from dicom_operator.render.adapter import Plan
from dicom_operator.render.adapter import desired as adapter_children
from dicom_operator.render.export import desired as export_children
from dicom_operator.render.workload import config_hash
from dicom_operator.status.adapter import adapter_parts
from dicom_operator.status.address import is_pending
from dicom_operator.status.document import Kinds
from dicom_operator.status.export import export_parts

M = TypeVar("M", bound=Managed)


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """One kind."""

    parse: Callable[[Json], M]
    """Raises SpecError."""
    plan: Callable[[M, Observed], Plan]
    """Which workloads there should be, after what is there."""
    desired: Callable[[M, Config, Iterable[str], Plan], list[Json]]
    """The children to apply."""
    parts: Kinds[M]
    """What its status has of its own."""
    pending: Callable[[M, Observed], bool]
    """Whether a load balancer's address is waited for."""


def _plan(adapter: DicomAdapter, observed: Observed) -> Plan:
    return succession.plan(adapter, observed, config_hash(adapter))


def _pending(adapter: DicomAdapter, observed: Observed) -> bool:
    return is_pending(adapter, observed.child(api.SERVICE, adapter.key.name))


def _export_children(found: DicomExport, config: Config, _: Iterable[str], __: Plan) -> list[Json]:
    return export_children(found, config)


ADAPTER = Kind(parse_adapter, _plan, adapter_children, adapter_parts, _pending)
EXPORT = Kind(parse_export, lambda *_: Plan(deployment=True), _export_children, export_parts, lambda *_: False)
KINDS: Mapping[str, Kind[Any]] = {api.ADAPTER.kind: ADAPTER, api.EXPORT.kind: EXPORT}

"""C-STORE (PS3.7 9.1.1, PS3.4 B): an instance in, the store's verdict out as status and Error Comment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicom_adapter import messages
from dicom_adapter.delivery.pipeline import Delivered, EmptyDataSet, Instance
from dicom_adapter.delivery.verdict import CANNOT_UNDERSTAND
from dicom_adapter.dimse import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Status, StoreRequest
from dicom_adapter.part10 import FileMeta


class Way(Protocol):
    """From an arriving instance to what the sender is told: after the store, or after the spool."""

    async def deliver(self, instance: Instance) -> Delivered:
        """Receives it and sees to it."""


Report = Callable[[StoreRequest, Delivered], None]


@dataclass(frozen=True, slots=True)
class StoreService:
    """The handler of C-STORE. `report` hears of each verdict before the sender does."""

    pipeline: Way
    report: Report

    async def __call__(self, request: StoreRequest) -> Status:
        """Stores one instance. Raises DataSetInterrupted when the sender breaks off: there is nobody to answer."""
        meta = FileMeta(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        )
        try:
            delivered = await self.pipeline.deliver(Instance(meta, request.body, request.peer.ae_title.strip()))
        except EmptyDataSet:
            return Status(CANNOT_UNDERSTAND, messages.MISSING_DATA_SET)
        self.report(request, delivered)
        return Status(delivered.verdict.status, delivered.verdict.comment)

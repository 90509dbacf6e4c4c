"""One DIMSE operation that a peer asked for: its request, its data set, and its outcome once there is one."""

import asyncio
import re
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dicom_adapter.dimse.body import DataSetStream
from dicom_adapter.dimse.commands import Command, CommandField, SubOperations
from dicom_adapter.dimse.handlers import Response
from dicom_adapter.dimse.sopclasses import STORAGE, VERIFICATION, Service, abstract_syntax_name, service_class
from dicom_adapter.dimse.status import (
    CANNOT_UNDERSTAND,
    IDENTIFIER_DOES_NOT_MATCH,
    INVALID_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    Status,
)

# Leading zeros and a dot at the end break PS3.5 9.1 and are met in the field; anything else would go into URLs, file names and logs.
_INSTANCE_UID: Final = re.compile(r"[0-9][0-9.]{0,63}")


class Kind(NamedTuple):
    """What the engine knows of a service, beside what is in its request.

    Attributes:
        service: its handler.
        cancellable: whether a C-CANCEL ends it, and the end of the association as well: it has no effect that outlives its answer.
        exhausted: status when we have no room or time for it.
        failed: status when its handler fails.
    """

    service: Service
    cancellable: bool
    exhausted: int
    failed: int


KINDS: Final = {
    CommandField.C_ECHO_RQ: Kind("echo", False, PROCESSING_FAILURE, PROCESSING_FAILURE),
    CommandField.C_STORE_RQ: Kind("store", False, OUT_OF_RESOURCES, OUT_OF_RESOURCES),
    CommandField.C_FIND_RQ: Kind("find", True, OUT_OF_RESOURCES, CANNOT_UNDERSTAND),
    CommandField.C_GET_RQ: Kind("get", True, OUT_OF_RESOURCES, CANNOT_UNDERSTAND),
    CommandField.C_MOVE_RQ: Kind("move", True, OUT_OF_RESOURCES, CANNOT_UNDERSTAND),
    CommandField.N_ACTION_RQ: Kind("n_action", False, RESOURCE_LIMITATION, PROCESSING_FAILURE),
    CommandField.N_EVENT_REPORT_RQ: Kind("n_event_report", False, RESOURCE_LIMITATION, PROCESSING_FAILURE),
}
"""The requests that can be performed; every other is answered 0211."""

SHUTTING_DOWN: Final = "Shutting down, send again"


@dataclass(slots=True)
class Operation:
    """A request in work. It is answered when its data set is complete and its answer known."""

    context_id: int
    command: Command
    body: DataSetStream
    started: float
    answer: Response | None = None
    handled: bool = False
    cancelled: bool = False
    numbers: SubOperations | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def receiving(self) -> bool:
        """Whether data set fragments are still to come."""
        return not self.body.complete

    @property
    def kind(self) -> Kind | None:
        """What sort of operation it is, None if it is none of ours."""
        return KINDS.get(self.command.field)  # type: ignore[call-overload,no-any-return]

    @property
    def sop_instance_uid(self) -> str | None:
        """The SOP Instance UID of the command, if it is one."""
        uid = self.command.sop_instance_uid
        return uid if _INSTANCE_UID.fullmatch(uid) else None


def immediate_status(command: Command, abstract_syntax: str, services: Set[Service], shutting_down: bool) -> Status | None:
    """Return the answer to a request that needs no handler, None for one that does (PS3.7 9.1, 10.1, C)."""
    kind = KINDS.get(command.field)  # type: ignore[call-overload]
    if kind is None or kind.service not in services:
        return Status(UNRECOGNIZED_OPERATION, "This operation is not supported")
    if kind.service == "echo":
        if abstract_syntax != VERIFICATION:
            return Status(SOP_CLASS_NOT_SUPPORTED, "C-ECHO needs a presentation context of Verification")
        return Status(SUCCESS)
    if shutting_down:
        return Status(kind.exhausted, SHUTTING_DOWN)
    if kind.service == "store":
        return _refuse_store(command, abstract_syntax)
    if command.sop_class_uid != abstract_syntax:
        return Status(SOP_CLASS_NOT_SUPPORTED, "SOP class differs from that of its presentation context")
    found = service_class(abstract_syntax)
    if found is None or kind.service not in (found.for_scu, found.for_scp):
        return Status(SOP_CLASS_NOT_SUPPORTED, f"{command.service} is no operation of this SOP class")
    if kind.cancellable:
        return None if command.has_data_set else Status(IDENTIFIER_DOES_NOT_MATCH, "Identifier missing")
    if command.type_id is None or not _INSTANCE_UID.fullmatch(command.sop_instance_uid):
        return Status(PROCESSING_FAILURE, "Mandatory tag empty: type ID or SOP Instance UID")
    return None


def _refuse_store(command: Command, abstract_syntax: str) -> Status | None:
    if not command.sop_class_uid:
        return Status(CANNOT_UNDERSTAND, "Mandatory tag empty: AffectedSOPClassUID")
    if not command.sop_instance_uid:
        return Status(CANNOT_UNDERSTAND, "Mandatory tag empty: AffectedSOPInstanceUID")
    if not command.has_data_set:
        return Status(CANNOT_UNDERSTAND, "Mandatory data set missing")
    if service_class(abstract_syntax) is not STORAGE:
        return Status(SOP_CLASS_NOT_SUPPORTED, f"{abstract_syntax_name(abstract_syntax)} takes no C-STORE")
    if command.sop_class_uid != abstract_syntax:
        return Status(SOP_CLASS_NOT_SUPPORTED, "SOP class differs from that of its presentation context")
    if not _INSTANCE_UID.fullmatch(command.sop_instance_uid):
        return Status(INVALID_SOP_INSTANCE, "AffectedSOPInstanceUID is no UID")
    return None

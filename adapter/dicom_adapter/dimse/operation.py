"""One DIMSE operation that a peer asked for: its request, its data set, and its outcome once there is one."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Final

from dicom_adapter.dimse.body import DataSetStream
from dicom_adapter.dimse.commands import RESPONSE_BIT, Command, CommandField
from dicom_adapter.dimse.pdu import ProtocolViolation
from dicom_adapter.dimse.sopclasses import VERIFICATION
from dicom_adapter.dimse.status import (
    CANNOT_UNDERSTAND,
    INVALID_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    Status,
)

# Leading zeros and a dot at the end break PS3.5 9.1 and are met in the field; anything else would go into URLs, file names and logs.
_INSTANCE_UID: Final = re.compile(r"[0-9][0-9.]{0,63}")

SHUTTING_DOWN: Final = Status(OUT_OF_RESOURCES, "Shutting down, send again")


@dataclass(slots=True)
class Operation:
    """A request in work. It is answered when its data set is complete and its status known, in the order of the requests."""

    context_id: int
    command: Command
    body: DataSetStream
    started: float
    status: Status | None = None
    handled: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def receiving(self) -> bool:
        """Whether data set fragments are still to come."""
        return not self.body.complete

    @property
    def sop_instance_uid(self) -> str | None:
        """The Affected SOP Instance UID, if it is one."""
        uid = self.command.sop_instance_uid
        return uid if _INSTANCE_UID.fullmatch(uid) else None


def immediate_status(command: Command, abstract_syntax: str, shutting_down: bool) -> Status | None:
    """Return the answer to a request that needs no handler, None for a C-STORE that does (PS3.7 9.1.1, 9.1.5, C).

    Raises:
        ProtocolViolation: a response, where nothing was asked.
    """
    if command.field & RESPONSE_BIT:
        raise ProtocolViolation("a response where nothing was asked")
    if command.field == CommandField.C_STORE_RQ:
        return _refuse_store(command, abstract_syntax, shutting_down)
    if command.field != CommandField.C_ECHO_RQ:
        return Status(UNRECOGNIZED_OPERATION, "This operation is not supported")
    if abstract_syntax != VERIFICATION:
        return Status(SOP_CLASS_NOT_SUPPORTED, "C-ECHO needs a presentation context of Verification")
    return Status(SUCCESS)


def _refuse_store(command: Command, abstract_syntax: str, shutting_down: bool) -> Status | None:
    if shutting_down:
        return SHUTTING_DOWN
    if not command.sop_class_uid:
        return Status(CANNOT_UNDERSTAND, "Mandatory tag empty: AffectedSOPClassUID")
    if not command.sop_instance_uid:
        return Status(CANNOT_UNDERSTAND, "Mandatory tag empty: AffectedSOPInstanceUID")
    if not command.has_data_set:
        return Status(CANNOT_UNDERSTAND, "Mandatory data set missing")
    if abstract_syntax == VERIFICATION:
        return Status(SOP_CLASS_NOT_SUPPORTED, "Verification takes no C-STORE")
    if command.sop_class_uid != abstract_syntax:
        return Status(SOP_CLASS_NOT_SUPPORTED, "SOP class differs from that of its presentation context")
    if not _INSTANCE_UID.fullmatch(command.sop_instance_uid):
        return Status(INVALID_SOP_INSTANCE, "AffectedSOPInstanceUID is no UID")
    return None

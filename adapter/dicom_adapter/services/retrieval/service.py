"""What C-MOVE and C-GET have in common: how they begin, and how they end (PS3.4 C.4.2.1, C.4.3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from pydicom.dataset import Dataset

from dicom_adapter import messages
from dicom_adapter.delivery.verdict import NOT_AUTHORIZED, comment
from dicom_adapter.dimse import QueryRequest, Response, Status, SubOperations
from dicom_adapter.dimse.status import CANCELLED, IDENTIFIER_DOES_NOT_MATCH, SUCCESS
from dicom_adapter.services import bounds
from dicom_adapter.services.asking import ASKING_FAILED, trouble
from dicom_adapter.services.datasets import Unreadable, decode, encode
from dicom_adapter.services.levels import BadIdentifier
from dicom_adapter.services.retrieval import instances
from dicom_adapter.services.retrieval.arrival import Memory
from dicom_adapter.services.retrieval.fetching import Source
from dicom_adapter.services.retrieval.retrieval import Retrieval, Tally
from dicom_adapter.services.retrieval.selection import Selection, select
from dicom_adapter.services.retrieval.sending import Convert

NO_MATCHES_COUNTED: Final = 0xA701
NONE_SENT: Final = 0xA702
SOME_FAILED: Final = 0xB000
_MOST_OF_A_LIST: Final = 0xFFFE
"""The length of an element of VR UI in explicit VR (PS3.5 7.1.2): a list of failures that is longer is cut."""


class RetrieveObserver(Protocol):
    """Whoever counts and logs. Must not raise."""

    def retrieval_refused(self, request: QueryRequest, status: Status, text: str) -> None:
        """Nothing is sent; `text` is for the log."""

    def retrieved(self, service: str, request: QueryRequest, to: str, tally: Tally, status: Status) -> None:
        """One has ended."""


@dataclass(frozen=True, slots=True)
class RetrieveService:
    """What all retrievals share."""

    source: Source
    memory: Memory
    convert: Convert
    observer: RetrieveObserver


async def begin(shared: RetrieveService, service: str, request: QueryRequest) -> Retrieval | Response:
    """The retrieval of what the identifier selects, or the response that ends it at once."""
    try:
        selection = select(_identifier(request), request.sop_class_uid)
    except BadIdentifier as error:
        return Response(Status(error.status, error.comment))
    return await _search(shared, service, request, selection)


def _identifier(request: QueryRequest) -> Dataset:
    try:
        return decode(request.identifier, request.transfer_syntax_uid, bounds.check)
    except Unreadable:
        raise BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, messages.UNREADABLE_IDENTIFIER) from None


async def _search(shared: RetrieveService, service: str, request: QueryRequest, selection: Selection) -> Retrieval | Response:
    try:
        references = await instances.find(shared.source.client, selection)
    except instances.TooMany:
        return Response(Status(NO_MATCHES_COUNTED, messages.too_many_instances(instances.MOST_INSTANCES)))
    except ASKING_FAILED as error:
        found = trouble(error)
        status = Status(NOT_AUTHORIZED if found.denied else NO_MATCHES_COUNTED, comment(found.text))
        shared.observer.retrieval_refused(request, status, messages.failed(service, request.peer.ae_title, status.code, found.text))
        return Response(status)
    if not references:
        return Response(Status(SUCCESS), sub_operations=SubOperations())
    return Retrieval(shared.source, shared.memory, references, whole_series=selection.whole_series)


def conclude(shared: RetrieveService, service: str, request: QueryRequest, tally: Tally, *, cancelled: bool, to: str) -> Response:
    """The last response."""
    why = tally.why
    if cancelled:
        status = Status(CANCELLED)
    elif not tally.failed and not tally.warning:
        status = Status(SUCCESS)
    else:
        status = Status(SOME_FAILED if tally.sent else NONE_SENT, comment(why.comment) if why else "")
    shared.observer.retrieved(service, request, to, tally, status)
    return Response(status, _failures(tally, request.transfer_syntax_uid), tally.numbers(last=not cancelled))


def _failures(tally: Tally, transfer_syntax_uid: str) -> bytes | None:
    """Failed SOP Instance UID List (0008,0058), when there are any."""
    if not tally.failed:
        return None
    size, listed = 0, []
    for uid in tally.failed:
        size += len(uid) + 1
        if size > _MOST_OF_A_LIST:
            break
        listed.append(uid)
    data_set = Dataset()
    data_set.FailedSOPInstanceUIDList = listed
    return encode(data_set, transfer_syntax_uid)

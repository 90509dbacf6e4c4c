"""One instance on to a DICOM node: in the transfer syntax of the store where the node takes it, else uncompressed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from pydicom.uid import UID

from dicom_adapter import messages
from dicom_adapter.dimse import ContextNotAccepted, SopInstance, Status
from dicom_adapter.dimse.sopclasses import abstract_syntax_name
from dicom_adapter.services.datasets import UNCOMPRESSED
from dicom_adapter.services.retrieval.arrival import Arrival
from dicom_adapter.transform.transcode import CannotConvert

MOST_CONVERTED: Final = 256 << 20
"""An instance that has to be in memory as a whole, to be converted, is no longer than this."""

Convert = Callable[[bytes, str, str], Awaitable[bytes]]
"""A data set from one transfer syntax into another; raises CannotConvert."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why an instance was not sent: for the requestor in an Error Comment, for the log in a sentence."""

    comment: str
    text: str


class Receiver(Protocol):
    """Who takes instances."""

    def transfer_syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        """In which transfer syntaxes."""

    async def store(self, instance: SopInstance, /) -> Status:
        """Sends one. Raises AssociationEnded, ContextNotAccepted."""


async def send(arrival: Arrival, to: Receiver, ae_title: str, convert: Convert) -> Status | Why:
    """The receiver's status, or why there is none. Raises AssociationEnded, Broken."""
    meta = arrival.meta
    accepted = to.transfer_syntaxes(meta.sop_class_uid)
    body: bytes | None = None
    syntax = meta.transfer_syntax_uid
    if syntax not in accepted:
        target = next((one for one in UNCOMPRESSED if one in accepted), None)
        if target is None:
            return _not_taken(ae_title, meta.sop_class_uid, syntax)
        content = await arrival.gather(MOST_CONVERTED)
        if content is None:
            return _not_converted(ae_title, syntax, messages.too_large(MOST_CONVERTED))
        try:
            body = await convert(content, syntax, target)
        except CannotConvert as error:
            return _not_converted(ae_title, syntax, str(error))
        syntax = target
    instance = SopInstance(meta.sop_class_uid, meta.sop_instance_uid, syntax, arrival.read() if body is None else body)
    try:
        return await to.store(instance)
    except ContextNotAccepted:  # the association is another one by now
        return _not_taken(ae_title, meta.sop_class_uid, syntax)


def _not_taken(ae_title: str, sop_class_uid: str, syntax: str) -> Why:
    text = messages.not_taken(ae_title, abstract_syntax_name(sop_class_uid), UID(syntax).name)
    return Why(text, text)


def _not_converted(ae_title: str, syntax: str, why: str) -> Why:
    text = messages.not_converted(ae_title, UID(syntax).name, why)
    return Why(text, text)

"""Target: what a peer answers to a client, from the first byte to the last, with nothing but the socket missing (PS3.8 9.2, PS3.7 7)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from itertools import islice

from dicom_adapter.dimse.associate import AssociateAcceptance, AssociateRequest
from dicom_adapter.dimse.client import ClientAssociation
from dicom_adapter.dimse.errors import DimseError
from dicom_adapter.dimse.handlers import Handlers, SopInstance
from dicom_adapter.dimse.pdu import PduType
from dicom_adapter.dimse.proposal import PresentationContext, encode_request, propose
from dicom_adapter.dimse.requestor import Proposal, RequestedAssociation
from tests.fuzz.dimse import Wire, loop
from tests.fuzz.streams import LIMITS, pieces
from tests.fuzz.upper_layer import requestor_seeds
from tests.support.rawscu import (
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    IMPLICIT,
    LAST,
    VERIFICATION,
    associate_ac,
    command_set,
    pdata,
    pdu,
    pdv,
    short,
)

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CONTEXTS = {VERIFICATION: IMPLICIT, CT_STORAGE: EXPLICIT, FIND: IMPLICIT}
_REQUEST = AssociateRequest(
    called_ae_title="PACS",
    calling_ae_title="GATE",
    implementation_class_uid="1.2.3",
    contexts=propose(PresentationContext(uid, (syntax,)) for uid, syntax in CONTEXTS.items()),
)
PROPOSAL = Proposal(_REQUEST, encode_request(_REQUEST), Handlers(), LIMITS)


INSTANCE = SopInstance(CT_STORAGE, "1.2.3", EXPLICIT, b"\x08\0\x18\0UI\4\0001.2")


class ClientWire(Wire):
    """What a requestor writes."""

    kinds = (PduType.A_ASSOCIATE_RQ, PduType.P_DATA_TF, PduType.A_RELEASE_RQ, PduType.A_RELEASE_RP, PduType.A_ABORT)
    last = (PduType.A_ABORT,)


def client(data: bytes) -> None:
    """Whatever comes ends in an answer or in a documented error, leaves no task, and what was written until then is legal."""
    loop().run_until_complete(_ask(data))


async def _ask(data: bytes) -> None:
    wire = ClientWire()
    association = RequestedAssociation(PROPOSAL, wire, "10.1.2.3", 104)
    association.start()
    asking = asyncio.create_task(_questions(association))
    for part in pieces(data):
        await asyncio.sleep(0)
        if wire.closing:
            break
        association.receive(memoryview(part))
    for _ in range(5):
        await asyncio.sleep(0)
    wire.check()
    association.lost(None)
    async with asyncio.timeout(60):
        await asking
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def _questions(association: RequestedAssociation) -> None:
    try:
        exchange = await association.established()
        asked = ClientAssociation(association, exchange, association.acceptance or AssociateAcceptance())
        await asked.echo()
        await asked.store(INSTANCE)
        async for _ in asked.find(FIND, b"\x08\0\x52\0\6\0\0\0STUDY "):
            pass
        await asked.release()
    except DimseError:
        await association.abort()


def response(field: int, status: int, message_id: int, *, data: bytes | None = None, context_id: int = 1) -> bytes:
    """A response as PDUs."""
    kind = short(0x0101 if data is None else 1)
    command = command_set([(0x0100, short(field)), (0x0120, short(message_id)), (0x0800, kind), (0x0900, short(status))])
    sent = pdata(pdv(context_id, COMMAND | LAST, command))
    return sent if data is None else sent + pdata(pdv(context_id, DATA | LAST, data))


def client_seeds() -> Iterator[bytes]:
    """A peer that answers well, one that pends, fails, or answers what was not asked; and what is sent to a bare machine."""
    accepted = associate_ac([(1, 0, IMPLICIT), (3, 0, EXPLICIT), (5, 0, IMPLICIT)])
    identifier = struct.pack("<HHL", 0x0008, 0x0052, 6) + b"STUDY "
    echo, stored = response(0x8030, 0, 1), response(0x8001, 0, 2, context_id=3)
    pending, done = response(0x8020, 0xFF00, 3, data=identifier, context_id=5), response(0x8020, 0, 3, context_id=5)
    for answers in (
        echo + stored + pending * 3 + done + pdu(6, bytes(4)),
        echo + response(0x8001, 0xA700, 2, context_id=3) + response(0x8020, 0xA900, 3, context_id=5),
        response(0x8030, 0, 7),
        response(0x8001, 0, 1) + echo,
        echo + pending,
        pdu(7, bytes((0, 0, 2, 2))),
    ):
        for size in (255, 60, 9):
            yield bytes((1, size)) + accepted + answers
    yield from islice(requestor_seeds(), 12)

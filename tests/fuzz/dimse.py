"""Targets: command sets, the assembly of messages, and a whole association with nothing but the socket missing (PS3.7)."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import Iterator
from functools import cache
from random import Random

from pynetdicom.dsutils import decode

from dicom_adapter.dimse.acceptor import AcceptedAssociation
from dicom_adapter.dimse.commands import RESPONSE_BIT, CommandField, decode_command, encode_response
from dicom_adapter.dimse.handlers import DataSetInterrupted, Handlers, StoreRequest
from dicom_adapter.dimse.messages import DataSetEnded, MessageAssembler, MessageBegun
from dicom_adapter.dimse.observer import AssociationSummary, Peer
from dicom_adapter.dimse.pdu import Fragment, PduType, ProtocolViolation
from dicom_adapter.dimse.registry import Acceptor, Registry
from dicom_adapter.dimse.status import Status
from tests.adapter.dimse.serving import Recorder
from tests.fuzz.streams import LIMITS, peers_reading, pieces
from tests.support.hostile import Where, catalogue
from tests.support.rawscu import COMMAND, CT_STORAGE, LAST, command_set, echo_rq, elements_of, short, store_rq, uid


def command(data: bytes) -> None:
    """A command or a ProtocolViolation. What is read can be answered legally, and pynetdicom reads the same."""
    try:
        request = decode_command(data)
    except ProtocolViolation:
        return
    answer = elements_of(encode_response(request, Status(0xC000, request.sop_instance_uid)))
    assert all(len(value) % 2 == 0 for value in answer.values())
    assert answer[0x0120] == short(request.message_id)
    assert answer[0x0100] == short(request.field | RESPONSE_BIT)
    theirs = peers_reading(lambda: _pynetdicom(data))
    if theirs is not None and isinstance(theirs[0], int):
        field, message_id, data_set_type = theirs
        assert field == request.field
        assert (data_set_type != 0x0101) == request.has_data_set
        assert message_id == request.message_id


def _pynetdicom(data: bytes) -> tuple[object, object, object]:
    theirs = decode(io.BytesIO(data), True, True)
    answering = theirs.CommandField & RESPONSE_BIT or theirs.CommandField == CommandField.C_CANCEL_RQ
    return theirs.CommandField, theirs.get("MessageIDBeingRespondedTo" if answering else "MessageID"), theirs.CommandDataSetType


def command_seeds() -> Iterator[bytes]:
    """Requests, and all command sets of the catalogue that come in one fragment."""
    yield echo_rq()
    yield store_rq(CT_STORAGE, "1.2.3")
    yield command_set([(0x0100, short(0x0FFF)), (0x0120, short(9)), (0x0800, short(0x0101))])
    yield command_set([(0x0002, uid(CT_STORAGE)), (0x0100, short(0x8001)), (0x0120, short(1)), (0x0800, short(0x0101)), (0x0900, short(0))])
    for hostile in catalogue():
        if hostile.where is Where.ASSOCIATION:
            data = hostile.make(Random(hostile.name))
            if data[:1] == b"\4" and data[11:12] == bytes((COMMAND | LAST,)) and len(data) < 4096:
                yield data[12 : 10 + int.from_bytes(data[6:10], "big")]


def messages(data: bytes) -> None:
    """Fragments in any order: a message or a ProtocolViolation, a command set within its bound, the data set as it came."""
    assembler = MessageAssembler(LIMITS.max_command_bytes)
    fed, taken = bytearray(), bytearray()
    collected = 0
    try:
        for part in pieces(data):
            control = part[0]
            is_command = bool(control & COMMAND)
            event = assembler.feed(Fragment(1 if control < 200 else 3, is_command, bool(control & LAST), memoryview(part)[1:]))
            if is_command:
                collected += len(part) - 1
                assert collected <= LIMITS.max_command_bytes
            else:
                fed += part[1:]
            if isinstance(event, MessageBegun):
                collected = 0
                assert assembler.inside_message == event.command.has_data_set
            elif isinstance(event, DataSetEnded):
                assert not assembler.inside_message
            if control & 4:
                taken += assembler.take_data()
    except ProtocolViolation:
        return
    assert taken + assembler.take_data() == fed


def message_seeds() -> Iterator[bytes]:
    """A command set without end; a command and a data set, whole and in fragments."""
    yield bytes((1, 200)) + bytes((COMMAND, *bytes(200))) * 4
    for text in command_seeds():
        for last in (LAST, LAST | 4):
            if len(text) < 255:
                yield bytes((3, len(text), 3, 2, COMMAND | LAST)) + text + b"\0abc" + bytes((last,)) + b"de"


class Wire:
    """The connection of an association: checks what is written on it. These are the kinds of an acceptor, and those that end it."""

    kinds: tuple[PduType, ...] = (
        *(PduType.A_ASSOCIATE_AC, PduType.A_ASSOCIATE_RJ, PduType.P_DATA_TF),
        *(PduType.A_RELEASE_RP, PduType.A_ABORT),
    )
    last: tuple[PduType, ...] = (PduType.A_ABORT, PduType.A_ASSOCIATE_RJ, PduType.A_RELEASE_RP)

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def close(self) -> None:
        self.closing = True

    abort = close

    def get_extra_info(self, name: str, default: object = None) -> object:
        raise AssertionError("nobody was silent")

    def check(self) -> None:
        """Whole PDUs of the right kinds, and after the last ones nothing but more A-ABORTs."""
        position, over = 0, False
        while position < len(self.written):
            kind, length = struct.unpack_from(">BxL", self.written, position)
            assert kind in self.kinds
            assert kind == PduType.A_ABORT or not over
            over = over or kind in self.last
            position += 6 + length
        assert position == len(self.written)


class Count(Recorder):
    """An observer that counts the open associations."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0

    def association_accepted(self, association_id: int, peer: Peer) -> None:
        self.open += 1

    def association_ended(self, summary: AssociationSummary) -> None:
        self.open -= 1


async def store(request: StoreRequest) -> Status:
    size = 0
    try:
        async for chunk in request.body:
            size += len(chunk)
    except DataSetInterrupted:
        if len(request.sop_instance_uid) % 2:
            raise
        return Status(0xA700, "interrupted")
    return Status(0 if size else 0xC000)


@cache
def loop() -> asyncio.AbstractEventLoop:
    """One for all inputs."""
    return asyncio.new_event_loop()


_BUFFER = bytearray(1 << 16)


def association(data: bytes) -> None:
    """Whatever comes: legal answers, one end for each beginning, no task left, and nothing kept of the buffer."""
    loop().run_until_complete(_associate(data))


async def _associate(data: bytes) -> None:
    observer = Count()
    registry = Registry(LIMITS)
    wire = Wire()
    acceptor = Acceptor(("GATE",), Handlers(store=store), LIMITS, observer, registry)
    live = AcceptedAssociation(acceptor, wire, "10.1.2.3", 104)
    live.start()
    for part in pieces(data):
        for start in range(0, len(part), len(_BUFFER)):
            piece = part[start : start + len(_BUFFER)]
            if wire.closing:
                break
            _BUFFER[: len(piece)] = piece
            live.receive(memoryview(_BUFFER)[: len(piece)])
            _BUFFER[: len(piece)] = bytes(len(piece))
        if part[0] & 1 or wire.paused:
            await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    wire.check()
    live.lost(None)
    async with asyncio.timeout(60):
        await registry.until(lambda: not registry.connections)
    assert observer.open == registry.active == 0
    assert len(asyncio.all_tasks()) == 1

"""Command sets: read strictly, written legally, and the same as pynetdicom reads and writes them."""

import contextlib
import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import dimse_messages
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode

from dicom_adapter.dimse.commands import (
    MOVE_ORIGINATOR_AE_TITLE,
    MOVE_ORIGINATOR_MESSAGE_ID,
    Command,
    MoveOriginator,
    Priority,
    SubOperations,
    command_pdus,
    decode_command,
    encode_request,
    encode_response,
)
from dicom_adapter.dimse.pdu import ProtocolViolation
from dicom_adapter.dimse.status import Status
from tests.support.rawscu import CT_STORAGE, command_set, echo_rq, elements_of, short, store_rq, uid


def test_requests_are_read() -> None:
    assert decode_command(store_rq(CT_STORAGE, "1.2.3", 258)) == Command(1, 258, True, CT_STORAGE, "1.2.3")
    assert decode_command(echo_rq(7)) == Command(0x30, 7, False, "1.2.840.10008.1.1", "")
    assert decode_command(command_set([(0x0100, short(0x0FFF)), (0x0120, short(9)), (0x0800, short(0x0101))])).message_id == 9


def full(field: int, **values: Any) -> Command:
    return Command(
        field, 7, values.pop("has_data_set", True), values.pop("sop_class", CT_STORAGE), values.pop("sop_instance", ""), **values
    )


REQUESTS = {
    "C-ECHO": full(0x30, has_data_set=False),
    "C-STORE": full(0x01, sop_instance="1.2.3", priority=Priority.HIGH),
    "C-STORE of a C-MOVE": full(0x01, sop_instance="1.2.3", move_originator=MoveOriginator("WS1", 9)),
    "C-FIND": full(0x20, priority=Priority.LOW),
    "C-GET": full(0x10),
    "C-MOVE": full(0x21, move_destination="WS1"),
    "C-CANCEL": full(0x0FFF, sop_class="", has_data_set=False),
    "N-ACTION": full(0x0130, sop_instance="1.2.840.10008.1.20.1.1", type_id=1),
    "N-EVENT-REPORT": full(0x0100, sop_instance="1.2.840.10008.1.20.1.1", type_id=2),
}
THEIRS = {"C-CANCEL": dimse_messages.C_CANCEL_RQ} | {
    name: getattr(dimse_messages, name.partition(" ")[0].replace("-", "_") + "_RQ") for name in REQUESTS
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_written_as_they_are_read(name: str) -> None:
    encoded = encode_request(REQUESTS[name])
    assert decode_command(encoded) == REQUESTS[name]
    elements = elements_of(encoded)
    assert list(elements) == sorted(elements)
    assert elements[0x0000] == struct.pack("<L", len(encoded) - 12)
    assert all(len(value) % 2 == 0 for value in elements.values())


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_have_the_elements_that_pynetdicom_expects(name: str) -> None:
    allowed = {element.tag.element for element in THEIRS[name]().command_set}
    elements = set(elements_of(encode_request(REQUESTS[name])))
    assert elements <= allowed
    optional = {MOVE_ORIGINATOR_AE_TITLE, MOVE_ORIGINATOR_MESSAGE_ID} if name == "C-STORE" else set()
    assert allowed - elements == optional


COUNTS = SubOperations(4, 3, 2, 1)


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (REQUESTS["C-FIND"], {"has_data_set": True}),
        (REQUESTS["C-MOVE"], {"sub_operations": COUNTS}),
        (REQUESTS["C-GET"], {"sub_operations": SubOperations(None, 3, 2, 1), "has_data_set": True}),
        (REQUESTS["N-ACTION"], {"type_id": 1}),
        (REQUESTS["N-EVENT-REPORT"], {"type_id": 2, "has_data_set": True}),
    ],
)
def test_responses_are_written_as_they_are_read(request_: Command, response: dict[str, Any]) -> None:
    encoded = encode_response(request_, Status(0xFF01, "slow"), **response)
    got = decode_command(encoded)
    assert got.is_response
    assert got.service == request_.service
    assert got.status == Status(0xFF01, "slow")
    assert (got.message_id, got.sop_class_uid, got.sop_instance_uid) == (7, request_.sop_class_uid, request_.sop_instance_uid)
    assert got.has_data_set == response.get("has_data_set", False)
    assert got.sub_operations == response.get("sub_operations")
    assert got.type_id == response.get("type_id")
    elements = elements_of(encoded)
    assert list(elements) == sorted(elements)


def test_more_sub_operations_than_fit_are_many() -> None:
    got = decode_command(encode_response(REQUESTS["C-MOVE"], Status(0xFF00), sub_operations=SubOperations(70_000, 65_536, 0, 1)))
    assert got.sub_operations == SubOperations(65_535, 65_535, 0, 1)


def test_the_comment_of_a_peer_comes_out_printable() -> None:
    command = command_set(
        [(0x0100, short(0x8001)), (0x0120, short(1)), (0x0800, short(0x0101)), (0x0900, short(0xC000)), (0x0902, b"a\r\nb\xe9")]
    )
    assert decode_command(command).status == Status(0xC000, "a??b?")


def test_services_have_names() -> None:
    names = {field: Command(field, 1, False, "", "").service for field in (1, 0x30, 0x21, 0x0100, 0x0FFF, 0x4711)}
    assert names == {1: "C-STORE", 0x30: "C-ECHO", 0x21: "C-MOVE", 0x0100: "N-EVENT-REPORT", 0x0FFF: "C-CANCEL", 0x4711: "unknown"}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (b"1.2.3", "1.2.3"),
        (b"1.2.3\0", "1.2.3"),
        (b"1.2.3\0\0\0", "1.2.3"),
        (b"1.2.3 ", "1.2.3"),
        (b"", ""),
        (b"\0\0", ""),
        (b"\xff", "\xff"),
    ],
)
def test_padding_of_uids_is_taken_off(value: bytes, read: str) -> None:
    command = command_set([(0x0002, value), (0x0100, short(1)), (0x0110, short(1)), (0x0800, short(0)), (0x1000, value)])
    assert decode_command(command).sop_instance_uid == read


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (b"", "without command field"),
        (command_set([(0x0100, short(1)), (0x0800, short(1))]), "without command field, message ID"),
        (command_set([(0x0100, b""), (0x0110, short(1)), (0x0800, short(1))]), "without command field"),
        (command_set([(0x0100, short(1)), (0x0110, short(1))]), "data set type"),
        (echo_rq()[:-1], "past the command set"),
        (echo_rq() + b"\0\0", "header reaches past"),
        (struct.pack("<HHL", 0, 0x0100, 0xFFFFFFFF), "past the command set"),
        (struct.pack("<HHLH", 8, 0x0018, 2, 1), "group 0x0008"),
        (command_set([(0x0100, short(1)), (0x0100, short(1))]), "comes twice"),
        (
            command_set([(0x0100, short(0x8001)), (0x0110, short(1)), (0x0800, short(1)), (0x0900, short(0))]),
            "without command field, message ID",
        ),
        (command_set([(0x0100, short(0x8001)), (0x0120, short(1)), (0x0800, short(1))]), "response without a status"),
        (command_set([(0x0100, b"\1\0\0"), (0x0110, short(1)), (0x0800, short(1))]), "has 3 bytes"),
    ],
)
def test_what_is_no_command_set_is_a_violation(command: bytes, message: str) -> None:
    with pytest.raises(ProtocolViolation, match=message):
        decode_command(command)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_or_a_violation(data: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        decode_command(data)


@given(st.integers(0, 0xFFFF), st.text(max_size=200), st.integers(0, 0xFFFF))
def test_responses_are_legal_whatever_the_comment(code: int, comment: str, message_id: int) -> None:
    encoded = encode_response(Command(1, message_id, True, CT_STORAGE, "1.2.34"), Status(code, comment))
    elements = elements_of(encoded)
    assert elements[0x0000] == struct.pack("<L", len(encoded) - 12)
    assert all(len(value) % 2 == 0 for value in elements.values())
    assert list(elements) == sorted(elements)
    assert elements[0x0900] == short(code)
    assert (elements[0x0002], elements[0x1000]) == (uid(CT_STORAGE), uid("1.2.34"))
    text = elements.get(0x0902, b"")
    assert len(text) <= 64
    assert all(0x20 <= byte <= 0x7E and byte != 0x5C for byte in text)
    assert code or not text
    data_set = decode(BytesIO(encoded), True, True)
    assert (data_set.CommandField, data_set.MessageIDBeingRespondedTo, data_set.Status) == (0x8001, message_id, code)


def test_pynetdicom_writes_what_we_read() -> None:
    primitive = C_STORE()
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID, primitive.MessageID = CT_STORAGE, "1.2.3", 77
    primitive.Priority, primitive.DataSet = 2, BytesIO(b"data")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    fragments = list(message.encode_msg(1, 16384))
    assert decode_command(fragments[0].presentation_data_value_list[0][1][1:]) == Command(1, 77, True, CT_STORAGE, "1.2.3", Priority.LOW)


@pytest.mark.parametrize("maximum", [0, 1, 8, 9, 22, 100, 16384])
def test_commands_are_cut_to_the_peers_maximum(maximum: int) -> None:
    command = encode_response(Command(1, 1, True, CT_STORAGE, "1.2.3"), Status(0xC000, "x" * 64))
    pdus = command_pdus(5, command, maximum)
    rest, collected, controls = pdus, b"", []
    while rest:
        kind, length = struct.unpack_from(">BxL", rest)
        assert kind == 4
        assert not maximum or length <= max(maximum, 8)
        value, context_id, control = struct.unpack_from(">LBB", rest, 6)
        assert (value, context_id) == (length - 4, 5)
        collected += rest[12 : 6 + length]
        controls.append(control)
        rest = rest[6 + length :]
    assert collected == command
    assert controls == [1] * (len(controls) - 1) + [3]

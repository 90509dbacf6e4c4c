"""Command sets: read strictly, written legally, and the same as pynetdicom reads and writes them."""

import contextlib
import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode

from dicom_adapter.dimse.commands import Command, command_pdus, decode_command, encode_response
from dicom_adapter.dimse.pdu import ProtocolViolation
from dicom_adapter.dimse.status import Status
from tests.support.rawscu import CT_STORAGE, command_set, echo_rq, elements_of, short, store_rq, uid


def test_requests_are_read() -> None:
    assert decode_command(store_rq(CT_STORAGE, "1.2.3", 258)) == Command(1, 258, True, CT_STORAGE, "1.2.3")
    assert decode_command(echo_rq(7)) == Command(0x30, 7, False, "1.2.840.10008.1.1", "")
    assert decode_command(command_set([(0x0100, short(0x0FFF)), (0x0120, short(9)), (0x0800, short(0x0101))])).message_id == 9


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
    assert decode_command(fragments[0].presentation_data_value_list[0][1][1:]) == Command(1, 77, True, CT_STORAGE, "1.2.3")


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

"""Framing: what a length may say, and that nothing is kept on its word."""

import struct
import tracemalloc

import pytest

from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.pdu import AbortReason, Body, Foreign, Fragment, Header, PduReader, PduType, ProtocolViolation
from tests.support.rawscu import pdata, pdu, pdv

LIMITS = Limits(max_pdu_bytes=4096, max_associate_bytes=1000)


def read(data: bytes, limits: Limits = LIMITS) -> list[object]:
    return list(PduReader(limits).feed(memoryview(data)))


@pytest.mark.parametrize(
    ("kind", "shortest", "longest"),
    [
        (PduType.A_ASSOCIATE_RQ, 68, 1000),
        (PduType.A_ASSOCIATE_AC, 68, 1000),
        (PduType.A_ASSOCIATE_RJ, 4, 4),
        (PduType.P_DATA_TF, 6, 4102),
        (PduType.A_RELEASE_RQ, 4, 4),
        (PduType.A_RELEASE_RP, 4, 4),
        (PduType.A_ABORT, 4, 4),
    ],
)
def test_lengths_are_judged_by_the_header_alone(kind: PduType, shortest: int, longest: int) -> None:
    for length in (shortest, longest):
        assert read(struct.pack(">BxL", kind, length)) == [Header(kind, length)]
    for length in (0, shortest - 1, longest + 1, 0xFFFFFFFF):
        with pytest.raises(ProtocolViolation) as caught:
            read(struct.pack(">BxL", kind, length))
        assert caught.value.reason is AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("first", [0, 8, 0x16, ord("G"), 0xFF])
def test_the_first_byte_tells_dicom_from_everything_else(first: int) -> None:
    assert read(bytes([first])) == [Foreign()]


def test_a_later_unknown_type_is_a_violation() -> None:
    reader = PduReader(LIMITS)
    assert list(reader.feed(memoryview(pdu(5, bytes(4))))) == [Header(PduType.A_RELEASE_RQ, 4), Body(PduType.A_RELEASE_RQ, bytes(4))]
    with pytest.raises(ProtocolViolation) as caught:
        list(reader.feed(memoryview(pdu(0x47, bytes(4)))))
    assert caught.value.reason is AbortReason.UNRECOGNIZED_PDU


def test_the_reserved_byte_is_not_tested() -> None:
    assert read(b"\x05\xff\0\0\0\4abcd")[1] == Body(PduType.A_RELEASE_RQ, b"abcd")


def test_fragments_are_views_of_the_buffer() -> None:
    data = pdata(pdv(1, 3, b"command"), pdv(1, 0xFC, b"abc"), pdv(1, 2, b""))
    events = read(data)
    assert events[1:] == [
        Fragment(1, True, True, memoryview(b"command")),
        Fragment(1, False, False, memoryview(b"abc")),
        Fragment(1, False, True, memoryview(b"")),
    ]
    assert all(event.data.obj is data for event in events if isinstance(event, Fragment))


def test_the_last_fragment_is_last_only_when_all_of_it_is_there() -> None:
    reader = PduReader(LIMITS)
    data = pdata(pdv(1, 2, b"abcdef"))
    assert [event for event in reader.feed(memoryview(data[:-2])) if isinstance(event, Fragment)] == [
        Fragment(1, False, False, memoryview(b"abcd"))
    ]
    assert reader.inside_pdu
    assert list(reader.feed(memoryview(data[-2:]))) == [Fragment(1, False, True, memoryview(b"ef"))]
    assert not reader.inside_pdu


@pytest.mark.parametrize("length", [0, 1, 7, 0xFFFFFFFC, 0xFFFFFFFF])
def test_a_value_must_fit_its_pdu(length: int) -> None:
    with pytest.raises(ProtocolViolation):
        read(pdu(4, struct.pack(">LBB", length, 1, 0) + b"abcd"))


@pytest.mark.parametrize("stray", [1, 5])
def test_a_rest_too_short_for_a_value_is_a_violation(stray: int) -> None:
    with pytest.raises(ProtocolViolation, match="stray"):
        read(pdata(pdv(1, 0, b"ab"), bytes(stray)) + pdata(pdv(1, 0, b"ab")))


def test_a_declared_length_costs_no_memory() -> None:
    limits = Limits(max_pdu_bytes=1 << 20)
    tracemalloc.start()
    readers = [PduReader(limits) for _ in range(100)]
    for reader in readers:
        list(reader.feed(memoryview(struct.pack(">BxL", 1, 1 << 20) + bytes(10))))
    for reader in readers[:50]:
        reader.skip()
        list(reader.feed(memoryview(bytes(100_000))))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()

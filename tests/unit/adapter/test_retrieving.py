"""The parts of a retrieval by themselves: identifiers, searches, what waits, and the beginning of a file."""

from __future__ import annotations

import asyncio
import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_adapter.part10 import FileMeta, file_meta
from dicom_adapter.services.datasets import Unreadable, decode, encode
from dicom_adapter.services.retrieval.arrival import STREAM_BYTES, WHOLE_BYTES, Abandoned, Arrival, Broken, Memory, Ready, Share
from dicom_adapter.services.retrieval.selection import Reference, select

STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
META = FileMeta("1.2", "1.3", ExplicitVRLittleEndian, "1.4", "TEST")
ONE = Reference("1", "2", "1.3", "1.2")

# -- identifiers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_an_identifier_is_read_as_it_was_written(syntax: str) -> None:
    data_set = Dataset()
    data_set.QueryRetrieveLevel, data_set.PatientID, data_set.StudyInstanceUID = "STUDY", "P1", ["1.2", "1.3"]
    content = encode(data_set, syntax)
    assert len(content) % 2 == 0
    assert decode(content, syntax) == data_set


@pytest.mark.parametrize("content", [b"", b"\x03", b"x" * 40, encode(Dataset(), ExplicitVRLittleEndian)])
def test_what_is_not_deflated_is_unreadable(content: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(content, DeflatedExplicitVRLittleEndian)


# -- searches --------------------------------------------------------------------------------------


def searches(level: str, **keys: str | list[str]) -> list[str]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    found = select(identifier, STUDY_MOVE).searches()
    return [search.resource + "".join(f" {name}={value}" for name, value in search.parameters) for search in found]


def test_searches_go_as_deep_as_the_keys_allow() -> None:
    assert searches("STUDY", StudyInstanceUID=["1.2", "1.3"]) == ["/studies/1.2/instances", "/studies/1.3/instances"]
    assert searches("SERIES", SeriesInstanceUID="1.2.3") == ["/instances SeriesInstanceUID=1.2.3"]
    assert searches("SERIES", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3") == ["/studies/1.2/series/1.2.3/instances"]
    assert searches("IMAGE", SOPInstanceUID="1.4") == ["/instances SOPInstanceUID=1.4"]
    below = "/studies/1.2/series/1.2.3/instances"
    assert searches("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.4") == [f"{below} SOPInstanceUID=1.4"]
    many = [f"1.4.{number}" for number in range(9)]  # the list of the series is one search
    assert searches("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID=many) == [below]
    patient = "PatientID=P1 includefield=00100020"
    assert searches("STUDY", PatientID="P1", StudyInstanceUID="1.2") == [f"/studies/1.2/instances {patient}"]


def test_a_match_of_another_patient_is_none() -> None:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.PatientID, identifier.StudyInstanceUID = "STUDY", "P1", "1.2"
    selection = select(identifier, STUDY_MOVE)
    match = {tag: {"vr": "UI", "Value": [value]} for tag, value in {"0020000D": "1.2", "0020000E": "1.3", "00080018": "1.4"}.items()}
    assert selection.accepts(match) == Reference("1.2", "1.3", "1.4", "")
    assert selection.accepts({**match, "00100020": {"vr": "LO", "Value": ["P1 "]}}) is not None
    assert selection.accepts({**match, "00100020": {"vr": "LO", "Value": ["P11"]}}) is None
    assert selection.accepts({**match, "00080018": {"vr": "UI"}}) is None


# -- what waits ------------------------------------------------------------------------------------


async def test_a_whole_instance_is_read_as_often_as_is_wanted_and_its_memory_comes_back() -> None:
    memory = Memory()
    arrival = Arrival(ONE, META, Share(memory))
    await arrival.feed(b"ab")
    await arrival.feed(b"cd")
    arrival.finish()
    for _ in range(2):
        assert b"".join([piece async for piece in arrival.read()]) == b"abcd"
    assert arrival.untouched
    assert await arrival.gather(4) == b"abcd"
    assert await arrival.gather(3) is None
    assert memory.held == 4
    arrival.discard()
    assert memory.held == 0


async def test_a_large_instance_goes_on_early_and_waits_for_its_receiver() -> None:
    memory, ready = Memory(), Ready()
    arrival = Arrival(ONE, META, Share(memory))
    await arrival.feed(bytes(WHOLE_BYTES - 1))
    assert not arrival.goes_on
    await arrival.feed(b"x")
    assert arrival.goes_on
    ready.put(arrival)
    feeding = asyncio.create_task(arrival.feed(b"y"))
    await asyncio.sleep(0)
    assert not feeding.done()
    taken = await ready.take()
    assert taken is arrival
    stream = taken.read()
    while memory.held > STREAM_BYTES:
        await anext(stream)
        await asyncio.sleep(0)
    await feeding
    assert not arrival.untouched
    arrival.fail()
    with pytest.raises(Broken):
        while True:
            await anext(stream)
    arrival.discard()
    assert memory.held == 0


async def test_one_that_nobody_wants_is_not_fed_any_more() -> None:
    arrival = Arrival(ONE, META, Share(Memory()))
    await arrival.feed(b"x")
    arrival.discard()
    with pytest.raises(Abandoned):
        await arrival.feed(b"x")
    with pytest.raises(Abandoned):
        arrival.finish()


async def test_memory_is_shared_and_everybody_may_hold_one_instance() -> None:
    memory = Memory(most=10)
    one, other = Share(memory, most=8), Share(memory, most=8)
    one.take(8)
    assert one.crowded
    assert not other.crowded
    other.take(2)
    assert other.crowded  # all of it together
    waiting = asyncio.create_task(one.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    other.give(2)
    await asyncio.sleep(0)
    assert not waiting.done()  # its own share is full
    one.give(4)
    await waiting
    other.take(6)
    await Share(memory, most=8).room()  # it holds nothing
    one.give(4)
    other.give(6)
    assert memory.held == 0


async def test_whoever_waits_for_an_instance_hears_of_the_end() -> None:
    ready = Ready()
    waiting = [asyncio.create_task(ready.take()) for _ in range(3)]
    await asyncio.sleep(0)
    arrival = Arrival(ONE, META, Share(Memory()))
    ready.put(arrival)
    await asyncio.sleep(0)
    ready.close()
    assert sorted(await asyncio.gather(*waiting), key=str) == sorted([arrival, None, None], key=str)
    late = Arrival(ONE, META, Share(memory := Memory()))
    await late.feed(b"x")
    ready.put(late)
    assert (ready.take_now(), memory.held) == (None, 0)


# -- the beginning of a file -----------------------------------------------------------------------


def test_file_meta_information_is_read_as_it_was_written() -> None:
    assert file_meta(META.encode()) == META
    assert file_meta(META.encode() + b"more") == META


def test_elements_of_every_length_are_passed_over() -> None:
    private = struct.pack("<HH2sHI4s", 2, 0x0102, b"OB", 0, 4, b"abcd") + struct.pack("<HH2sH2s", 2, 0x0016, b"AE", 2, b"AE")
    encoded = META.encode()
    length = struct.unpack_from("<I", encoded, 140)[0] + len(private)
    assert file_meta(encoded[:140] + struct.pack("<I", length) + encoded[144:] + private) == META


@pytest.mark.parametrize(
    "head",
    [
        b"",
        META.encode()[:-1],
        META.encode().replace(b"DICM", b"DICN"),
        FileMeta("", "1.3", "1.2", "1.4", "").encode(),
        FileMeta("1.2", "", "1.2", "1.4", "").encode(),
        FileMeta("1.2", "1.3", "", "1.4", "").encode(),
        META.encode()[:140] + struct.pack("<I", 10) + struct.pack("<HH2sHH", 2, 1, b"OB", 0, 0),
    ],
)
def test_a_beginning_that_says_nothing_is_none(head: bytes) -> None:
    assert file_meta(head) is None

"""Queries and retrievals that nobody in their right mind sends, and stores that die under them: it is said, and nothing else suffers."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from dicom_adapter.dimse import ContextNotAccepted, PeerAddress, PresentationContext, Response, Status, connect
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_adapter.services.query.capabilities import PAGE
from tests.support.catalogue import UID, Catalogue, study
from tests.support.faults import Fault
from tests.support.rawscu import IMPLICIT
from tests.support.store import Reply
from tests.support.vitals import MEGABYTE, WatchedAdapter

JSON = "application/dicom+json"
VERIFICATION, MODALITY_WORKLIST = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.31"
QUICK = {"delivery": {"retry": {"maxAttempts": 3, "initialDelayMilliseconds": 10, "maxDelayMilliseconds": 20}}}
PEERS = {"peers": [{"aeTitle": "WS1", "host": "127.0.0.1", "port": 9}]}
CANARY = "KANARIENVOGEL"


def element(tag: int, value: bytes) -> bytes:
    """In implicit VR little endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes) -> bytes:
    """Of a sequence."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def query(name: str = "") -> bytes:
    """All studies, or those of a patient."""
    return element(0x00080052, b"STUDY ") + element(0x00100010, name.encode()) + element(0x0020000D, b"")


async def ask(adapter: WatchedAdapter, identifier: bytes, model: str = STUDY_ROOT_FIND) -> list[Response]:
    """All responses; afterwards the association is as good as before."""
    contexts = [PresentationContext(uid, (IMPLICIT,)) for uid in (model, VERIFICATION)]
    async with await connect(PeerAddress("GATE", "127.0.0.1", adapter.port), calling_ae_title="WS1", contexts=contexts) as association:
        answers = association.move(model, identifier, "WS1") if model == STUDY_ROOT_MOVE else association.find(model, identifier)
        if model == STUDY_ROOT_GET:
            answers = association.get(model, identifier)
        found = [response async for response in answers]
        assert (await association.echo()).code == 0
    return found


NO_LEVEL, NO_KEY = Status(0xA900, "No QueryRetrieveLevel specified"), Status(0xA900, "Unique key missing: StudyInstanceUID")
UNREADABLE, TOO_LONG = Status(0xA900, "Identifier unreadable"), Status(0xA700, "Data set of more than 524288 bytes")
TOO_MANY = Status(0xA900, "More than 1024 elements in the identifier")
TOO_MANY_VALUES, GIANT = Status(0xA900, "More than 8192 values in one key"), Status(0xA700, "Data set of more than 4194304 bytes")
EMPTY = b"".join(element(0x00210000 + number, b"") for number in range(1, 0x10000))
GARBAGE: Mapping[str, tuple[bytes, Status, Status]] = {  # what a query is answered, and what a retrieval
    "zeros": (bytes(5000), NO_LEVEL, NO_LEVEL),
    "text": (f"{CANARY} ".encode() * 20, UNREADABLE, UNREADABLE),
    "a length past the end": (struct.pack("<HHI", 0x10, 0x10, 0x7FFFFFFF) + CANARY.encode(), NO_LEVEL, NO_LEVEL),
    "sequences without an end": (
        struct.pack("<HHI", 0x08, 0x1140, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) * 400,
        UNREADABLE,
        UNREADABLE,
    ),
    "three hundred keys": (query() + EMPTY[: 300 * 8], Status(0xA900, "More than 256 keys in the identifier"), NO_KEY),
    "sixty thousand keys": (query() + EMPTY[: 60_000 * 8], TOO_MANY, TOO_MANY),
    "sixty thousand keys in a sequence": (query() + element(0x00400275, item(EMPTY[: 60_000 * 8])), TOO_MANY, TOO_MANY),
    "a hundred thousand values": (query("A\\" * 100_000), TOO_MANY_VALUES, TOO_MANY_VALUES),
    "a long value": (query(CANARY * 10_000), Status(0xA900, "More than 1024 characters in one value"), NO_KEY),
    "a value of a megabyte": (query(CANARY * 80_000), TOO_LONG, TOO_LONG),
    "more than any data set": (query(CANARY * 400_000), GIANT, GIANT),
}


async def test_garbage_and_giants_are_refused_and_cost_neither_the_store_nor_the_memory_anything() -> None:
    noise = random.Random(1)
    async with Catalogue(3) as store, WatchedAdapter(store.url, spec=PEERS) as adapter:
        before = await adapter.vitals()
        for name, (identifier, queried, retrieved) in GARBAGE.items():
            for model, status in ((STUDY_ROOT_FIND, queried), (STUDY_ROOT_MOVE, retrieved), (STUDY_ROOT_GET, retrieved)):
                assert await ask(adapter, identifier, model) == [Response(status)], (name, model)
        for _ in range(50):
            (response,) = await ask(adapter, noise.randbytes(noise.randrange(300)))
            assert response.status in (NO_LEVEL, UNREADABLE)
        assert store.searches == []
        assert (await adapter.vitals()).peak - before.resident < 64 * MEGABYTE
        assert CANARY not in str(adapter.lines)
        assert [row.status for row in (await ask(adapter, query()))] == [Status(0xFF00)] * 3 + [Status(0)]


async def test_an_operation_of_another_class_is_refused_and_the_association_lives() -> None:
    async with Catalogue(3) as store, WatchedAdapter(store.url, spec=PEERS) as adapter:
        with pytest.raises(ContextNotAccepted, match="'GATE' has not accepted Modality Worklist - FIND"):
            await ask(adapter, query(), MODALITY_WORKLIST)
        await adapter.line("'WS1' proposed Modality Worklist - FIND: this adapter has no such service")
        for uid in (VERIFICATION, "1.2.3.4"):  # which is a storage class, for all that anybody knows
            assert await ask(adapter, query(), uid) == [Response(Status(0x0122, "C-FIND is no operation of this SOP class"))]
        assert store.searches == []


# -- stores that die -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "comment"),
    [
        ("truncate", "The store sends a search result that breaks off or is too long"),
        ("reset", "Unreachable, 127.0.0.1:{port} closed the connection"),
        ("garbage", "Unreachable, 127.0.0.1:{port} closed the connection"),
    ],
)
async def test_a_store_that_dies_in_the_second_page_is_asked_again_and_what_had_come_is_not_lost(fault: Fault, comment: str) -> None:
    page = json.dumps([study(number) for number in range(PAGE)])
    good, dies = Reply(200, page, JSON), Reply(200, page, JSON, instead=fault)
    async with Catalogue(1200) as store, WatchedAdapter(store.url, spec=QUICK) as adapter:
        store.script.extend([good, dies])
        found = await ask(adapter, query())
        assert uids(found) == [f"{UID}.{number}" for number in range(1200)]
        assert found[-1] == Response(Status(0))
        store.script.extend([good, *[dies] * 20])  # a connection that has been used is replaced once without counting as a try
        found = await ask(adapter, query())
        assert uids(found) == [f"{UID}.{number}" for number in range(PAGE)]
        said = comment.format(port=urlsplit(store.url).port)
        assert found[-1] == Response(Status(0xA700, said))
        await adapter.line(f"C-FIND from 'WS1' failed: A700 {said}")
        store.script.clear()
        assert len(uids(await ask(adapter, query()))) == 1200


def uids(found: list[Response]) -> list[str]:
    """The studies of the pending responses: the last element of each."""
    told = [response.data_set for response in found if response.pending]
    return [data_set[data_set.rindex(UID.encode()) :].rstrip(b"\0").decode() for data_set in told if data_set]


# -- many at once ----------------------------------------------------------------------------------


async def test_twenty_queries_at_once_are_each_answered_in_full() -> None:
    async with Catalogue(300) as store, WatchedAdapter(store.url) as adapter:
        answers = await asyncio.gather(*(ask(adapter, query()) for _ in range(20)))
        for found in answers:
            assert uids(found) == [f"{UID}.{number}" for number in range(300)]
            assert found[-1] == Response(Status(0))

"""A DICOMweb service as a target: one attempt for several instances, one verdict for each of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from dicom_adapter.delivery import verdict
from dicom_adapter.delivery.governor import Ending
from dicom_adapter.delivery.replay import Copy, Room
from dicom_adapter.delivery.store import DicomwebTarget
from dicom_adapter.delivery.target import Whole, attempt
from dicom_adapter.delivery.verdict import Outcome
from dicom_adapter.dicomweb.answers import StoreResponse, store_response
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.part10 import FileMeta
from tests.support.archive import Archive
from tests.support.delivering import delivering
from tests.support.dicom import generated

STORED, REFUSED, UNAVAILABLE, TRANSIENT = Outcome


def whole() -> Whole:
    one = generated()
    meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", "TEST")
    copy = Copy(Room(tempfile.gettempdir()))
    copy.take(meta.encode())
    copy.take(one.data_set)
    return Whole(meta, copy)


@asynccontextmanager
async def target() -> AsyncIterator[tuple[Archive, DicomwebTarget]]:
    async with Archive() as archive, delivering(archive.url, seconds=2) as sender:
        yield archive, sender.delivering.target


def outcomes(verdicts: Sequence[object]) -> list[Outcome]:
    return [verdict.outcome for verdict in verdicts]  # type: ignore[attr-defined]


async def test_several_instances_share_a_request() -> None:
    async with target() as (archive, store):
        batch = [whole() for _ in range(3)]
        sent = await attempt(store, batch, deadline=asyncio.get_running_loop().time() + 5)
        assert outcomes(sent.verdicts) == [STORED] * 3
        assert [got.uids for got in archive.got] == [tuple(one.uid for one in batch)]
        assert (sent.ending, sent.split) == (Ending.ANSWERED, False)
        assert store.gate.governor.active == 0


async def test_each_has_its_own_verdict() -> None:
    async with target() as (archive, store):
        batch = [whole() for _ in range(3)]
        archive.refuses = {batch[1].uid: 0xA900}
        sent = await store.send(batch)
        assert outcomes(sent.verdicts) == [STORED, REFUSED, STORED]
        assert sent.verdicts[1].status == 0xA900
        assert (sent.ending, sent.split) == (Ending.ANSWERED, False)


@pytest.mark.parametrize("status", [400, 409, 413, 422, 500])
async def test_a_request_that_fails_as_a_whole_judges_none_of_several(status: int) -> None:
    async with target() as (archive, store):
        batch = [whole() for _ in range(2)]
        archive.fails = {batch[0].uid: status}
        sent = await store.send(batch)
        assert outcomes(sent.verdicts) == [TRANSIENT, TRANSIENT]
        assert sent.split
        assert sent.ending is (Ending.ANSWERED if status < 500 else Ending.FAILED)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
async def test_what_says_nothing_of_the_instances_does_not_part_them(status: int) -> None:
    async with target() as (archive, store):
        archive.outage, archive.headers = status, {"Retry-After": "7"}
        sent = await store.send([whole(), whole()])
        assert STORED not in outcomes(sent.verdicts)
        assert REFUSED not in outcomes(sent.verdicts)
        assert not sent.split
        assert sent.retry_after == 7


async def test_success_without_a_word_about_them_is_none_for_several() -> None:
    async with target() as (archive, store):
        archive.silent = True
        sent = await store.send([whole(), whole()])
        assert outcomes(sent.verdicts) == [TRANSIENT, TRANSIENT]
        assert sent.split
        assert outcomes((await store.send([whole()])).verdicts) == [STORED]


async def test_a_store_that_takes_one_at_a_time_is_given_one_at_a_time() -> None:
    async with target() as (archive, store):
        archive.several = False
        assert store.most.instances > 1
        for _ in range(3):
            await store.send([whole(), whole()])
        assert store.most.instances == 1


async def test_the_time_limit_is_for_a_store_that_takes_nothing() -> None:
    async with target() as (archive, store):
        archive.delay = 3
        sent = await store.send([whole()])
        assert sent.verdicts[0].text == "Store took longer than 2 s"
        assert sent.ending is Ending.FAILED


async def test_an_answer_for_several_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Answer] = []

    def reading(answer: Answer) -> StoreResponse | None:
        read.append(answer)
        return store_response(answer)

    monkeypatch.setattr(verdict, "store_response", reading)
    async with target() as (_, store):
        sent = await store.send([whole() for _ in range(5)])
        assert outcomes(sent.verdicts) == [STORED] * 5
        assert len(read) == 1

"""What becomes of an instance that the store has already: proven first, and never at the cost of what is stored."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from dicom_adapter import messages
from dicom_adapter.config import OnConflict
from dicom_adapter.delivery.conflict import _same_data_set
from dicom_adapter.delivery.replay import Copy, Room
from dicom_adapter.delivery.spooled import load
from dicom_adapter.delivery.verdict import Outcome
from dicom_adapter.part10 import FileMeta
from dicom_adapter.spool.spool import Bounds as SpoolBounds
from dicom_adapter.spool.spool import Spool
from dicom_adapter.spool.storage import Disk
from tests.support.delivering import Sender, Token, delivering, other
from tests.support.dicom import Instance, generated
from tests.support.google import CLOUD_HEALTHCARE, GoogleIdentity
from tests.support.healthcare import DELETE, READ, WRITE, HealthcareApi
from tests.support.store import Reply, failed_json

FAIL, KEEP, OVERWRITE = OnConflict
POLICIES = pytest.mark.parametrize("policy", list(OnConflict))


@asynccontextmanager
async def store(
    policy: OnConflict, seconds: int = 10, kind: type[HealthcareApi] = HealthcareApi
) -> AsyncIterator[tuple[HealthcareApi, Sender]]:
    async with GoogleIdentity() as identity, kind(identity) as api:
        token = identity.issue("a@p.iam.gserviceaccount.com", [CLOUD_HEALTHCARE])
        async with delivering(api.url, credentials=Token(token), on_conflict=policy, seconds=seconds) as sender:
            yield api, sender


async def stored(sender: Sender, size: int = 1024) -> Instance:
    one = generated(size)
    assert (await sender.send(one)).verdict.status == 0
    return one


def content(api: HealthcareApi, one: Instance) -> str:
    """Which one the store has."""
    found = api.instances.by_uid().get(one.sop_instance_uid)
    if found is None:
        return "neither"
    return "old" if b"Test^Image" in found.content else "new"


@pytest.mark.parametrize("size", [1024, 6 << 20])
@pytest.mark.parametrize(
    ("policy", "status", "which", "action"),
    [(FAIL, 0xC409, "old", "Failed"), (KEEP, 0x0000, "old", "Kept"), (OVERWRITE, 0x0000, "new", "Overwritten")],
)
async def test_other_content_under_the_same_uids(policy: OnConflict, status: int, which: str, action: str, size: int) -> None:
    async with store(policy) as (api, sender):
        one = await stored(sender, size)
        delivered = await sender.send(other(one))
        assert delivered.verdict.status == status
        assert content(api, one) == which
        assert sender.observer.conflicts == [action]
        assert sender.delivering.gate.governor.active == 0
    if policy is FAIL:
        assert delivered.verdict.comment == "Http_409, ALREADY_EXISTS, instance already exists with other con"
        assert delivered.verdict.text == "409 ALREADY_EXISTS; spec.delivery.onConflict is Fail"
    else:
        assert delivered.verdict.remark == (messages.KEPT if policy is KEEP else messages.OVERWRITTEN)


@POLICIES
@pytest.mark.parametrize("size", [1024, 6 << 20])
async def test_a_409_to_what_the_store_has_with_equal_content_means_stored(policy: OnConflict, size: int) -> None:
    async with store(policy) as (api, sender):
        one = await stored(sender, size)
        api.script.append(Reply(409, "", "text/plain"))
        assert (await sender.send(one)).verdict.status == 0
        assert sender.observer.conflicts == ["Equal"]
        assert len(api.instances) == 1


@POLICIES
async def test_a_lost_answer_and_a_409_to_the_resend_mean_stored(policy: OnConflict) -> None:
    async with store(policy) as (api, sender):
        api.script.extend([Reply(instead="reset", keeps=True), Reply(409, "", "text/plain")])
        one = generated()
        delivered = await sender.send(one)
        assert (delivered.verdict.status, delivered.attempts, delivered.verdict.unknown) == (0, 2, False)
        assert content(api, one) == "old"


@POLICIES
async def test_a_409_for_another_reason_is_no_duplicate(policy: OnConflict) -> None:
    async with store(policy) as (api, sender):
        api.script.extend([Reply(409, "", "text/plain"), Reply(409, failed_json("9.9", 0xA900))])
        for status, comment in ((0xC000, "Http_409, Conflict"), (0xA900, "The store refused the instance: Failure Reason A900")):
            delivered = await sender.send(generated())
            assert (delivered.verdict.status, delivered.verdict.comment) == (status, comment)
        assert not [code for method, code in sender.observer.requests if method == "DELETE"]
        assert sender.observer.conflicts == []


async def test_a_bare_409_is_proven_by_what_the_store_has() -> None:
    async with store(FAIL) as (api, sender):
        one = await stored(sender)
        api.script.append(Reply(409, "", "text/plain"))
        verdict = (await sender.send(other(one))).verdict
        assert (verdict.status, verdict.comment) == (0xC409, "Http_409, ALREADY_EXISTS, instance exists with other content")


@POLICIES
async def test_a_data_set_of_another_instance_than_the_command_names(policy: OnConflict) -> None:
    async with store(policy) as (api, sender):
        one = await stored(sender)
        wrong = Instance(one.sop_class_uid, "1.2.3.4", one.transfer_syntax_uid, one.data_set)
        verdict = (await sender.send(wrong)).verdict
        assert (verdict.status, verdict.comment) == (0xA900, "SOP Instance UID of data set and command differ")
        assert content(api, one) == "old"


@pytest.mark.parametrize(("policy", "status"), [(FAIL, 0xC409), (KEEP, 0), (OVERWRITE, 0xC409)])
async def test_a_data_set_that_cannot_be_read_is_judged_by_the_stores_word_alone(policy: OnConflict, status: int) -> None:
    async with store(policy) as (api, sender):
        wrong = Instance("1.2", "1.2.3.4", "1.2.840.10008.1.2.1", b"no data set")
        api.script.extend([Reply(409, ""), Reply(409, failed_json("1.2.3.4", 0x0110, "already exists"))])
        assert (await sender.send(wrong)).verdict.status == 0xC000
        assert (await sender.send(wrong)).verdict.status == status
        assert [method for method, _ in sender.observer.requests] == ["POST", "POST"]


async def test_equal_content_is_found_equal_however_it_is_cut_and_whoever_has_written_its_head() -> None:
    one = generated(300_000)
    contents = [
        FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, name, "X").encode() for name in ("1.2", "1.2.3456")
    ]
    room = Room(tempfile.gettempdir())

    def copy(content: bytes, *cuts: int) -> Copy:
        made, start = Copy(room), 0
        for cut in (*cuts, len(content)):
            made.take(content[start:cut])
            start = cut
        return made

    whole = contents[0] + one.data_set
    for cuts in ((), (10,), (10, 143), (150, 100_000)):
        assert await _same_data_set(copy(whole), copy(contents[1] + one.data_set, *cuts))
        assert not await _same_data_set(copy(whole), copy(contents[1] + one.data_set[:-1] + b"x", *cuts))
    for other_ in (b"", whole[:100], whole[128:], one.data_set):
        assert not await _same_data_set(copy(whole), copy(other_))
        assert not await _same_data_set(copy(other_), copy(other_))


class LosingDeletions(HealthcareApi):
    """Its answers to deletions are lost, after or before they are done."""

    does = True

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        if self.does:
            await super()._delete(request)
        else:
            self._note(request)
        assert request.transport
        request.transport.abort()
        return web.Response()


@pytest.mark.parametrize(("does", "status", "which"), [(True, 0, "new"), (False, 0xC409, "old")])
async def test_a_deletion_whose_answer_is_lost(does: bool, status: int, which: str) -> None:
    async with store(OVERWRITE, kind=LosingDeletions) as (api, sender):
        assert isinstance(api, LosingDeletions)
        api.does = does
        one = await stored(sender)
        verdict = (await sender.send(other(one))).verdict
        assert verdict.status == status
        assert verdict.text == ("" if does else "409 ALREADY_EXISTS; the stored image was not overwritten: it is still there")
        assert content(api, one) == which


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        (READ, "409 ALREADY_EXISTS; the stored image was not overwritten: the store does not give the old one"),
        (DELETE, "409 ALREADY_EXISTS; the stored image was not overwritten: the store answers 403 to the deletion"),
    ],
)
async def test_what_cannot_be_fetched_or_deleted_is_not_overwritten(missing: str, why: str) -> None:
    async with store(OVERWRITE) as (api, sender):
        one = await stored(sender)
        api.permissions = {READ, WRITE, DELETE} - {missing}
        verdict = (await sender.send(other(one))).verdict
        assert (verdict.status, verdict.text) == (0xC409, why)
        assert content(api, one) == "old"
        assert sender.observer.conflicts == ["Failed"]


REFUSALS = {
    "refused": [Reply(400, "")],
    "unavailable": [Reply(503, "")] * 4,
    "lost": [Reply(instead="reset")] * 5,
}


@pytest.mark.parametrize("size", [1024, 6 << 20])
@pytest.mark.parametrize("case", REFUSALS)
async def test_when_the_new_one_is_not_taken_the_old_one_is_put_back(case: str, size: int) -> None:
    async with store(OVERWRITE) as (api, sender):
        one = await stored(sender, size)
        before = api.instances.by_uid()[one.sop_instance_uid].content
        new = other(one)
        api.script.extend([Reply(), *REFUSALS[case]])
        verdict = (await sender.send(new)).verdict
        assert verdict.outcome is not Outcome.STORED
        assert api.instances.by_uid()[one.sop_instance_uid].content == before
        assert sender.observer.conflicts == ["PutBack"]
        assert sender.observer.lines == [(one.sop_instance_uid, messages.PUT_BACK, False)]


async def test_when_the_store_takes_neither_it_is_said_that_both_are_lost() -> None:
    async with store(OVERWRITE) as (api, sender):
        sender.delivering.conflicts._pauses = (0.01,)
        one = await stored(sender)
        api.script.extend([Reply(), *[Reply(400, "")] * 3])
        assert (await sender.send(other(one))).verdict.status == 0xC000
        assert content(api, one) == "neither"
        assert sender.observer.conflicts == ["Lost"]
        assert sender.observer.lines == [(one.sop_instance_uid, messages.NOT_PUT_BACK, True)]


async def test_putting_back_goes_on_until_the_store_is_there_again() -> None:
    async with store(OVERWRITE) as (api, sender):
        sender.delivering.conflicts._pauses = (0.01,) * 9
        one = await stored(sender)
        api.script.extend([Reply(), *[Reply(400, "")] * 8])
        await sender.send(other(one))
        assert content(api, one) == "old"
        assert sender.observer.conflicts == ["PutBack"]


async def test_a_sender_who_leaves_while_his_image_overwrites_another_costs_neither() -> None:
    async with store(OVERWRITE) as (api, sender):
        one = await stored(sender)
        sending = asyncio.create_task(sender.send(other(one)))
        await api.until(lambda: api.requests[-1][0] == "DELETE")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await sender.delivering.conflicts.settle(10)
        assert content(api, one) == "new"


async def test_two_who_overwrite_the_same_image_do_so_one_after_the_other() -> None:
    async with store(OVERWRITE) as (api, sender):
        one = await stored(sender)
        changed = [replace(one, data_set=one.data_set.replace(b"Test^Image", name)) for name in (b"Test^One..", b"Test^Two..")]
        results = await asyncio.gather(*(sender.send(new) for new in changed))
        assert [delivered.verdict.status for delivered in results] == [0, 0]
        assert len(api.instances) == 1
        assert not sender.delivering.conflicts._locks


async def test_a_conflict_that_takes_too_long_is_answered_in_time() -> None:
    async with store(FAIL, seconds=1) as (api, sender):
        one = await stored(sender)
        api.search_reply = Reply(instead="never answer")
        verdict = (await sender.send(other(one))).verdict
        assert (verdict.status, verdict.comment, verdict.unknown) == (0xA700, "Store took longer than 1 s", True)


@pytest.mark.parametrize("size", [1024, 6 << 20], ids=["kept in memory", "read from the disk"])
async def test_an_instance_from_the_spool_meets_another_one(size: int, tmp_path: Path) -> None:
    """What is done about it reads the file as often as it has to."""
    async with store(OVERWRITE) as (api, sender):
        one = await stored(sender, size)
        new = other(one)
        meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", "TEST")
        disk = Disk(str(tmp_path))
        spool = Spool(disk, ["dicomStore"], SpoolBounds(reserve_bytes=0))
        spool.open()
        entry = spool.commit(spool.begin([meta.encode(), new.data_set]), ["dicomStore"])
        whole = load(disk, f"dicomStore/ready/{entry.name}", entry, keep=True)
        target = sender.delivering.target
        (verdict,) = (await target.send([whole])).verdicts
        assert verdict.http_status == 409
        settled = await target.settle(whole, verdict)
        assert settled.outcome is Outcome.STORED, settled
        assert content(api, one) == "new"
        assert sender.observer.conflicts == ["Overwritten"]
        disk.release()

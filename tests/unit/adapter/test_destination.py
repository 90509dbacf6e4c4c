"""One instance on its way to one destination: when it is sent again, when not, and what its sender hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from dicom_adapter import messages
from dicom_adapter.config import Retry
from dicom_adapter.delivery.replay import Room
from dicom_adapter.delivery.verdict import Outcome
from dicom_adapter.dimse import DataSetInterrupted
from tests.support.delivering import ONCE, QUICK, Sender, delivering
from tests.support.dicom import generated, split
from tests.support.relay import Relay
from tests.support.store import FaultStore, Reply

SIZES = pytest.mark.parametrize("size", [1024, 6 << 20])
LARGE = 6 << 20


@asynccontextmanager
async def store(*, retry: Retry = QUICK, seconds: int = 10) -> AsyncIterator[tuple[FaultStore, Sender]]:
    async with FaultStore() as found, delivering(found.url, retry=retry, seconds=seconds) as sender:
        yield found, sender


@SIZES
async def test_a_resend_is_the_same_byte_for_byte(size: int) -> None:
    async with store() as (found, sender):
        found.script.extend([Reply(503, ""), Reply(instead="reset"), Reply()])
        delivered = await sender.send(generated(size))
        assert (delivered.verdict.status, delivered.attempts) == (0, 3)
        assert sender.observer.retries == (["503", "Lost"] if size == LARGE else ["503"])  # a kept connection that is lost is no failed try
        assert found.posts[0].part == found.posts[1].part == found.posts[2].part
        assert [post.chunked for post in found.posts] == [size == LARGE, False, False]


@SIZES
async def test_after_the_last_attempt_the_last_answer_counts(size: int) -> None:
    async with store() as (found, sender):
        found.script.extend([Reply(500, ""), Reply(502, ""), Reply(500, ""), Reply(504, "")])
        delivered = await sender.send(generated(size))
        assert (delivered.verdict.comment, delivered.attempts) == ("Http_504, Gateway Timeout", 4)
        assert sender.observer.retries == ["500", "502", "500"]


async def test_what_an_earlier_attempt_may_have_stored_stays_unknown() -> None:
    async with store() as (found, sender):
        found.script.extend([Reply(instead="reset"), *[Reply(500, "")] * 3])
        verdict = (await sender.send(generated())).verdict
        assert (verdict.status, verdict.unknown) == (0xA700, True)
        found.script.extend([Reply(instead="reset"), Reply(400, "")])
        verdict = (await sender.send(generated())).verdict
        assert (verdict.status, verdict.unknown) == (0xC000, False)


async def test_one_attempt_is_no_retry_but_a_stale_connection_costs_none() -> None:
    async with FaultStore() as found, Relay(found.port, ends=lambda number: number == 2) as relay:
        async with delivering(f"http://127.0.0.1:{relay.port}/dicom-web", retry=ONCE) as sender:
            for _ in range(6):
                assert (await sender.send(generated())).verdict.status == 0
            found.script.append(Reply(503, ""))
            assert (await sender.send(generated())).verdict.comment == "Http_503, Service Unavailable"
        assert relay.ended >= 3
    assert sender.observer.retries == []


@SIZES
async def test_retry_after_is_waited_for_and_beyond_the_time_that_there_is_the_answer_stands_for_all(size: int) -> None:
    async with store(seconds=5) as (found, sender):
        found.script.extend([Reply(503, "", headers={"Retry-After": "1"}), Reply()])
        began = time.monotonic()
        assert (await sender.send(generated(size))).verdict.status == 0
        assert time.monotonic() - began >= 1
        found.script.append(Reply(429, "", headers={"Retry-After": "3600"}))
        for attempts in (1, 0, 0):  # the others are not even sent
            delivered = await sender.send(generated(size))
            assert (delivered.verdict.comment, delivered.attempts) == ("Http_429, Too Many Requests", attempts)
        assert len(found.posts) == 3


async def test_when_the_circuit_is_open_senders_hear_at_once_what_the_last_one_heard() -> None:
    async with store(retry=ONCE, seconds=1) as (found, sender):
        found.script.extend([Reply(404, ""), Reply(instead="never answer")])
        assert (await sender.send(generated())).attempts == 1
        assert (await sender.send(generated())).verdict.comment == "Store took longer than 1 s"
        assert sender.delivering.gate.governor.open
        delivered = await sender.send(generated())
        assert (delivered.verdict.comment, delivered.verdict.unknown, delivered.attempts) == ("Store took longer than 1 s", False, 0)
        while sender.delivering.gate.governor.open:  # one after the other is tried
            await asyncio.sleep(0.05)
            await sender.send(generated())
        assert (await sender.send(generated())).verdict.status == 0


@SIZES
async def test_a_redirect_of_an_upload_within_the_origin_is_followed(size: int) -> None:
    bodies: list[tuple[str, int]] = []

    async def handler(request: web.Request) -> web.Response:
        bodies.append((request.path, len(await request.read())))
        where = {"/dicom-web/studies": "/b/studies", "/b/studies": "/c/studies?d=e"}.get(request.path)
        return web.Response(status=307, headers={"Location": where}) if where else web.Response(status=200)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with delivering(f"http://127.0.0.1:{runner.addresses[0][1]}/dicom-web", retry=ONCE) as sender:
        delivered = await sender.send(generated(size))
    await runner.cleanup()
    assert (delivered.verdict.status, delivered.attempts) == (0, 3)
    assert [path for path, _ in bodies] == ["/dicom-web/studies", "/b/studies", "/c/studies"]
    assert len({length for _, length in bodies}) == 1


@SIZES
async def test_redirects_without_end_are_followed_five_times(size: int) -> None:
    async with store() as (found, sender):
        found.script.extend([Reply(307, "", headers={"Location": "/dicom-web/studies"})] * 9)
        delivered = await sender.send(generated(size))
        assert (delivered.verdict.comment[:29], delivered.attempts) == ("Http_307, Temporary Redirect,", 6)


class Tokens:
    """Credentials of which the store takes only the last."""

    def __init__(self, count: int) -> None:
        self.now = 1
        self._count = count

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.now}"}

    async def refused(self, headers: Mapping[str, str]) -> bool:
        self.now += 1
        return self.now <= self._count


@SIZES
@pytest.mark.parametrize(("count", "status", "attempts"), [(1, 0x0124, 1), (2, 0, 2), (3, 0x0124, 2)])
async def test_after_a_401_an_image_is_sent_once_more_with_other_credentials(size: int, count: int, status: int, attempts: int) -> None:
    def guard(post: object) -> Reply | None:
        token = found.posts[-1].headers["Authorization"]
        return None if token == f"Bearer {count}" and count > 1 else Reply(401, "")

    async with FaultStore(reply=guard) as found:
        tokens = Tokens(count)
        async with delivering(found.url, retry=ONCE, credentials=tokens) as sender:
            delivered = await sender.send(generated(size))
    assert (delivered.verdict.status, delivered.attempts) == (status, attempts)


async def test_without_room_for_a_copy_a_large_image_is_refused_before_its_upload_and_a_small_one_is_not() -> None:
    async with store() as (found, sender):
        sender.delivering.pipeline._room = Room("/proc", maximum=0)
        delivered = await sender.send(generated(LARGE))
        assert (delivered.verdict.status, delivered.verdict.comment) == (0xA700, messages.NO_ROOM)
        assert len(messages.NO_ROOM) <= 64
        assert not found.posts
        assert (await sender.send(generated())).verdict.status == 0


async def test_an_image_that_outgrows_the_room_is_sent_once(tmp_path: Path) -> None:
    async with store() as (found, sender):
        sender.delivering.pipeline._room = Room(str(tmp_path), maximum=64 << 20)
        one = generated(66 << 20)
        assert (await sender.send(one, piece=1 << 20)).verdict.status == 0
        assert split(found.posts[0].part)[1] == one.data_set
        found.script.append(Reply(503, ""))
        delivered = await sender.send(one, piece=1 << 20)
        assert (delivered.verdict.outcome, delivered.attempts) == (Outcome.TRANSIENT, 1)


@pytest.mark.parametrize("reply", [Reply(503, "", when="before body"), Reply(instead="reset", when="mid body")])
async def test_a_sender_who_leaves_after_a_lost_attempt_reaches_no_store(reply: Reply) -> None:
    async with store() as (found, sender):
        found.script.append(reply)
        with pytest.raises(DataSetInterrupted):
            await sender.send(generated(20 << 20), leaves_at=15 << 20)
        assert len(found.posts) == 1
        assert not found.posts[0].complete
        assert sender.delivering.gate.governor.active == 0
        assert sender.delivering.pipeline._room.reserved == 0

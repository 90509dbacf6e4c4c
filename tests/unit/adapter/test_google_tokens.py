"""Google tokens: shared, refreshed in time, and sentences when there are none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from dicom_adapter.auth.google import REFRESH_BEFORE, RENEW_AFTER, RETRY_AFTER, GoogleTokens, Token
from dicom_adapter.auth.tokens import CredentialsUnavailable


class FakeSource:
    """Tokens t1, t2, … that live for an hour of the given clock."""

    identity = "dicom@p.iam.gserviceaccount.com"
    stamp: object = "key 1"

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.life = 3600.0
        self.fetched = 0
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def load(self) -> None:
        if self.failure:
            raise self.failure

    def fetch(self) -> Token:
        self.gate.wait(60)
        self.fetched += 1
        if self.failure:
            raise self.failure
        return Token(f"t{self.fetched}", self.clock[0] + self.life)


@pytest.fixture
def clock() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def source(clock: list[float]) -> FakeSource:
    return FakeSource(clock)


@pytest.fixture
def tokens(source: FakeSource, clock: list[float]) -> GoogleTokens:
    return GoogleTokens(source, now=lambda: clock[0])


async def bearer(tokens: GoogleTokens) -> str:
    return (await tokens.headers())["Authorization"]


async def test_a_hundred_waiters_cost_one_request_and_the_token_is_kept(tokens: GoogleTokens, source: FakeSource) -> None:
    source.gate.clear()
    waiting = [asyncio.create_task(bearer(tokens)) for _ in range(100)]
    await asyncio.sleep(0)
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"Bearer t1"}
    assert await bearer(tokens) == "Bearer t1"
    assert source.fetched == 1
    assert tokens.identity == source.identity


async def test_a_token_is_refreshed_before_it_ends_and_nobody_waits_for_it(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    await bearer(tokens)
    clock[0] += 3600 - REFRESH_BEFORE
    source.gate.clear()
    assert await bearer(tokens) == "Bearer t1"
    assert await bearer(tokens) == "Bearer t1"
    source.gate.set()
    async with asyncio.timeout(60):
        while await bearer(tokens) != "Bearer t2":  # noqa: ASYNC110 -- the refresh runs in a thread
            await asyncio.sleep(0)
    assert source.fetched == 2


async def test_an_expired_token_is_never_sent(tokens: GoogleTokens, clock: list[float]) -> None:
    await bearer(tokens)
    clock[0] += 3600
    assert await bearer(tokens) == "Bearer t2"


async def test_a_new_key_replaces_the_token_at_once(tokens: GoogleTokens, source: FakeSource) -> None:
    await bearer(tokens)
    source.stamp = "key 2"
    assert await bearer(tokens) == "Bearer t2"


async def test_while_the_token_endpoint_fails_it_is_asked_seldom_and_an_old_token_serves_to_its_end(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    await bearer(tokens)
    source.failure = CredentialsUnavailable("down")
    clock[0] += 3600 - REFRESH_BEFORE
    for _ in range(10):
        assert await bearer(tokens) == "Bearer t1"
        await asyncio.sleep(0)
    clock[0] += REFRESH_BEFORE
    for _ in range(10):
        with pytest.raises(CredentialsUnavailable, match="down"):
            await bearer(tokens)
    assert source.fetched <= 3
    source.failure = None
    clock[0] += RETRY_AFTER
    assert (await bearer(tokens)).startswith("Bearer t")


async def test_a_refresh_that_has_just_failed_is_no_answer_to_who_asks_next(
    tokens: GoogleTokens, source: FakeSource, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(fetch: Callable[[], Token]) -> Token:
        return fetch()

    async def asked_next() -> str:
        await asyncio.sleep(0)  # by now the refresh has failed, and no callback of its has run
        source.failure = None
        clock[0] += RETRY_AFTER
        return await bearer(tokens)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    source.failure = CredentialsUnavailable("down")
    first, after = asyncio.create_task(bearer(tokens)), asyncio.create_task(asked_next())
    with pytest.raises(CredentialsUnavailable, match="down"):
        await first
    assert await after == "Bearer t2"


async def test_ten_seconds_without_the_token_endpoint_cost_no_image_and_six_requests(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    await bearer(tokens)
    clock[0] += 3600 - REFRESH_BEFORE
    source.failure = CredentialsUnavailable("down")
    for _ in range(1000):  # a hundred images a second
        assert await bearer(tokens) == "Bearer t1"
        await until_idle(tokens)
        clock[0] += 0.01
    assert source.fetched - 1 <= 6
    source.failure = None
    clock[0] += RETRY_AFTER
    await bearer(tokens)
    await until_idle(tokens)
    assert await bearer(tokens) == f"Bearer t{source.fetched}"


async def until_idle(tokens: GoogleTokens) -> None:
    """Waits for the refresh in the background, when there is one."""
    while tokens._refresh is not None:  # noqa: ASYNC110 -- it runs in a thread
        await asyncio.sleep(0)


async def test_a_waiter_that_gives_up_does_not_end_the_refresh_of_the_others(tokens: GoogleTokens, source: FakeSource) -> None:
    source.gate.clear()
    first, second = asyncio.create_task(bearer(tokens)), asyncio.create_task(bearer(tokens))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert await second == "Bearer t1"


async def test_a_token_that_the_store_refuses_is_replaced_once_for_all_who_had_it(tokens: GoogleTokens, source: FakeSource) -> None:
    sent = await tokens.headers()
    assert [await tokens.refused(sent) for _ in range(50)] == [True] * 50
    assert set(await asyncio.gather(*(bearer(tokens) for _ in range(50)))) == {"Bearer t2"}
    assert await tokens.refused(sent)  # a late one: there is a new token already
    assert source.fetched == 2


async def test_a_store_that_refuses_every_token_costs_one_a_minute(tokens: GoogleTokens, source: FakeSource, clock: list[float]) -> None:
    worth = []
    for _ in range(1000):
        worth.append(await tokens.refused(await tokens.headers()))
        clock[0] += 0.1
    assert source.fetched == 1 + sum(worth) == 3
    clock[0] += RENEW_AFTER
    assert await tokens.refused(await tokens.headers())


async def test_a_token_that_ends_on_its_way_to_the_store_is_worth_another_try_each_time(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    source.life = 3.0
    for _ in range(3):
        sent = await tokens.headers()
        clock[0] += 3.0
        assert await tokens.refused(sent)
    assert source.fetched == 3


async def test_a_token_that_comes_with_little_life_left_is_not_asked_for_with_every_image(
    tokens: GoogleTokens, source: FakeSource, clock: list[float]
) -> None:
    end = clock[0] + REFRESH_BEFORE
    while clock[0] < end - 1:
        source.life = end - clock[0]  # a metadata server keeps its token for all who ask
        assert (await bearer(tokens)).startswith("Bearer t")
        await asyncio.sleep(0.0001)
        clock[0] += 0.25
    assert source.fetched < 12

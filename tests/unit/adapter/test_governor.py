"""When a request may start: rule by rule, and what holds whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time

import pytest

from dicom_adapter.delivery.gate import CircuitOpen, Gate, NoTurn
from dicom_adapter.delivery.governor import MAXIMUM_RETRY_AFTER, Bounds, Decision, Ending, Governor, Permit
from dicom_adapter.delivery.retry import RetryPolicy, seconds_until
from dicom_adapter.delivery.verdict import Outcome, Verdict, not_asked, too_late
from dicom_adapter.dicomweb.errors import Obstacle

START, WAIT, REFUSE = Decision.START, Decision.WAIT, Decision.REFUSE
ANSWERED, THROTTLED, OVERLOADED, FAILED, ABANDONED = Ending.ANSWERED, Ending.THROTTLED, Ending.OVERLOADED, Ending.FAILED, Ending.ABANDONED


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Driven(Governor):
    """A governor with a clock of its own."""

    def __init__(self, uploads: int = 8, per_minute: int | None = None, open_after: float = 20.0) -> None:
        self.clock = Clock()
        self.rates: list[float] = []
        super().__init__(Bounds(uploads, per_minute, open_after), now=self.clock, throttled=self.rates.append)

    def one(self, ending: Ending, *, seconds: float | None = None, retry_after: float | None = None) -> None:
        """A request from start to end."""
        assert self.ask()[0] is START
        self.end(self.start(), ending, seconds=seconds, retry_after=retry_after)


def test_as_many_requests_as_there_are_permits() -> None:
    governor = Driven(2)
    permits = [governor.start() for _ in range(2)]
    assert governor.ask() == (WAIT, math.inf)
    governor.end(permits[0], ANSWERED)
    assert governor.ask()[0] is START
    assert (governor.permits, governor.active) == (2, 1)


def test_an_overloaded_store_gets_half_once_for_all_that_were_under_way_and_one_more_for_each_round() -> None:
    governor = Driven(16)
    together = [governor.start() for _ in range(16)]
    governor.clock.time += 1
    for permit in together:
        governor.end(permit, OVERLOADED)
    assert governor.permits == 8
    for _ in range(9):
        governor.one(ANSWERED)
    assert governor.permits == 9


def test_one_503_in_twenty_is_no_overload() -> None:
    governor = Driven(16)
    for number in range(400):
        governor.clock.time += 0.1
        governor.one(OVERLOADED if number % 20 == 0 else ANSWERED)
    assert governor.permits == 16


def test_a_store_that_is_always_overloaded_keeps_one_permit_and_one_that_recovers_gets_them_all_back() -> None:
    governor = Driven(16, open_after=1e9)
    for _ in range(20):
        governor.clock.time += 1
        governor.one(OVERLOADED)
    assert governor.permits == 1
    governor.clock.time += 100
    for _ in range(200):
        governor.clock.time += 10
        governor.one(ANSWERED)
    assert governor.permits == 16


def test_answers_that_become_slow_cost_permits_until_they_are_usual() -> None:
    governor = Driven(16)
    for _ in range(20):
        governor.one(ANSWERED, seconds=0.1)
    assert governor.permits == 16
    for _ in range(60):
        governor.clock.time += 5
        governor.one(ANSWERED, seconds=5.0)
    assert governor.permits < 8
    for _ in range(3000):
        governor.clock.time += 5
        governor.one(ANSWERED, seconds=5.0)
    assert governor.permits == 16


def test_answers_below_a_second_are_never_slow() -> None:
    governor = Driven(16)
    for seconds in [0.001] * 50 + [0.9] * 100:
        governor.one(ANSWERED, seconds=seconds)
    assert governor.permits == 16


@pytest.mark.parametrize("ending", [THROTTLED, OVERLOADED])
def test_retry_after_holds_back_everybody(ending: Ending) -> None:
    governor = Driven()
    governor.one(ending, retry_after=7)
    decision, seconds = governor.ask()
    assert decision is WAIT
    assert seconds == pytest.approx(7)
    governor.clock.time += 7
    assert governor.ask()[0] is START


def test_retry_after_is_obeyed_for_five_minutes_and_a_success_says_nothing_of_it() -> None:
    governor = Driven()
    governor.one(OVERLOADED, retry_after=1e9)
    decision, seconds = governor.ask()
    assert decision is WAIT
    assert seconds == pytest.approx(MAXIMUM_RETRY_AFTER)
    other = Driven()
    other.one(ANSWERED, retry_after=7)
    assert other.ask()[0] is START


def test_requests_per_minute_are_evenly_spaced() -> None:
    governor = Driven(100, per_minute=120)
    started = []
    while governor.clock.time < 1060:
        decision, seconds = governor.ask()
        if decision is START:
            governor.end(governor.start(), ANSWERED)
            started.append(governor.clock.time)
        else:
            governor.clock.time += seconds
    assert len(started) == 120
    assert min(later - earlier for earlier, later in itertools.pairwise(started)) >= 0.499


def test_after_a_429_half_as_many_a_second_and_then_one_more_each_second() -> None:
    governor = Driven(100)
    for _ in range(500):
        governor.clock.time += 0.01  # a hundred a second
        governor.one(ANSWERED)
    governor.one(THROTTLED)
    assert governor.rates == [pytest.approx(50, rel=0.02)]
    assert governor.rate == pytest.approx(50, rel=0.02)
    governor.clock.time += 10
    assert governor.rate == pytest.approx(60, rel=0.02)
    governor.clock.time += 1000
    assert math.isinf(governor.rate)


def test_a_store_that_throttles_always_still_gets_a_request_a_second() -> None:
    governor = Driven(100)
    for _ in range(20):
        governor.clock.time += 2
        governor.one(THROTTLED)
    assert governor.rates[-1] == 1
    assert not governor.open


def test_the_circuit_opens_after_so_long_without_a_success_and_not_before() -> None:
    governor = Driven(open_after=20)
    for _ in range(20):
        governor.one(FAILED)
        governor.clock.time += 1
    assert not governor.open
    governor.one(ANSWERED)
    governor.one(FAILED)
    governor.clock.time += 19.9
    governor.one(FAILED)
    assert not governor.open
    governor.clock.time += 0.1
    governor.one(FAILED)
    assert governor.open
    assert governor.ask()[0] is REFUSE


def opened() -> Driven:
    governor = Driven(8, open_after=1)
    for _ in range(2):
        governor.one(FAILED)
        governor.clock.time += 1
    assert governor.open
    return governor


def test_an_open_circuit_lets_one_through_to_try_and_closes_on_its_success() -> None:
    governor = opened()
    trial = governor.start()
    assert governor.ask()[0] is REFUSE
    governor.end(trial, FAILED)
    pauses = []
    for _ in range(4):
        began = governor.clock.time
        while governor.ask()[0] is REFUSE:
            governor.clock.time += 0.25
        pauses.append(governor.clock.time - began)
        governor.one(FAILED)
    assert pauses == [1, 2, 4, 5]
    governor.clock.time += 5
    governor.one(ANSWERED)
    assert not governor.open
    assert governor.permits == 4


def test_a_trial_that_the_sender_gives_up_makes_room_for_the_next() -> None:
    governor = opened()
    governor.one(ABANDONED)
    assert governor.open
    assert governor.ask()[0] is START


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_requests_stay_within_their_bounds_and_a_store_that_works_is_served_again(seed: int) -> None:
    random_ = random.Random(seed)
    uploads = random_.randint(1, 40)
    governor = Driven(uploads, random_.choice([None, 60, 6000]), open_after=random_.uniform(0, 30))
    active: list[Permit] = []
    for _ in range(3000):
        governor.clock.time += random_.expovariate(5)
        decision, seconds = governor.ask()
        if decision is WAIT:
            assert seconds > 0
            assert active or not math.isinf(seconds)  # somebody's end will let the next one in
        if decision is START and random_.random() < 0.7:
            active.append(governor.start())
        elif active:
            ending = random_.choice(list(Ending))
            governor.end(
                active.pop(random_.randrange(len(active))), ending, seconds=random_.uniform(0, 9), retry_after=random_.choice([None, 3])
            )
        assert governor.active == len(active) <= uploads
        assert 1 <= governor.permits <= uploads
        if governor.open:
            assert sum(permit.trial for permit in active) <= 1
    for permit in active:
        governor.end(permit, ABANDONED)
    governor.clock.time += MAXIMUM_RETRY_AFTER
    governor.one(ANSWERED)
    assert not governor.open


# -- the gate --------------------------------------------------------------------------------------


def gate(uploads: int, per_minute: int | None = None, open_after: float = 20.0) -> Gate:
    return Gate(Governor(Bounds(uploads, per_minute, open_after), now=asyncio.get_running_loop().time))


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_who_came_first_goes_first() -> None:
    door, order = gate(2), []

    async def pass_through(number: int) -> None:
        async with door.turn(soon()) as passage:
            order.append(number)
            await asyncio.sleep(0.001)
            passage.ending = ANSWERED

    await asyncio.gather(*(pass_through(number) for number in range(20)))
    assert order == list(range(20))
    assert (door.waiting, door.governor.active) == (0, 0)


async def test_who_comes_when_the_turn_of_another_has_just_come_does_not_go_before_him() -> None:
    door, order = gate(8, per_minute=1200), []

    async def pass_through(name: str) -> None:
        async with door.turn(soon()) as passage:
            order.append(name)
            passage.ending = ANSWERED

    await pass_through("first")
    second = asyncio.create_task(pass_through("second"))
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251 -- a busy loop: the turn has come, and its timer has not been served yet
    await asyncio.gather(second, pass_through("third"))
    assert order == ["first", "second", "third"]


async def test_a_turn_comes_when_its_time_has_come() -> None:
    door = gate(8, per_minute=6000)
    began = asyncio.get_running_loop().time()
    for _ in range(4):
        async with door.turn(soon()) as passage:
            passage.ending = ANSWERED
    assert asyncio.get_running_loop().time() - began >= 0.03


async def test_no_turn_before_the_deadline() -> None:
    door = gate(1)
    async with door.turn(soon()):
        with pytest.raises(NoTurn):
            async with door.turn(soon(0.01)):
                raise AssertionError
        assert door.waiting == 0
    async with door.turn(soon()) as passage:
        passage.ending, passage.retry_after = OVERLOADED, 60.0
    with pytest.raises(NoTurn):  # at once: there will be none
        async with door.turn(soon(5)):
            raise AssertionError


async def test_who_is_cancelled_leaves_his_place_to_the_next() -> None:
    door = gate(1)
    async with door.turn(soon()):
        first, second = (asyncio.create_task(door._permit(soon())) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert door.waiting == 1
    permit = await second
    door.governor.end(permit, ANSWERED)
    assert door.governor.active == 0


async def test_a_permit_that_comes_with_the_cancellation_goes_back() -> None:
    door = gate(1)
    async with door.turn(soon()):
        waiting = asyncio.create_task(door._permit(soon()))
        await asyncio.sleep(0)
    waiting.cancel()  # the permit is granted, its owner has not run yet
    await asyncio.gather(waiting, return_exceptions=True)
    assert door.governor.active == 0


async def test_when_the_circuit_opens_all_who_wait_are_told() -> None:
    door = gate(1, open_after=0.0)
    async with door.turn(soon()) as passage:
        waiting = asyncio.create_task(door._permit(soon()))
        await asyncio.sleep(0)
        passage.ending = FAILED
    with pytest.raises(CircuitOpen):
        await waiting
    with pytest.raises(CircuitOpen):
        await door._permit(soon())


# -- the policy ------------------------------------------------------------------------------------


def test_backoff_doubles_with_full_jitter_up_to_its_maximum_and_obeys_retry_after() -> None:
    policy = RetryPolicy(initial_delay=0.2, maximum_delay=5.0, random=lambda: 1.0)
    assert [policy.delay(tries, None) for tries in range(1, 8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert policy.delay(10_000, None) == 5.0
    assert RetryPolicy(random=lambda: 0.0).delay(3, None) == 0.0
    assert RetryPolicy(random=lambda: 0.5).delay(2, None) == 0.2
    assert policy.delay(1, 9.0) == 9.0


def test_what_is_tried_again() -> None:
    def answered(status: int) -> Verdict:
        return Verdict(Outcome.TRANSIENT, 0xA700, http_status=status)

    def lost(obstacle: Obstacle) -> Verdict:
        return Verdict(Outcome.TRANSIENT, 0xA700, obstacle=obstacle)

    policy = RetryPolicy()
    assert [status for status in range(100, 600) if policy.repeats(answered(status))] == [408, 429, 500, 502, 503, 504]
    assert {obstacle for obstacle in Obstacle if not policy.repeats(lost(obstacle))} == {Obstacle.TLS}
    assert not policy.repeats(too_late(20, sent=True))
    assert not policy.repeats(not_asked("no credentials"))
    assert RetryPolicy(status_codes=(409,)).repeats(answered(409))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 9.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:10 -0000", 9.0),
        ("9" * 400, 999_999_999.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("7.5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert seconds_until(header, 1.0) == seconds


async def test_who_has_all_the_time_waits_for_the_open_circuit_to_be_tried() -> None:
    door = gate(4, open_after=0.0)
    async with door.turn(soon()) as passage:
        passage.ending = Ending.FAILED
    with pytest.raises(CircuitOpen):
        async with door.turn(soon()):
            pass
    patient = [asyncio.create_task(door.wait()) for _ in range(2)]
    first, pending = await asyncio.wait(patient, return_when=asyncio.FIRST_COMPLETED)
    assert len(pending) == 1, "one at a time"
    trial = first.pop().result()
    assert trial.permit.trial
    trial.ending = Ending.ANSWERED
    door.leave(trial)
    assert not (await pending.pop()).permit.trial

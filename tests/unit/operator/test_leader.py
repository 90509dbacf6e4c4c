"""Leader election under a clock that the tests move: candidates, their Lease, and an API server that fails on demand."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from dicom_operator.api import Json
from dicom_operator.errors import ApiConflict, ApiUnavailable
from dicom_operator.leader import DEADLINE, DURATION, LONGEST, RETRY, Alone, Elector
from tests.support.fakeclock import run

LOG = logging.getLogger("test.leader")


class Server:
    """One Lease, as etcd keeps it."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.version = 0
        self.changed: list[asyncio.Event] = []
        self.writes: list[tuple[float, str]] = []

    def put(self, spec: Json) -> Json:
        self.version += 1
        self.lease = {"metadata": {"uid": "u", "resourceVersion": str(self.version)}, "spec": copy.deepcopy(spec)}
        self.writes.append((asyncio.get_running_loop().time(), spec["holderIdentity"]))
        for event in self.changed:
            event.set()
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""


class Client:
    """One candidate's way to the server: it may be down, hang, or its watch be deaf."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.down = self.hangs = self.deaf = self.watchless = self.blind = self.terminating = False
        self.gets, self.slow = 0, 0.0

    async def ask(self) -> None:
        if self.hangs:
            await asyncio.sleep(1000)
        await asyncio.sleep(self.slow)
        if self.down:
            raise ApiUnavailable("no answer")

    async def get(self) -> Json | None:
        self.gets += 1
        await self.ask()
        if self.blind:
            raise ApiUnavailable("no answer to this one")
        return copy.deepcopy(self.server.lease)

    async def create(self, spec: Json) -> Json:
        await self.ask()
        if self.server.lease is not None or self.terminating:
            raise ApiConflict("exists")
        return self.server.put(spec)

    async def update(self, lease: Json, spec: Json) -> Json:
        await self.ask()
        if self.server.lease is None or self.server.lease["metadata"] != lease["metadata"]:
            raise ApiConflict("another version")
        return self.server.put(spec)

    async def follow(self, lease: Json) -> AsyncGenerator[Json, None]:
        await self.ask()
        event, seen = asyncio.Event(), int(lease["metadata"]["resourceVersion"])
        self.server.changed.append(event)
        try:
            while not self.watchless:
                if self.server.version > seen and not self.deaf:
                    if self.server.lease is None:
                        return
                    seen = self.server.version
                    yield copy.deepcopy(self.server.lease)
                event.clear()
                await event.wait()
        finally:
            self.server.changed.remove(event)


class Candidate:
    """A replica: its term takes a note of when it works."""

    def __init__(self, server: Server, name: str, skew: float = 0.0) -> None:
        self.client = Client(server)
        now = datetime(2026, 11, 25, tzinfo=UTC) + timedelta(seconds=skew)
        self.elector = Elector(self.client, name, lambda: now + timedelta(seconds=asyncio.get_running_loop().time()), LOG)
        self.terms: list[tuple[float, float]] = []
        self.end = asyncio.Event()
        self.error: Exception | None = None
        self.task = asyncio.create_task(self.elector.run(self.term))

    async def term(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert self.elector.holds()
        try:
            await self.end.wait()
            if self.error:
                raise self.error
        finally:
            self.terms.append((started, loop.time()))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_the_first_leads_and_the_second_stands_by():
    async def main() -> None:
        server = Server()
        first = Candidate(server, "first")
        await asyncio.sleep(0.1)
        second = Candidate(server, "second")
        await asyncio.sleep(600)
        assert (first.elector.holds(), second.elector.holds()) == (True, False)
        assert {holder for _, holder in server.writes} == {"first"}
        assert second.client.gets == 1  # it follows the Lease, it does not ask for it again and again
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 0
        assert server.lease["spec"]["renewTime"] > server.lease["spec"]["acquireTime"]
        await first.stop()
        await second.stop()

    run(main)


def test_of_many_that_start_at_once_one_leads():
    async def main() -> None:
        server = Server()
        candidates = [Candidate(server, str(number)) for number in range(5)]
        await asyncio.sleep(60)
        assert sum(candidate.elector.holds() for candidate in candidates) == 1
        for candidate in candidates:
            await candidate.stop()

    run(main)


def test_a_clean_stop_hands_over_at_once():
    async def main() -> None:
        server = Server()
        first = Candidate(server, "first")
        await asyncio.sleep(0.1)
        second = Candidate(server, "second")
        await asyncio.sleep(10)
        first.end.set()
        await first.task
        await asyncio.sleep(0.01)
        assert second.elector.holds()
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1
        await second.stop()

    run(main)


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_after_a_crash_the_standby_leads_when_the_lease_has_run_out_by_its_own_clock(skew):
    async def main() -> None:
        server = Server()
        first = Candidate(server, "first", skew)
        await asyncio.sleep(0.1)
        second = Candidate(server, "second")
        await asyncio.sleep(10)
        await first.stop()  # as a crash: nothing is given back
        assert server.holder == "first"
        last = server.writes[-1][0]
        await asyncio.sleep(DURATION + 0.1)
        await second.stop()
        assert second.terms[0][0] == pytest.approx(last + DURATION, abs=0.01)

    run(main)


def test_a_lease_of_a_dead_replica_is_waited_for_whole():
    async def main() -> None:
        server = Server()
        server.put({"holderIdentity": "dead", "leaseDurationSeconds": 6, "renewTime": "1999-01-01T00:00:00.000000Z"})
        candidate = Candidate(server, "me")
        await asyncio.sleep(5.9)
        assert not candidate.elector.holds()
        await asyncio.sleep(0.2)
        assert candidate.elector.holds()
        await candidate.stop()

    run(main)


@pytest.mark.parametrize(("seconds", "waits"), [(None, DURATION), (0, DURATION), (-5, 1), (86400, LONGEST)])
def test_a_lease_with_a_strange_duration_holds_nobody_up(seconds, waits):
    async def main() -> None:
        server = Server()
        server.put({"holderIdentity": "odd", "leaseDurationSeconds": seconds})
        candidate = Candidate(server, "me")
        await asyncio.sleep(waits + 0.1)
        await candidate.stop()
        assert candidate.terms[0][0] == pytest.approx(waits, abs=0.01)

    run(main)


@pytest.mark.parametrize("fault", ["down", "hangs"])
def test_a_leader_that_cannot_renew_stops_before_another_may_start(fault):
    async def main() -> None:
        server = Server()
        first = Candidate(server, "first")
        await asyncio.sleep(0.1)
        second = Candidate(server, "second")
        await asyncio.sleep(10)
        last = server.writes[-1][0]
        setattr(first.client, fault, True)
        await asyncio.sleep(DEADLINE - 0.1 - (10.1 - last))
        assert first.elector.holds()
        await asyncio.sleep(0.2)
        assert not first.elector.holds()
        assert first.terms[0][1] == pytest.approx(last + DEADLINE, abs=0.01)
        await asyncio.sleep(DURATION)
        assert second.elector.holds()
        assert second.client.gets <= 3
        await first.stop()
        await second.stop()

    run(main)


def test_one_renewal_that_fails_is_tried_again_in_time():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(0.1)
        candidate.client.down = True
        await asyncio.sleep(DEADLINE - RETRY - 0.2)  # one renewal has failed
        candidate.client.down = False
        await asyncio.sleep(60)
        assert candidate.elector.holds()
        assert candidate.terms == []
        await candidate.stop()

    run(main)


def test_one_connection_that_hangs_costs_nobody_the_lead():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(0.9)
        candidate.client.hangs = True
        await asyncio.sleep(1)  # a renewal hangs
        candidate.client.hangs = False  # the next one is sent over another connection
        await asyncio.sleep(60)
        assert candidate.elector.holds()
        assert candidate.terms == []
        await candidate.stop()

    run(main)


def test_an_api_server_that_is_slow_costs_nobody_the_lead():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        candidate.client.slow = 1.5
        await asyncio.sleep(120)
        assert candidate.elector.holds()
        assert candidate.terms == []
        await candidate.stop()

    run(main)


def test_a_leader_that_was_stopped_and_wakes_does_not_write():
    """The process sleeps past its Lease: the first thing that it asks says no, before its own task has learned anything."""

    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(0.1)
        assert candidate.elector.holds()
        loop = asyncio.get_running_loop()
        loop._fake.now += 100  # type: ignore[attr-defined]
        assert candidate.elector.leading
        assert not candidate.elector.holds()
        await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert len(candidate.terms) == 1
        await candidate.stop()

    run(main)


def test_a_leader_whose_lease_was_taken_ends_its_term():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(0.1)
        server.put({"holderIdentity": "thief", "leaseDurationSeconds": 6})
        await asyncio.sleep(2)
        assert not candidate.elector.leading
        assert len(candidate.terms) == 1
        await candidate.stop()

    run(main)


def test_a_lease_that_somebody_labelled_is_still_ours():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(0.1)
        assert server.lease is not None
        server.put(server.lease["spec"])  # another version, the same holder
        await asyncio.sleep(60)
        assert candidate.elector.holds()
        assert candidate.terms == []
        await candidate.stop()

    run(main)


def test_a_lease_of_which_nothing_is_known_is_kept_to_the_deadline():
    """Somebody has labelled it, and the API server goes away before we can look whose it is."""

    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(0.1)
        assert server.lease is not None
        server.put(server.lease["spec"])
        candidate.client.blind = True
        await asyncio.sleep(DEADLINE - 0.2)
        assert candidate.elector.holds()
        await asyncio.sleep(0.2)
        assert not candidate.elector.leading
        await candidate.stop()

    run(main)


def test_a_lease_that_was_deleted_is_made_again():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        standby = Candidate(server, "other")
        await asyncio.sleep(1)
        server.lease = None
        await asyncio.sleep(10)
        assert candidate.elector.holds() != standby.elector.holds()
        assert server.holder in ("me", "other")
        await candidate.stop()
        await standby.stop()

    run(main)


@pytest.mark.parametrize("fault", ["deaf", "watchless"])
def test_a_standby_whose_watch_tells_nothing_takes_no_lease_that_is_renewed(fault):
    async def main() -> None:
        server = Server()
        first = Candidate(server, "first")
        await asyncio.sleep(0.1)
        second = Candidate(server, "second")
        setattr(second.client, fault, True)
        await asyncio.sleep(120)
        assert (first.elector.holds(), second.elector.holds()) == (True, False)
        assert {holder for _, holder in server.writes} == {"first"}
        await first.stop()
        await second.stop()

    run(main)


def test_a_namespace_that_is_being_terminated_is_not_hammered():
    """There a Lease can be made no more; the API server's answer is counted as a conflict."""

    async def main() -> None:
        candidate = Candidate(Server(), "me")
        candidate.client.terminating = True
        await asyncio.sleep(30)
        assert 25 < candidate.client.gets < 35
        await candidate.stop()

    run(main)


def test_a_standby_waits_for_an_api_server_that_is_away(caplog):
    caplog.set_level(logging.INFO)

    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        candidate.client.down = True
        await asyncio.sleep(30)
        assert 25 < candidate.client.gets < 35
        candidate.client.down = False
        await asyncio.sleep(2)
        assert candidate.elector.holds()
        await candidate.stop()

    run(main)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [
        ("WARNING", "the Lease cannot be read or written (no answer); trying again every second"),
        ("INFO", "this replica, me, leads: it works, the others stand by"),
    ]


def test_a_term_that_fails_gives_the_lease_back_and_is_told():
    async def main() -> None:
        server = Server()
        candidate = Candidate(server, "me")
        await asyncio.sleep(1)
        candidate.error = RuntimeError("a worker died")
        candidate.end.set()
        with pytest.raises(RuntimeError, match="a worker died"):
            await candidate.task
        assert server.holder == ""

    run(main)


def test_a_lease_that_cannot_be_given_back_holds_nobody_up(caplog):
    caplog.set_level(logging.INFO)

    async def main() -> None:
        candidate = Candidate(Server(), "me")
        await asyncio.sleep(1)
        candidate.client.hangs = True
        candidate.end.set()
        await asyncio.wait_for(candidate.task, 1.5)

    run(main)
    assert caplog.records[-1].getMessage() == "the Lease was not given back (no answer): another replica waits until it expires"


async def test_alone_it_leads():
    alone, ran = Alone(), []

    async def term() -> None:
        ran.append(alone.holds())

    await alone.run(term)
    assert ran == [True]

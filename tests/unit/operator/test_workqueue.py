"""The work queue's contract, under a clock that the tests move."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from dicom_operator.workqueue import OVERTAKE, Done, Outcome, RequeueAfter, Retry, WorkQueue
from tests.support.fakeclock import run


class Recorder:
    """Processes keys, remembers when, and never the same key twice at once."""

    def __init__(self, seconds: float = 0.0, outcome: Outcome | None = None) -> None:
        self.queue: WorkQueue[str] = WorkQueue(random=lambda: 1.0)
        self.seconds = seconds
        self.outcome: Outcome = outcome or Done()
        self.starts: list[tuple[str, float]] = []
        self.active: set[str] = set()

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.starts]

    async def process(self, key: str) -> Outcome:
        assert key not in self.active
        self.active.add(key)
        self.starts.append((key, asyncio.get_running_loop().time()))
        await asyncio.sleep(self.seconds)
        self.active.discard(key)
        return self.outcome

    async def work(self, seconds: float, workers: int = 1) -> None:
        task = asyncio.create_task(self.queue.run(workers, self.process))
        await asyncio.sleep(seconds)
        self.queue.close()
        await task


def test_a_key_waits_at_most_once():
    async def main() -> None:
        recorder = Recorder()
        for _ in range(5):
            recorder.queue.add("a")
        assert recorder.queue.depth == 1
        await recorder.work(1)
        assert recorder.keys == ["a"]

    run(main)


def test_added_while_processed_it_runs_once_more_and_never_twice_at_once():
    async def main() -> None:
        recorder = Recorder(seconds=10)
        recorder.queue.add("a")
        loop = asyncio.get_running_loop()
        for moment in (1, 2, 3):
            loop.call_later(moment, recorder.queue.add, "a")
        await recorder.work(50, workers=4)
        assert recorder.starts == [("a", 0), ("a", 10)]

    run(main)


def test_no_wake_up_is_lost_when_add_meets_the_end_of_processing():
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(random=lambda: 1.0)
        runs: list[float] = []

        async def process(key: str) -> Outcome:
            runs.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0)
            if len(runs) < 50:
                queue.add(key)  # the very last thing before it ends
            return Done()

        task = asyncio.create_task(queue.run(3, process))
        queue.add("a")
        await asyncio.sleep(1)
        queue.close()
        await task
        assert len(runs) == 50

    run(main)


def test_a_hot_key_does_not_starve_cold_ones():
    async def main() -> None:
        recorder = Recorder(seconds=1)
        recorder.queue.add("hot")
        asyncio.get_running_loop().call_later(0.5, recorder.queue.add, "hot")
        for key in ("cold1", "cold2"):
            recorder.queue.add(key)
        await recorder.work(10)
        assert recorder.keys == ["hot", "cold1", "cold2", "hot"]

    run(main)


def test_what_has_happened_overtakes_a_thousand_looks():
    async def main() -> None:
        recorder = Recorder(seconds=1)
        for number in range(1000):
            recorder.queue.look(f"look {number}")
        asyncio.get_running_loop().call_later(10.5, recorder.queue.add, "look 999")  # which waits as well: its Service was deleted
        asyncio.get_running_loop().call_later(10.6, recorder.queue.add, "repair")
        await recorder.work(2000)
        assert recorder.keys[10:14] == ["look 10", "look 999", "repair", "look 11"]
        assert recorder.keys.count("look 999") == 1
        assert len(recorder.keys) == 1001

    run(main)


def test_what_was_delayed_is_a_look():
    async def main() -> None:
        recorder = Recorder(seconds=10)
        recorder.queue.add_after("delayed", 1)
        asyncio.get_running_loop().call_later(2, recorder.queue.add, "event")
        recorder.queue.add("first")
        await recorder.work(50)
        assert recorder.keys == ["first", "event", "delayed"]

    run(main)


def test_looks_leave_a_worker_free_and_take_it_back():
    async def main() -> None:
        recorder = Recorder(seconds=10)
        for number in range(6):
            recorder.queue.look(f"look {number}")
        asyncio.get_running_loop().call_later(5, recorder.queue.add, "event")
        await recorder.work(100, workers=4)
        assert recorder.starts == [*((f"look {n}", 0) for n in range(3)), ("event", 5), *((f"look {n}", 10) for n in range(3, 6))]

    run(main)


def test_looks_have_their_turn_however_much_happens():
    async def main() -> None:
        recorder = Recorder(seconds=1)
        recorder.queue.look("look")
        for number in range(100):
            recorder.queue.add(f"event {number}")
        recorder.queue.look("event 99")  # it waits already
        await recorder.work(200)
        assert recorder.keys[OVERTAKE] == "look"
        assert len(recorder.keys) == 101

    run(main)


def test_a_queue_that_is_closed_forgets_looks_too():
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(random=lambda: 1.0)
        queue.look("a")
        queue.close()
        queue.look("b")
        assert (queue.depth, queue.oldest_age) == (0, 0)

    run(main)


def test_failures_wait_exponentially_longer_up_to_a_ceiling():
    async def main() -> None:
        recorder = Recorder(outcome=Retry())
        recorder.queue.add("a")
        await recorder.work(2000)
        times = [moment for _, moment in recorder.starts]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert waits[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
        assert set(waits[9:]) == {300}
        assert recorder.queue.retries == len(times)

    run(main)


def test_success_starts_the_backoff_over():
    async def main() -> None:
        recorder = Recorder(outcome=Retry())
        recorder.queue.add("a")
        await asyncio.sleep(0)
        task = asyncio.create_task(recorder.queue.run(1, recorder.process))
        await asyncio.sleep(10)
        recorder.outcome = Done()
        recorder.queue.add("a")
        await asyncio.sleep(1)
        recorder.outcome = Retry()
        recorder.starts.clear()
        recorder.queue.add("a")
        await asyncio.sleep(2)
        recorder.queue.close()
        await task
        assert [round(later - recorder.starts[0][1]) for _, later in recorder.starts] == [0, 1]

    run(main)


def test_jitter_is_full_and_retry_after_is_kept():
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(random=lambda: 0.0)
        starts: list[float] = []

        async def process(key: str) -> Outcome:
            starts.append(asyncio.get_running_loop().time())
            return Retry(7.0)

        task = asyncio.create_task(queue.run(1, process))
        queue.add("a")
        await asyncio.sleep(20)
        queue.close()
        await task
        assert starts == [0, 7, 14]

    run(main)


def test_add_overrides_a_backoff():
    async def main() -> None:
        recorder = Recorder()
        recorder.queue.add_after("a", 100)
        asyncio.get_running_loop().call_later(3, recorder.queue.add, "a")
        await recorder.work(200)
        assert recorder.starts == [("a", 3)]

    run(main)


@pytest.mark.parametrize("order", [(5, 50), (50, 5)])
def test_the_earliest_deadline_counts(order):
    async def main() -> None:
        recorder = Recorder()
        for seconds in order:
            recorder.queue.add_after("a", seconds)
        await recorder.work(100)
        assert recorder.starts == [("a", 5)]

    run(main)


def test_requeue_after_a_success():
    async def main() -> None:
        recorder = Recorder(outcome=RequeueAfter(600))
        recorder.queue.add("a")
        await recorder.work(1500)
        assert recorder.starts == [("a", 0), ("a", 600), ("a", 1200)]

    run(main)


def test_a_change_while_it_runs_is_not_put_off_by_its_outcome():
    async def main() -> None:
        recorder = Recorder(seconds=2, outcome=RequeueAfter(600))
        recorder.queue.add("a")
        asyncio.get_running_loop().call_later(1, recorder.queue.add, "a")
        await recorder.work(10)
        assert recorder.starts == [("a", 0), ("a", 2)]

    run(main)


def test_close_lets_what_runs_end_and_takes_nothing_new():
    async def main() -> None:
        recorder = Recorder(seconds=10)
        recorder.queue.add("a")
        recorder.queue.add("b")
        task = asyncio.create_task(recorder.queue.run(1, recorder.process))
        await asyncio.sleep(1)
        recorder.queue.close()
        recorder.queue.add("c")
        await task
        assert asyncio.get_running_loop().time() == 10
        assert recorder.starts == [("a", 0)]
        assert not recorder.active

    run(main)


def test_a_worker_that_dies_ends_them_all():
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(random=lambda: 1.0)

        async def process(key: str) -> Outcome:
            raise LookupError(key)

        queue.add("a")
        with pytest.raises(LookupError):
            await queue.run(4, process)

    run(main)


def test_the_age_of_the_oldest_key_counts_waiting_and_running():
    async def main() -> None:
        recorder = Recorder(seconds=30)
        recorder.queue.add("a")
        recorder.queue.add("b")
        task = asyncio.create_task(recorder.queue.run(1, recorder.process))
        await asyncio.sleep(20)
        assert recorder.queue.oldest_age == 20
        assert (recorder.queue.depth, recorder.queue.in_flight) == (1, 1)
        await asyncio.sleep(50)
        assert recorder.queue.oldest_age == 0
        recorder.queue.close()
        await task

    run(main)


def test_a_queue_that_moves_is_not_stalled_however_old_its_keys():
    async def main() -> None:
        recorder = Recorder(seconds=60)
        for number in range(10):
            recorder.queue.add(f"key{number}")
        task = asyncio.create_task(recorder.queue.run(1, recorder.process))
        await asyncio.sleep(330)
        assert recorder.queue.oldest_age == 330
        assert recorder.queue.stalled_for == 30
        await asyncio.sleep(600)
        assert recorder.queue.stalled_for == 0
        recorder.queue.close()
        await task

    run(main)


def test_a_worker_that_hangs_is_seen():
    async def main() -> None:
        recorder = Recorder(seconds=10_000)
        recorder.queue.add("a")
        task = asyncio.create_task(recorder.queue.run(1, recorder.process))
        await asyncio.sleep(200)
        assert recorder.queue.stalled_for == 200
        recorder.queue.close()
        await task

    run(main)


def test_closed_it_forgets_what_waits_and_opened_it_takes_keys_again():
    async def main() -> None:
        recorder = Recorder(outcome=Retry())
        await asyncio.sleep(1)
        recorder.queue.add("a")
        await recorder.work(0.5)  # fails once
        recorder.queue.open()
        recorder.queue.add("b")
        recorder.queue.close()
        await asyncio.sleep(1000)
        assert (recorder.queue.depth, recorder.queue.oldest_age, recorder.queue.stalled_for) == (0, 0, 0)
        recorder.queue.add("c")
        assert recorder.queue.depth == 0
        recorder.queue.open()
        recorder.queue.add("a")
        start = asyncio.get_running_loop().time()
        await recorder.work(3.5)
        assert [at - start for key, at in recorder.starts[1:]] == [0, 1, 3]  # the first failure counts no more

    run(main)

"""The window on a destination's directory: oldest first, senders in turn, and nothing is ever out of sight for good."""

from __future__ import annotations

import random

import pytest

from dicom_adapter.spool.entry import Entry
from dicom_adapter.spool.queue import Queue, Waiting

WINDOW = 256


class Directory:
    """A queue with a clock of its own, and the directory that it is a window on."""

    def __init__(self, window: int = WINDOW) -> None:
        self.now = 0.0
        self.names: set[str] = set()
        self.queue = Queue(now=lambda: self.now, window=window)
        self.read()

    def read(self) -> None:
        reading = self.queue.begin_reading()
        self.queue.end_reading(*reading.choose(self.names))

    def put(self, number: int, sender: str = "CT1", *, size: int = 1000) -> Entry:
        entry = Entry(number, size, 0)
        self.names.add(entry.name)
        self.queue.add(entry, sender)
        return entry

    def deliver(self, waiting: Waiting) -> None:
        self.names.discard(waiting.entry.name)
        self.queue.forget(waiting.entry)

    def take(self, instances: int = 1, size: int = 1 << 20, *, trial: bool = False) -> list[int]:
        return [waiting.entry.id for waiting in self.queue.take(instances, size, trial=trial)]

    def drain(self) -> list[int]:
        """Delivers until nothing is left, as a lane does."""
        order = []
        for _ in range(100_000):
            if self.queue.needs_reading:
                self.read()
            batch = self.queue.take(1, 1 << 20)
            if batch:
                order.append(batch[0].entry.id)
                self.deliver(batch[0])
            elif (wait := self.queue.wait()) < 1e9:
                self.now += max(wait, 0.001)
            else:
                return order
        raise AssertionError("it does not end")


def test_the_oldest_is_first_in_whatever_order_they_came() -> None:
    directory = Directory()
    for number in (3, 1, 2):
        directory.put(number)
    assert directory.take() == [1]
    assert directory.take(5) == [2, 3]
    assert directory.queue.wait() == float("inf")


def test_senders_take_turns() -> None:
    directory = Directory()
    for number in range(1, 6):
        directory.put(number, "CT1")
    directory.put(6, "MR1")
    assert [directory.take()[0] for _ in range(4)] == [1, 6, 2, 3]


def test_a_batch_is_of_one_sender_and_within_its_bounds() -> None:
    directory = Directory()
    for number in (1, 2, 3, 4):
        directory.put(number, size=400)
    assert directory.take(3, 1000) == [1, 2]
    assert directory.take(1, 1000) == [3]
    directory.put(5, size=5000)
    directory.take()
    assert directory.take(9, 1000) == [5], "one that is larger than a batch goes by itself"


def test_what_is_to_go_alone_goes_alone() -> None:
    directory = Directory()
    for number in (1, 2, 3):
        directory.put(number)
    (first,) = directory.queue.take(1, 1 << 20)
    first.alone = True
    directory.queue.put_back(first, due=0.0)
    assert directory.take(9) == [1]
    assert directory.take(9) == [2, 3]


def test_one_that_is_to_be_tried_later_is_passed_by() -> None:
    directory = Directory()
    directory.put(1), directory.put(2)
    (first,) = directory.queue.take(1, 1 << 20)
    directory.queue.put_back(first, due=10.0)
    assert directory.take() == [2]
    assert (directory.take(), directory.queue.wait()) == ([], 10.0)
    directory.now = 10.0
    assert directory.take() == [1]


def test_when_the_destination_works_again_everything_is_due() -> None:
    directory = Directory()
    for number in (1, 2, 3):
        directory.put(number)
    for waiting in directory.queue.take(9, 1 << 20):
        directory.queue.put_back(waiting, due=300.0)
    directory.queue.hurry()
    assert directory.take(9) == [1, 2, 3]


def test_every_second_trial_is_of_the_newest_that_was_tried_least() -> None:
    directory = Directory()
    for number in range(1, 11):
        directory.put(number)
    tried = []
    for _ in range(4):
        (waiting,) = directory.queue.take(9, 1 << 20, trial=True)
        tried.append(waiting.entry.id)
        waiting.attempts += 1
        directory.queue.put_back(waiting, due=0.0)
    assert tried == [1, 10, 1, 9]


def test_what_is_gone_is_not_taken() -> None:
    directory = Directory()
    first, _ = directory.put(1), directory.put(2)
    directory.queue.forget(first)
    assert directory.take(9) == [2]


@pytest.mark.parametrize("count", [WINDOW - 1, WINDOW, WINDOW + 1, 20 * WINDOW])
def test_a_million_files_need_a_windows_memory(count: int) -> None:
    directory = Directory()
    most = 0
    for number in range(1, count + 1):
        directory.put(number)
        most = max(most, directory.queue.in_memory)
    assert directory.drain() == list(range(1, count + 1))
    assert most <= WINDOW * 3 // 2


def test_what_was_there_at_the_start_is_found() -> None:
    directory = Directory()
    directory.names = {Entry(number, 1, 0).name for number in range(1, 1500)} | {"notes.txt"}
    directory.queue = Queue(now=lambda: directory.now, window=WINDOW)
    assert directory.queue.needs_reading
    assert directory.drain() == list(range(1, 1500))


def test_a_new_sender_does_not_wait_for_anothers_backlog() -> None:
    directory = Directory()
    for number in range(1, 1000):
        directory.put(number, "CT1")
    directory.put(5000, "MR1")
    assert 5000 in {directory.take()[0] for _ in range(3)}


def test_what_comes_and_goes_while_the_directory_is_read() -> None:
    directory = Directory()
    for number in range(1, 800):
        directory.put(number)
    gone = [directory.queue.take(1, 1 << 20)[0] for _ in range(250)]
    reading = directory.queue.begin_reading()
    seen = set(directory.names)
    for waiting in gone:
        directory.deliver(waiting)
    for number in range(800, 1600):  # none of these is in what was read
        directory.put(number)
    directory.queue.end_reading(*reading.choose(seen))
    assert directory.drain() == list(range(251, 1600))


def test_instances_that_fail_for_ever_do_not_hide_what_is_behind_them() -> None:
    directory = Directory()
    poison = set(range(1, 10 * WINDOW))
    for number in poison:
        directory.put(number)
    good = set(range(20 * WINDOW, 22 * WINDOW))
    for number in good:
        directory.put(number)
    delivered = set()
    for _ in range(50_000):
        assert directory.queue.in_memory <= 2 * WINDOW
        if directory.queue.needs_reading:
            directory.read()
        batch = directory.queue.take(1, 1 << 20)
        if not batch:
            directory.now += min(directory.queue.wait(), 1.0)
        elif batch[0].entry.id in poison:
            directory.queue.put_back(batch[0], due=directory.now + 300.0)
        else:
            delivered.add(batch[0].entry.id)
            directory.deliver(batch[0])
        if delivered == good:
            break
    assert delivered == good
    assert directory.queue.oldest == pytest.approx(1e-6)


def test_whatever_happens_everything_is_delivered_in_the_end() -> None:
    chance = random.Random(7)
    directory = Directory(128)
    number, delivered = 0, []
    for _ in range(20_000):
        kind = chance.random()
        if kind < 0.4 and number < 3000:
            number += 1
            directory.put(number, chance.choice(["CT1", "MR1", "US1"]))
        elif kind < 0.45 and directory.queue.needs_reading:
            directory.read()
        else:
            for waiting in directory.queue.take(chance.randint(1, 3), 10_000, trial=chance.random() < 0.1):
                if chance.random() < 0.5:
                    directory.queue.put_back(waiting, due=directory.now + chance.random() * 10)
                else:
                    delivered.append(waiting.entry.id)
                    directory.deliver(waiting)
        directory.now += 0.01
    delivered += directory.drain()
    assert sorted(delivered) == list(range(1, number + 1))

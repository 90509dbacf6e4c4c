"""R2: whatever state a crash leaves, what was acknowledged is there after it, whole, and nothing else is sent as if it were."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from dicom_adapter.delivery.spooled import Damaged, load
from dicom_adapter.part10 import FileMeta
from dicom_adapter.spool.entry import FAILED, READY, Entry, directory
from dicom_adapter.spool.spool import Bounds, Spool
from tests.support.crashfs import MemoryStorage

DESTINATIONS = ("dicomStore", "archive")


def part10(number: int, size: int) -> bytes:
    meta = FileMeta("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number}", "1.2.840.10008.1.2.1", "1.2.3", "TEST")
    return meta.encode() + bytes((number * 7 + index) % 251 + 1 for index in range(size))


class Machine(MemoryStorage):
    """Looks at every state that a crash may leave, before each step."""

    def __init__(self, look: Callable[[Machine], None]) -> None:
        super().__init__()
        self._look = look
        self.acknowledged: dict[str, dict[bytes, Entry]] = {name: {} for name in DESTINATIONS}
        self.delivered: dict[str, set[bytes]] = {name: set() for name in DESTINATIONS}
        self.refused: set[bytes] = set()

    def step(self, what: str, path: str) -> None:
        super().step(what, path)
        self._look(self)


def recovered(storage: MemoryStorage, name: str) -> Iterator[bytes]:
    """What an adapter that starts on this state would send."""
    for file in storage.scan(directory(name, READY)):
        entry = Entry.parse(file)
        assert entry is not None, "opening moves what has no name of ours out of the way"
        try:
            load(storage, f"{directory(name, READY)}/{file}", entry, keep=True)
        except Damaged:
            continue
        yield storage.read(f"{directory(name, READY)}/{file}", 0, entry.length)


class Judge:
    """Opens a spool on each state and holds it against what was promised."""

    def __init__(self) -> None:
        self.states = 0
        self.seen: set[int] = set()

    def look(self, machine: Machine) -> None:
        for state in machine.after_power_cut():
            self.states += 1
            spool = Spool(state, DESTINATIONS, Bounds())
            spool.open()
            assert not list(state.scan("incoming"))
            for name in DESTINATIONS:  # what one destination has got is taken away before it is the other's turn
                found = list(recovered(state, name))
                assert len(found) == len(set(found)), "the same twice"
                lost = set(machine.acknowledged[name]) - machine.delivered[name] - set(found) - failed(state, name)
                assert not lost, f"{len(lost)} acknowledged instances are lost for {name}"
                for file in list(state.scan(directory(name, READY))):
                    state.unlink(f"{directory(name, READY)}/{file}")


def failed(state: MemoryStorage, name: str) -> set[bytes]:
    path = directory(name, FAILED)
    return {state.read(f"{path}/{file}", 0, 1 << 20) for file in state.scan(path) if Entry.parse(file)}


def work(machine: Machine, *, sizes: tuple[int, ...], destinations: tuple[str, ...], piece: int) -> None:
    """Spools instances of these sizes, delivers every second one, and has one refused."""
    counter = itertools.count(1)
    spool = Spool(machine, DESTINATIONS, Bounds(), now=lambda: next(counter) * 1000)
    spool.open()
    entries: list[tuple[bytes, Entry]] = []
    for number, size in enumerate(sizes):
        data = part10(number, size)
        draft = spool.begin([data[:piece]])
        for start in range(piece, len(data), piece):
            spool.add(draft, [data[start : start + piece]])
        entry = spool.commit(draft, destinations)
        for name in destinations:
            machine.acknowledged[name][data] = entry
        entries.append((data, entry))
        machine.step("acknowledged", "")
        if number % 2:
            older, oldest = entries.pop(0)
            for name in destinations:
                machine.delivered[name].add(older)  # from now on the destination has it
                spool.remove(name, oldest)
                machine.step("delivered", "")
    data, entry = entries.pop(0)
    spool.fail(destinations[0], entry, b"{}")
    machine.step("refused", "")
    assert list(spool.retry(destinations[0], [entry])) == [entry]
    machine.step("tried again", "")


SCENARIOS = {
    "one destination": {"sizes": (700, 1600, 100, 2600) * 4, "destinations": ("dicomStore",), "piece": 4096},
    "two destinations": {"sizes": (700, 1600, 100) * 3, "destinations": DESTINATIONS, "piece": 4096},
    "in pieces": {"sizes": (2600, 1600, 3000, 700, 2100, 900), "destinations": ("archive",), "piece": 900},
    "many": {"sizes": (100,) * 24, "destinations": DESTINATIONS, "piece": 4096},
}


def test_nothing_acknowledged_is_lost_in_any_state_that_a_power_cut_leaves() -> None:
    states = 0
    for name, scenario in SCENARIOS.items():
        judge = Judge()
        machine = Machine(judge.look)
        work(machine, **scenario)  # type: ignore[arg-type]
        print(f"{name}: {judge.states} states after {machine.steps} steps")
        states += judge.states
    assert states >= 5000


class Careless(Spool):
    """Forgets one of the two syncs."""

    forgets = ""

    def open(self) -> None:
        super().open()
        storage = self.storage

        def nothing(_: object, **__: object) -> None: ...

        setattr(storage, self.forgets, nothing)


def test_the_enumeration_finds_a_spool_that_forgets_how_many_names_a_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(machine: Machine, file: int, *, names: bool = False) -> None:
        MemoryStorage.sync_file(machine, file)

    monkeypatch.setattr(Machine, "sync_file", forgetting)
    judge = Judge()
    with pytest.raises(AssertionError, match="acknowledged instances are lost for archive"):
        work(Machine(judge.look), **SCENARIOS["two destinations"])  # type: ignore[arg-type]


@pytest.mark.parametrize("forgets", ["sync_file", "sync_directory"])
def test_the_enumeration_finds_a_spool_that_forgets_to_sync(forgets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Careless, "forgets", forgets)
    monkeypatch.setattr("tests.unit.spool.test_crash_states.Spool", Careless)
    judge = Judge()
    with pytest.raises(AssertionError, match="acknowledged instances are lost"):
        work(Machine(judge.look), sizes=(700, 1600, 100, 2600), destinations=("dicomStore",), piece=4096)

"""Who is compared with whom, and a round of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.load import receivers
from bench.load.images import Images
from bench.load.process import Process, python
from bench.load.senders import Dcmsend, Orthanc, Worker

RECEIVERS: dict[str, dict[str, receivers.Start]] = {
    "a": {"ours": receivers.ours, "pynetdicom": receivers.stock, "dcmtk storescp": receivers.storescp, "Orthanc": receivers.orthanc},
    "b": {"ours": receivers.adapter, "pynetdicom + requests": receivers.relay},
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured together: a part, a size and a number of associations."""

    part: str
    size: str
    associations: int


@dataclass(frozen=True, slots=True)
class Round:
    """What was sent, how long it took, and the CPU time of the one that is measured."""

    instances: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Instances per second."""
        return self.instances / self.seconds


class Contender(Protocol):
    """One that is measured."""

    def round(self, count: int) -> Round:
        """Send `count` instances over each association."""

    def peak_bytes(self) -> int:
        """Peak resident size, over all rounds."""


class Receiving:
    """A receiver and its senders."""

    def __init__(self, receiver: Process, senders: Sequence[Process]) -> None:
        self._receiver = receiver
        self._senders = senders
        self._peak = 0

    def round(self, count: int) -> Round:
        """Send `count` instances over each association."""
        for sender in self._senders:
            sender.ask(str(count))
        for sender in self._senders:
            sender.answer()
        used = self._receiver.cpu_seconds()
        for sender in self._senders:
            sender.ask("go")
        times = [tuple(map(float, sender.answer().split())) for sender in self._senders]
        used = self._receiver.cpu_seconds() - used
        self._peak = max(self._peak, self._receiver.peak_bytes())
        for sender in self._senders:
            sender.ask("release")
        return Round(count * len(times), max(end for _, end in times) - min(begin for begin, _ in times), used)

    def peak_bytes(self) -> int:
        """Peak resident size, over all rounds."""
        return self._peak


class Sender(Protocol):
    """One that sends files."""

    def send(self, associations: int, count: int) -> float:
        """Send `count` instances over each association; return the CPU seconds that it took."""

    def peak_bytes(self) -> int:
        """Peak resident size."""

    def end(self) -> None:
        """End it."""


class Sending:
    """A sender and the sink that it sends to: the sink counts, and looks at the clock."""

    def __init__(self, sender: Sender, sink: Process, associations: int) -> None:
        self._sender = sender
        self._sink = sink
        self._associations = associations

    def round(self, count: int) -> Round:
        """Send `count` instances over each association."""
        used = self._sender.send(self._associations, count)
        lines = [tuple(map(float, self._sink.answer().split())) for _ in range(self._associations)]
        seconds = max(end for _, _, end in lines) - min(begin for _, begin, _ in lines)
        return Round(sum(int(number) for number, _, _ in lines), seconds, used)

    def peak_bytes(self) -> int:
        """Peak resident size, over all rounds."""
        return self._sender.peak_bytes()


def contenders(cell: Cell, sample: Images, directory: Path, stack: ExitStack) -> Iterator[tuple[str, Contender]]:
    """Start those that are compared, one after the other."""
    if cell.part == "c":
        yield from sending(cell, sample, directory, stack)
        return
    url = ""
    if cell.part == "b":
        sink = _started(stack, Process(python("bench.load.web")))
        url = f"http://127.0.0.1:{sink.answer()}/dicom-web"
    for name, start in RECEIVERS[cell.part].items():
        own = directory / f"{cell.part}-{cell.size}-{cell.associations}-{name}"
        own.mkdir()
        process, port = start(own, url)
        _started(stack, process)
        senders = []
        for number in range(cell.associations):
            command = python("bench.load.scu", str(port), sample.files[0], str(number * 10**9))
            senders.append(_started(stack, Process(command)))
        yield name, Receiving(process, senders)


def sending(cell: Cell, sample: Images, directory: Path, stack: ExitStack) -> Iterator[tuple[str, Contender]]:
    """Start those that send, and what they send to."""
    sink = _started(stack, Process(python("bench.load.scp")))
    port = int(sink.answer())
    senders: dict[str, Sender] = {
        "ours": Worker("ours", port, sample),
        "pynetdicom": Worker("stock", port, sample),
        "dcmtk dcmsend": Dcmsend(directory, port, sample),
        "Orthanc": Orthanc(directory, port, sample),
    }
    for name, sender in senders.items():
        stack.callback(sender.end)
        yield name, Sending(sender, sink, cell.associations)


def _started(stack: ExitStack, process: Process) -> Process:
    stack.callback(process.end)
    return process

"""C-STORE -> STOW-RS to a store that is far away and not perfect: the adapter beside stock pynetdicom with `requests`, in one run.

    python -m bench.wan [--latency 20 50 100 200] [--failures 0 5] [--associations 1 4 16] [--seconds 3] [--rounds 2]

The sink answers each image after so many milliseconds, and a share of them with 503. One association cannot be faster than one image per
latency: AfterStore answers when the store has. The bound is associations / (latency x attempts + backoff), the mean of attempts and of
backoff computed from the share of failures and the adapter's own policy; the aim is the bound less 10 %, with failures less 15 %. Senders
send again what is refused, at once: an image that the peer refuses costs it another round trip.

A round of every cell is measured for both, one after the other, so that what else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.load import images, receivers
from bench.load.process import Process, python
from bench.load.scu import SUCCESS, Message
from dicom_adapter.config import Retry
from tests.support.rawscu import RawScu, associate_rq, context

PEERS: dict[str, receivers.Start] = {"ours": receivers.adapter, "pynetdicom + requests": receivers.relay}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured."""

    milliseconds: int
    failures: float
    associations: int

    @property
    def bound(self) -> float:
        """Images a second that cannot be exceeded, on average."""
        share, retry = self.failures / 100, Retry()
        seconds = 0.0
        for attempt in range(retry.max_attempts):
            backoff = retry.initial_delay_milliseconds / 1000 * 2 ** (attempt - 1) / 2 if attempt else 0.0
            seconds += share**attempt * (self.milliseconds / 1000 + backoff)
        return self.associations / seconds

    @property
    def aim(self) -> float:
        """The part of it that we want to reach."""
        return 0.85 if self.failures else 0.9


class Lane(threading.Thread):
    """One association: sends one image after the other until told to stop."""

    def __init__(self, port: int, file: Path, first: int) -> None:
        super().__init__(daemon=True)
        self._scu = RawScu("127.0.0.1", port, 60)
        self._scu.associate(associate_rq("SINK", "BENCH", [context(1, images.CT_STORAGE, images.EXPLICIT)], maximum_length=131072))
        self._message = Message(file, int.from_bytes(self._scu.user_items()[0x51], "big"))
        self._number = first
        self.stored: list[float] = []
        self.refused = 0
        self.stop = False

    def run(self) -> None:
        """Until `stop`."""
        connection = self._scu.socket
        while not self.stop:
            self._message.name(self._number)
            connection.sendall(self._message.encoded)
            answer = connection.recv(4096)
            while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
                answer += connection.recv(4096)
            if SUCCESS in answer:
                self.stored.append(time.monotonic())
                self._number += 1
            else:
                self.refused += 1
        self._scu.release()
        self._scu.close()


def measure(port: int, file: Path, associations: int, seconds: float, first: int) -> tuple[float, int]:
    """Images stored a second, after a quarter of the time to warm up; and how many were refused."""
    lanes = [Lane(port, file, first + 1_000_000 * lane) for lane in range(associations)]
    began = time.monotonic() + seconds / 4
    for lane in lanes:
        lane.start()
    time.sleep(seconds * 1.25)
    ended = time.monotonic()
    for lane in lanes:
        lane.stop = True
    for lane in lanes:
        lane.join()
    stored = sum(began <= moment < ended for lane in lanes for moment in lane.stored)
    return stored / (ended - began), sum(lane.refused for lane in lanes)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.wan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", nargs="+", type=int, default=[20, 50, 100, 200], metavar="MS")
    parser.add_argument("--failures", nargs="+", type=float, default=[0, 5], metavar="PERCENT")
    parser.add_argument("--associations", nargs="+", type=int, default=[1, 4, 16], metavar="N")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    cells = [Cell(*cell) for cell in product(options.latency, options.failures, options.associations)]
    rates: dict[tuple[Cell, str], list[float]] = {}
    refused: dict[tuple[Cell, str], int] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        file = images.write(directory, "20kB").files[0]
        sink = Process(python("bench.load.far"))
        url = f"http://127.0.0.1:{int(sink.answer())}/dicom-web"
        running = {peer: start(directory, url) for peer, start in PEERS.items()}
        try:
            number = 0
            for cell in cells:
                sink.ask(f"{cell.milliseconds} {cell.failures / 100}")
                sink.answer()
                print(f"{cells.index(cell) + 1}/{len(cells)}: {cell}", file=sys.stderr, flush=True)
                for _ in range(options.rounds):
                    for peer, (_, port) in running.items():
                        number += 100_000_000
                        rate, failed = measure(port, file, cell.associations, options.seconds, number)
                        rates.setdefault((cell, peer), []).append(rate)
                        refused[cell, peer] = refused.get((cell, peer), 0) + failed
        finally:
            for process, _ in running.values():
                process.end()
            sink.end()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end")
    print(f"images of 20 kB, best of {options.rounds} rounds of {options.seconds:g} s\n")
    print(
        f"{'latency':>8} {'503':>5} {'assoc.':>6} {'bound':>8} " + "".join(f" {peer:>22} {'of bound':>8} {'refused':>7}" for peer in PEERS)
    )
    for cell in cells:
        line = f"{cell.milliseconds:5} ms {cell.failures:4g}% {cell.associations:6} {cell.bound:8.1f} "
        for peer in PEERS:
            rate = max(rates[cell, peer])
            line += f" {rate:22.1f} {rate / cell.bound:8.2f} {refused[cell, peer]:7}"
        missed = max(rates[cell, "ours"]) < cell.aim * cell.bound
        print(line + (f"  MISSED {cell.aim:.2f}" if missed else ""))
    print(f"\nmedian of ours to the bound: {statistics.median(max(rates[cell, 'ours']) / cell.bound for cell in cells):.2f}")


if __name__ == "__main__":
    main()

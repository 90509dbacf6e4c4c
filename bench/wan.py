"""C-STORE -> STOW-RS to a store that is far away and not perfect: the adapter beside stock pynetdicom with `requests`, in one run.

    python -m bench.wan [--latency 20 50 100 200] [--failures 0 5] [--associations 1 4 16] [--seconds 3] [--rounds 2]

The sink answers each image after so many milliseconds, and a share of them with 503. One association cannot be faster than one image per
latency: AfterStore answers when the store has. The bound is associations / (latency x attempts + backoff), the mean of attempts and of
backoff computed from the share of failures and the adapter's own policy; the aim is the bound less 10 %, with failures less 15 %. Senders
send again what is refused, at once: an image that the peer refuses costs it another round trip.

The latency in it is measured: as many connections as there are associations post the image straight to the sink. What this machine's timer,
and as many threads at once, add to the number asked for is no doing of the adapter's.

Beside it is the processor time that an image costs the adapter.

A round of every cell is measured for all three, one after the other, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.load import images, receivers
from bench.load.process import Process, python
from bench.load.scu import SUCCESS, Message
from dicom_adapter.config import Retry
from tests.support.rawscu import RawScu, associate_rq, context

OURS = "ours"
PEERS: dict[str, receivers.Start] = {OURS: receivers.adapter, "pynetdicom + requests": receivers.relay}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured."""

    milliseconds: int
    failures: float
    associations: int

    def bound(self, latency: float) -> float:
        """Images a second that cannot be exceeded, on average, when an answer takes `latency` seconds."""
        share, retry = self.failures / 100, Retry()
        seconds = 0.0
        for attempt in range(retry.max_attempts):
            backoff = retry.initial_delay_milliseconds / 1000 * 2 ** (attempt - 1) / 2 if attempt else 0.0
            seconds += share**attempt * (latency + backoff)
        return self.associations / seconds

    @property
    def aim(self) -> float:
        """The part of it that we want to reach."""
        return 0.85 if self.failures else 0.9


class Lane(threading.Thread):
    """Sends one image after the other until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stored: list[float] = []
        self.refused = 0
        self.stop = False

    def run(self) -> None:
        """Until `stop`."""
        while not self.stop:
            if self._send():
                self.stored.append(time.monotonic())
            else:
                self.refused += 1
        self._close()

    def _send(self) -> bool:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class Direct(Lane):
    """A connection straight to the sink."""

    def __init__(self, port: int, file: Path) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.connect()
        self._body = file.read_bytes()

    def _send(self) -> bool:
        self._connection.request("POST", "/dicom-web/studies", self._body)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status == 200

    def _close(self) -> None:
        self._connection.close()


class Association(Lane):
    """An association with one of those that are compared."""

    def __init__(self, port: int, file: Path, first: int) -> None:
        super().__init__()
        self._scu = RawScu("127.0.0.1", port, 60)
        self._scu.associate(associate_rq("SINK", "BENCH", [context(1, images.CT_STORAGE, images.EXPLICIT)], maximum_length=131072))
        self._message = Message(file, int.from_bytes(self._scu.user_items()[0x51], "big"))
        self._number = first

    def _send(self) -> bool:
        connection = self._scu.socket
        self._message.name(self._number)
        connection.sendall(self._message.encoded)
        answer = connection.recv(4096)
        while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
            answer += connection.recv(4096)
        stored = SUCCESS in answer
        self._number += stored
        return stored

    def _close(self) -> None:
        self._scu.release()
        self._scu.close()


def measure(lanes: Sequence[Lane], seconds: float) -> tuple[float, int]:
    """Images stored a second, after a quarter of the time to warm up; and how many were refused."""
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


def inject(sink: Process, milliseconds: int, failures: float) -> None:
    """What the sink is to be like from now on."""
    sink.ask(f"{milliseconds} {failures}")
    sink.answer()


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
    latencies: dict[Cell, list[float]] = {}
    costs: dict[Cell, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        file = images.write(directory, "20kB").files[0]
        sink = Process(python("bench.load.far"))
        far = int(sink.answer())
        url = f"http://127.0.0.1:{far}/dicom-web"
        running = {peer: start(directory, url) for peer, start in PEERS.items()}
        try:
            number = 0
            for cell in cells:
                print(f"{cells.index(cell) + 1}/{len(cells)}: {cell}", file=sys.stderr, flush=True)
                for _ in range(options.rounds):
                    inject(sink, cell.milliseconds, 0)
                    straight, _ = measure([Direct(far, file) for _ in range(cell.associations)], options.seconds / 3)
                    latencies.setdefault(cell, []).append(cell.associations / straight)
                    inject(sink, cell.milliseconds, cell.failures / 100)
                    for peer, (_, port) in running.items():
                        number += 100_000_000
                        lanes = [Association(port, file, number + 1_000_000 * lane) for lane in range(cell.associations)]
                        used = running[peer][0].cpu_seconds()
                        rate, failed = measure(lanes, options.seconds)
                        if peer == OURS:
                            count = failed + sum(len(lane.stored) for lane in lanes)
                            costs.setdefault(cell, []).append(1000 * (running[peer][0].cpu_seconds() - used) / max(1, count))
                        rates.setdefault((cell, peer), []).append(rate)
                        refused[cell, peer] = refused.get((cell, peer), 0) + failed
        finally:
            for process, _ in running.values():
                process.end()
            sink.end()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end")
    print(f"images of 20 kB, best of {options.rounds} rounds of {options.seconds:g} s\n")
    print(
        f"{'latency':>8} {'measured':>9} {'503':>5} {'assoc.':>6} {'bound':>8} "
        + "".join(f" {peer:>22} {'of bound':>8} {'refused':>7}" for peer in PEERS)
        + f" {'our CPU ms':>10}"
    )
    reached = []
    for cell in cells:
        latency = min(latencies[cell])
        bound = cell.bound(latency)
        line = f"{cell.milliseconds:5} ms {1000 * latency:6.1f} ms {cell.failures:4g}% {cell.associations:6} {bound:8.1f} "
        for peer in PEERS:
            rate = max(rates[cell, peer])
            line += f" {rate:22.1f} {rate / bound:8.2f} {refused[cell, peer]:7}"
        reached.append(max(rates[cell, OURS]) / bound)
        print(line + f" {min(costs[cell]):10.2f}" + ("" if reached[-1] >= cell.aim else f"  MISSED {cell.aim:.2f}"))
    print(f"\nmedian of ours to the bound: {statistics.median(reached):.2f}")


if __name__ == "__main__":
    main()

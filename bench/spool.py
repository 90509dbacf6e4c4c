"""AfterSpool: how fast images are acknowledged and delivered, beside what the disk can do and beside stock pynetdicom with `requests`.

    python -m bench.spool [--associations 1 4 16] [--latency 100 200] [--seconds 3] [--rounds 3] [--directory /tmp]

(a) The disk's raw rate: as many threads as there are associations write files of the same size, fdatasync, rename and fsync the directory,
each for itself, in the directories of the spool: how fast ext4 finds a free inode depends on how many have been freed beside it. Then what
a receiver acknowledges that has a process for each association and does nothing but that: what the senders, and waiting for each other,
leave of the raw rate. Then what the adapter acknowledges while the store is down, so that the disk has nothing else to do. The aim is 0.7
of raw.

(b) A store with 100 and 200 ms answers and one association, where a gateway that waits for the store gets 10 and 5 images a second: images
acknowledged while they are delivered; how many are delivered a second until the last one is; and, after an outage, images of the backlog
delivered, from the first one on until none is left. The aims are 500 acknowledged (if the disk does that) and 300 delivered a second, and
after the outage 0.8 of what is delivered usually.

A round of everything is measured one after the other, so that what else the machine does hits all alike; shown is the best round.

Beside each rate is the processor time that one image costs, of the threads that only write or of the adapter: it explains the rate, and
depends far less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import images, receivers
from bench.load.process import Process, python
from bench.wan import Association, inject, measure
from tests.support.orthanc import free_port

INCOMING, READY = "incoming", "dicomStore/ready"
AIM, ACKNOWLEDGED, DELIVERED, AFTERWARDS = 0.7, 500, 300, 0.8
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, order=True)
class Pace:
    """Images a second, and the milliseconds of a processor that one of them costs."""

    rate: float
    milliseconds: float = 0.0

    def shown(self, width: int) -> str:
        """As columns of a table."""
        return f"{self.rate:{width}.0f} {self.milliseconds:7.2f}"


@dataclass(frozen=True, slots=True)
class Ours:
    """A running adapter, its port, and that of its status."""

    process: Process
    port: int
    http: int

    def waiting(self) -> int:
        """Images in the spool."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/status") as answer:
            return int(json.load(answer)["spool"]["instances"])

    def emptied(self) -> float:
        """Waits until nothing is left in the spool; the time then."""
        while self.waiting():
            time.sleep(_LOOK_SECONDS)
        return time.monotonic()

    def cost(self, before: float, images: int) -> float:
        """Milliseconds of a processor for each image since it had used `before` seconds of it."""
        return 1000 * (self.process.cpu_seconds() - before) / max(1, images)


@contextmanager
def spool(directory: Path) -> Iterator[Path]:
    """The one place where all of them write, empty before and after: with directories of its own each has inodes elsewhere."""
    place = directory / "spool"
    for name in (INCOMING, READY):
        (place / name).mkdir(parents=True, exist_ok=True)
    try:
        yield place
    finally:
        for path in [*(place / INCOMING).iterdir(), *(place / READY).iterdir()]:
            path.unlink()


def raw(place: Path, threads: int, seconds: float) -> Pace:
    """Files a second that the disk makes safe, each with two syncs of its own."""
    data = os.urandom(images.SIZES["0.5MB"])
    ready = os.open(place / READY, os.O_RDONLY)
    until = time.monotonic() + seconds
    counts = [0] * threads

    def work(number: int) -> None:
        while time.monotonic() < until:
            name = f"{number}-{counts[number]}"
            file = os.open(place / INCOMING / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, data)
            os.fdatasync(file)
            os.close(file)
            os.rename(place / INCOMING / name, place / READY / name)
            os.fsync(ready)
            counts[number] += 1

    used = time.process_time()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    used = time.process_time() - used
    os.close(ready)
    return Pace(sum(counts) / seconds, 1000 * used / sum(counts))


@contextmanager
def adapter(place: Path, url: str) -> Iterator[Ours]:
    """Ours with an empty spool."""
    http = free_port()
    spec: dict[str, Any] = {"delivery": {"acknowledge": "AfterSpool"}}
    process, port = receivers.configured(place.parent, url, http, spec, f"--spool_directory={place}")
    try:
        yield Ours(process, port, http)
    finally:
        process.end()


def lanes_to(port: int, file: Path, first: int, associations: int) -> list[Association]:
    """Senders of images that differ."""
    return [Association(port, file, first + 1_000_000 * number) for number in range(associations)]


def least(place: Path, file: Path, first: int, associations: int, seconds: float) -> Pace:
    """Acknowledged a second by a receiver that does nothing but what it has to, a process for each association."""
    process = Process(python("bench.load.scp", place))
    try:
        return Pace(measure(lanes_to(int(process.answer()), file, first, associations), seconds)[0])
    finally:
        process.end()


def near(place: Path, url: str, file: Path, first: int, associations: int, seconds: float) -> Pace:
    """Acknowledged a second while nothing can be delivered."""
    with adapter(place, url) as ours:
        lanes = lanes_to(ours.port, file, first, associations)
        used = ours.process.cpu_seconds()
        rate, _ = measure(lanes, seconds)
        return Pace(rate, ours.cost(used, sum(len(lane.stored) for lane in lanes)))


@dataclass(frozen=True, slots=True)
class Far:
    """Images a second with a store that is far away."""

    acknowledged: Pace
    usual: Pace
    """Delivered, from the first to come until none is left."""
    backlog: Pace
    """Delivered after an outage."""


def far(place: Path, sink: Process, url: str, file: Path, first: int, milliseconds: int, seconds: float) -> Far:
    """Over one association, and from what four have left behind in an outage."""
    inject(sink, milliseconds, 0)
    with adapter(place, url) as ours:
        lane = Association(ours.port, file, first)
        began, used = time.monotonic(), ours.process.cpu_seconds()
        rate, _ = measure([lane], seconds)
        acknowledged = Pace(rate, ours.cost(used, len(lane.stored)))
        images = len(lane.stored)
        usual = Pace(images / (ours.emptied() - began - milliseconds / 1000), ours.cost(used, images))
        inject(sink, 0, 1.0)
        measure(lanes_to(ours.port, file, first + 1_000_000, 4), seconds)
        inject(sink, milliseconds, 0)
        backlog = ours.waiting()
        while (left := ours.waiting()) == backlog:
            time.sleep(0.01)
        began, used = time.monotonic(), ours.process.cpu_seconds()
        return Far(acknowledged, usual, Pace(left / (ours.emptied() - began), ours.cost(used, left)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.spool", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--associations", nargs="+", type=int, default=[1, 4, 16], metavar="N")
    parser.add_argument("--latency", nargs="+", type=int, default=[100, 200], metavar="MS")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where the spool is to be: a disk, no memory")
    options = parser.parse_args()
    rates: dict[tuple[str, int], list[Pace]] = {}
    number = 0
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        directory = Path(name)
        file = images.write(directory, "0.5MB").files[0]
        sink = Process(python("bench.load.batches"))
        url = f"http://127.0.0.1:{int(sink.answer())}/dicom-web"
        peer, peer_port = receivers.relay(directory, url)
        try:
            for _ in range(options.rounds):
                for associations in options.associations:
                    number += 100_000_000
                    with spool(directory) as place:
                        rates.setdefault(("raw", associations), []).append(raw(place, associations, options.seconds))
                    with spool(directory) as place:
                        rates.setdefault(("least", associations), []).append(least(place, file, number, associations, options.seconds))
                    inject(sink, 0, 1.0)
                    with spool(directory) as place:
                        rates.setdefault(("ours", associations), []).append(near(place, url, file, number, associations, options.seconds))
                for milliseconds in options.latency:
                    number += 100_000_000
                    with spool(directory) as place:
                        found = far(place, sink, url, file, number, milliseconds, options.seconds)
                    rates.setdefault(("acknowledged", milliseconds), []).append(found.acknowledged)
                    rates.setdefault(("usual", milliseconds), []).append(found.usual)
                    rates.setdefault(("delivered", milliseconds), []).append(found.backlog)
                    rates.setdefault(("afterwards", milliseconds), []).append(Pace(found.backlog.rate / found.usual.rate))
                    lane = Association(peer_port, file, number + 50_000_000)
                    rates.setdefault(("peer", milliseconds), []).append(Pace(measure([lane], options.seconds)[0]))
        finally:
            peer.end()
            sink.end()
    show(options, {key: max(values) for key, values in rates.items()})


def show(options: argparse.Namespace, best: dict[tuple[str, int], Pace]) -> None:
    """The two tables."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end")
    print(f"images of 0.5 MB, best of {options.rounds} rounds of {options.seconds:g} s\n")
    print(f"{'associations':>12} {'raw/s':>8} {'CPU ms':>7} {'acknowledged/s':>15} {'CPU ms':>7} {'of raw':>7} {'at most':>8}")
    for associations in options.associations:
        disk, least, ours = best["raw", associations], best["least", associations], best["ours", associations]
        line = f"{associations:12} {disk.shown(8)} {ours.shown(15)} {ours.rate / disk.rate:7.2f} {least.rate / disk.rate:8.2f}"
        print(line + ("" if ours.rate >= AIM * disk.rate else f"  MISSED {AIM}"))
    print(
        f"\n{'store':>8} {'acknowledged/s':>15} {'CPU ms':>7} {'delivered/s':>12} {'CPU ms':>7} {'after an outage/s':>18} {'CPU ms':>7}"
        f" {'of the usual':>13}"
        f" {'pynetdicom + requests':>22} {'ratio':>7}"
    )
    for milliseconds in options.latency:
        kinds = ("acknowledged", "usual", "delivered", "afterwards", "peer")
        acknowledged, usual, delivered, afterwards, peer = (best[kind, milliseconds] for kind in kinds)
        wanted = min(ACKNOWLEDGED, AIM * best["raw", options.associations[0]].rate)
        aims = ((acknowledged, wanted), (delivered, DELIVERED), (afterwards, AFTERWARDS))
        missed = [f"MISSED {aim:.3g}" for pace, aim in aims if pace.rate < aim]
        line = (
            f"{milliseconds:5} ms {acknowledged.shown(15)} {usual.shown(12)} {delivered.shown(18)} {afterwards.rate:13.2f}"
            f" {peer.rate:22.1f} {acknowledged.rate / peer.rate:7.0f}"
        )
        print("  ".join((line, *missed)))


if __name__ == "__main__":
    main()

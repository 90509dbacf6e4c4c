"""How fast C-STORE goes, ours beside its peers, in one run and one table.

(a) receive into a null sink, (b) C-STORE -> STOW-RS into a loopback sink, (c) send files into a null sink. Instances are CT images of
random pixels. Peers: stock pynetdicom with its PDU length raised to ours (and a `requests` session per association for b), dcmtk's storescp
--fork --ignore and dcmsend with TCP_NODELAY=1 (without it Nagle's algorithm costs every image 40 ms), and Orthanc, which stores what it
receives and sends what it has stored. All PDUs are of 131072 bytes. dcmtk has a process per association, all others one process.

In (a) and (b) the sender is one pre-encoded C-STORE written from memory with one call, a process per association; in (c) the receiver looks
at nothing but the lengths, a process per association: neither is what is measured. Each round is about as long as --seconds, measured from
the first byte to the last answer; the first are a warm-up. Those that are compared take turns, so that what else the machine does hits all
alike. On another machine only the ratios mean something.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.load import images
from bench.load.contenders import Cell, Round, contenders
from bench.load.images import Images

ASSOCIATIONS = (1, 4, 16)
PARTS = {"a": "receive into a null sink", "b": "C-STORE -> STOW-RS into a loopback sink", "c": "send files into a null sink"}
STOCK = {"a": "pynetdicom", "b": "pynetdicom + requests", "c": "pynetdicom"}
DCMTK = {"a": "dcmtk storescp", "c": "dcmtk dcmsend"}


@dataclass(frozen=True, slots=True)
class Aim:
    """What we want to reach: at least so many times a peer."""

    part: str
    size: str
    associations: int
    peer: str
    ratio: float


AIMS = (
    Aim("a", "20kB", 1, "pynetdicom", 5),
    Aim("a", "0.5MB", 1, "pynetdicom", 10),
    Aim("a", "0.5MB", 1, "dcmtk storescp", 0.9),
    Aim("a", "0.5MB", 4, "pynetdicom", 5),
    Aim("a", "0.5MB", 4, "dcmtk storescp", 0.6),
    Aim("b", "0.5MB", 1, "pynetdicom + requests", 10),
    Aim("b", "0.5MB", 4, "pynetdicom + requests", 10),
    Aim("c", "0.5MB", 1, "pynetdicom", 10),
    Aim("c", "0.5MB", 1, "dcmtk dcmsend", 0.8),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    cell: Cell
    name: str
    rate: float
    cpu_per_gigabyte: float
    peak_bytes: int


def measure(cell: Cell, sample: Images, rounds: int, seconds: float) -> list[Row]:
    """Let those that are compared take turns; each sends for about `seconds` a round, as its warm-up has shown."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        started = dict(contenders(cell, sample, Path(directory), stack))
        counts, taken = {}, {name: list[Round]() for name in started}
        for name, contender in started.items():
            contender.round(1)
            trial = contender.round(max(1, 500_000 // sample.bytes))
            counts[name] = max(1, round(contender.round(max(1, int(trial.rate * seconds / 4))).rate * seconds / cell.associations))
        for _ in range(rounds):
            for name, contender in started.items():
                taken[name].append(contender.round(counts[name]))
        return [_row(cell, name, taken[name], sample, contender.peak_bytes()) for name, contender in started.items()]


def _row(cell: Cell, name: str, rounds: list[Round], sample: Images, peak: int) -> Row:
    cpu = (taken.cpu_seconds / (taken.instances * sample.bytes / 1e9) for taken in rounds)
    return Row(cell, name, statistics.median(taken.rate for taken in rounds), statistics.median(cpu), peak)


def table(rows: Sequence[Row], sizes: dict[str, Images]) -> Iterator[str]:
    """The lines of the table."""
    rates = {(row.cell, row.name): row.rate for row in rows}
    for part, title in PARTS.items():
        of_part = [row for row in rows if row.cell.part == part]
        if not of_part:
            continue
        yield f"({part}) {title}"
        yield f"{'size':>6} {'assoc.':>6}  {'':22}{'inst/s':>8} {'MB/s':>7} {'of stock':>9} {'of dcmtk':>9} {'CPU s/GB':>9} {'peak MB':>8}"
        for row in of_part:
            ratios = [_ratio(row, rates.get((row.cell, peer))) for peer in (STOCK[part], "dcmtk storescp")]
            megabytes = row.rate * sizes[row.cell.size].bytes / 1e6
            yield (
                f"{row.cell.size:>6} {row.cell.associations:6}  {row.name:22}{row.rate:8.0f} {megabytes:7.0f} {ratios[0]:>9} {ratios[1]:>9}"
                f" {row.cpu_per_gigabyte:9.2f} {row.peak_bytes / 1e6:8.0f}"
            )
        yield ""


def _ratio(row: Row, peer: float | None) -> str:
    return "" if peer is None else f"{row.rate / peer:.2f}"


def aims(rows: Sequence[Row]) -> Iterator[str]:
    """What we want to reach, and what this run has reached."""
    rates = {(row.cell, row.name): row.rate for row in rows}
    for aim in AIMS:
        cell = Cell(aim.part, aim.size, aim.associations)
        ours, peer = rates.get((cell, "ours")), rates.get((cell, aim.peer))
        if ours is not None and peer is not None:
            got = ours / peer
            said = "reached" if got >= aim.ratio else "MISSED"
            where = f"({aim.part}) {aim.size}, {aim.associations} association{'s' if aim.associations > 1 else ''}"
            yield f"{where}: at least {aim.ratio:g} of {aim.peer}, got {got:.2f}: {said}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.dimse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}; all by default"
    )
    parser.add_argument("--size", nargs="+", choices=images.SIZES, default=list(images.SIZES), help="bytes of pixels; all by default")
    parser.add_argument("--associations", nargs="+", type=int, default=list(ASSOCIATIONS), metavar="N", help="1 4 16 by default")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is shown (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.7, help="about how long a round takes (default: 0.7)")
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    options = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        sizes = {size: images.write(Path(directory), size) for size in options.size}
        cells = [Cell(*cell) for cell in product(options.only, options.size, options.associations)]
        rows: list[Row] = []
        for number, cell in enumerate(cells, 1):
            print(f"{number}/{len(cells)}: {dataclasses.astuple(cell)}", file=sys.stderr, flush=True)
            rows += measure(cell, sizes[cell.size], options.rounds, options.seconds)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end")
    print(f"median of {options.rounds} rounds of about {options.seconds:g} s; TCP_NODELAY=1; {time.monotonic() - began:.0f} s in all\n")
    print("\n".join((*table(rows, sizes), *aims(rows))))


if __name__ == "__main__":
    main()

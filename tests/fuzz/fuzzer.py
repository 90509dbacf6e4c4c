"""One target in a process of its own, under Atheris (libFuzzer for Python: it sees which branches of `dicom_adapter` an input takes).

`python -m tests.fuzz.fuzzer TARGET DIRECTORY [libFuzzer's options]` fuzzes; with a file in place of the directory it runs that input once.

Beyond what a target itself demands, each input has bounds in time and memory, nothing is printed, logged or warned about, and nothing is
left behind. What breaks this ends the process, with the input in a file.
"""

from __future__ import annotations

import gc
import io
import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["dicom_adapter"]):
    from tests.fuzz.targets import EVERY, TARGETS

SECONDS = 0.05
"""Processor time for one input; under Atheris everything is about ten times slower than it is."""
KILOBYTES = 64 * 1024
"""By how much one input may raise the peak of the process."""
LEFT_BLOCKS = 20_000
"""By how many blocks of memory the process may have grown in the end; the first inputs fill caches and do not count."""
INPUTS_BETWEEN_COUNTS = 10_000


class NotSilent(Exception):
    """Something was printed, logged or warned about."""


class _Complaint(io.TextIOBase):
    def write(self, text: str) -> int:
        raise NotSilent(f"printed: {text[:200]}")


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.heard: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        self.heard.append(record.getMessage())
        if record.exc_info and record.exc_info[1]:
            raise record.exc_info[1]
        return True


class Watched:
    """A target with the bounds that hold for all of them; `report` is a file that tells the slowest input."""

    def __init__(self, run: Callable[[bytes], None], report: Path) -> None:
        self._run, self._report = run, report
        self._inputs = 0
        self._longest = 0.0
        self._blocks = 0
        self._listener = _Listener()
        logging.getLogger().handlers[:] = [self._listener]
        logging.getLogger().setLevel(logging.INFO)
        warnings.simplefilter("error")

    def __call__(self, data: bytes) -> None:
        real = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = _Complaint()
        try:
            peak = _peak()
            seconds = self._seconds(data)
            if seconds > SECONDS:  # the machine may have been busy with something else
                seconds = min(seconds, *(self._seconds(data) for _ in range(3)))
        finally:
            sys.stdout, sys.stderr = real
        if self._listener.heard:
            raise NotSilent(f"logged: {self._listener.heard}")
        if seconds > SECONDS:
            raise TimeoutError(f"{seconds:.3f} s of processor time")
        if _peak() - peak > KILOBYTES:
            raise MemoryError(f"{_peak() - peak} kB more than ever before")
        if seconds > self._longest:
            self._longest = seconds
            self._report.write_text(json.dumps({"milliseconds": round(seconds * 1000, 2), "bytes": len(data)}))
        self._inputs += 1
        if self._inputs % INPUTS_BETWEEN_COUNTS == 0:
            self._count_blocks()

    def _seconds(self, data: bytes) -> float:
        began = time.thread_time()
        self._run(data)
        return time.thread_time() - began

    def _count_blocks(self) -> None:
        gc.collect()
        now = sys.getallocatedblocks()
        self._blocks = self._blocks or now
        if now - self._blocks > LEFT_BLOCKS:
            raise MemoryError(f"{now - self._blocks} blocks of memory are left over from {self._inputs} inputs")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Run until libFuzzer has had enough; it ends the process."""
    name, where, *options = sys.argv[1:]
    watched = Watched(TARGETS.get(name, EVERY).run, Path(where + ".slowest"))
    atheris.Setup([sys.argv[0], where, *options], watched)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Processes of a benchmark, and what they use."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}
"""dcmtk leaves Nagle's algorithm on unless told: then every image waits 40 ms for the other side's delayed acknowledgement."""


class Process:
    """A program that runs until `end`, and its children."""

    def __init__(self, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, quiet: bool = False) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            text=True,
            env={**ENVIRONMENT, **(environment or {})},
        )

    def ask(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Read a line from its standard output."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with status {self._process.wait()}")
        return line.strip()

    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def drain(self) -> None:
        """End it as Kubernetes does, and wait until it is done."""
        self._process.terminate()
        self._process.wait()
        self.end()

    def end(self) -> None:
        """End it and its children, at once."""
        for pid in _children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def cpu_seconds(self) -> float:
        """CPU time used so far, by it and its children."""
        ticks = 0
        for pid in (self._process.pid, *_children(self._process.pid)):
            fields = _read(pid, "stat").rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11 : 15 if pid == self._process.pid else 13])
        return ticks / TICKS

    def peak_bytes(self) -> int:
        """Peak resident size of it and of those children that live, in all."""
        return sum(resident_peak(pid) for pid in (self._process.pid, *_children(self._process.pid)))


def python(module: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    """The command of one of our own programs."""
    return (sys.executable, "-m", module, *arguments)


def resident_peak(pid: int) -> int:
    """Peak resident size of a process that runs: what wait4 says afterwards may be that of the process which started it."""
    return int((_read(pid, "status").partition("VmHWM:")[2].split() or ["0"])[0]) * 1024


def _children(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _read(int(entry.name), "stat").rpartition(")")[2].split()
            if fields and int(fields[1]) == parent:
                yield int(entry.name)


def _read(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""

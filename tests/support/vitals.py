"""Processes whose memory, descriptors, threads, tasks and log can be looked at from outside: the adapter, and the engine alone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support import sink, window
from tests.support.adapter import Adapter

MEGABYTE = 1_000_000
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a process holds at one moment; sizes in bytes."""

    resident: int
    peak: int
    descriptors: int
    threads: int
    alive: dict[str, int]

    def __str__(self) -> str:
        alive = ", ".join(f"{count} {kind}" for kind, count in self.alive.items())
        sizes = f"{self.resident / MEGABYTE:.1f} MB resident, {self.peak / MEGABYTE:.1f} MB at its peak"
        return f"{sizes}, {self.descriptors} descriptors, {self.threads} threads, {alive}"


class Window:
    """The outside of `tests.support.window`."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="window-")
        self._path = str(Path(self._directory.name, "window"))
        self.environment = {"ADAPTER_WINDOW": self._path}

    async def vitals(self, pid: int) -> Vitals:
        """What the process holds now."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        alive = json.loads(await reader.read())
        writer.close()
        await writer.wait_closed()
        process = Path(f"/proc/{pid}")
        sizes = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        resident, peak = (int(sizes[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return Vitals(resident, peak, len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())), alive)

    async def quiet(self, pid: int, before: Vitals | None = None, seconds: float = 60.0) -> Vitals:
        """The same once nothing of a connection is alive any more, nor more than was `before`: a task may be at its last step."""
        most = {"Task": sys.maxsize} if before is None else before.alive
        return await self.until(pid, lambda now: all(count <= most.get(kind, 0) for kind, count in now.alive.items()), seconds)

    async def until(self, pid: int, condition: Callable[[Vitals], bool], seconds: float = 60.0) -> Vitals:
        """The same once the condition holds."""
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while not condition(now := await self.vitals(pid)):
            assert clock() < ends, f"after {seconds:.0f} s: {now}"
            await asyncio.sleep(0.05)
        return now

    def close(self) -> None:
        """Remove the socket."""
        self._directory.cleanup()


class WatchedAdapter(Adapter):
    """A running adapter with a window into its process."""

    def __init__(self, store: str, *, spec: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._window = Window()
        command = (sys.executable, window.__file__)
        super().__init__(store, spec=spec, environment={**(environment or {}), **self._window.environment}, command=command)

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(*_)
        self._window.close()

    async def vitals(self) -> Vitals:
        """What the process holds now."""
        assert self.process
        return await self._window.vitals(self.process.pid)

    async def vitals_when_quiet(self, before: Vitals | None = None) -> Vitals:
        """The same once no connection is alive any more, nor more than was `before`."""
        assert self.process
        return await self._window.quiet(self.process.pid, before)

    @property
    def log_bytes(self) -> int:
        """The length of everything that was logged."""
        return sum(len(json.dumps(line, ensure_ascii=False).encode()) + 1 for line in self.lines)

    def complaints(self) -> list[dict[str, Any]]:
        """Log lines that tell of a mistake of ours."""
        return [line for line in self.lines if "stack_trace" in line or line["severity"] in ("ERROR", "CRITICAL", "TEXT")]


class Sink:
    """The engine alone, in a process (`tests.support.sink`). Async context manager."""

    def __init__(self, **limits: Any) -> None:
        self._limits = json.dumps(limits)
        self._window = Window()
        self.port = 0

    async def __aenter__(self) -> Self:
        environment = {**os.environ, **self._window.environment, "PYTHONPATH": str(ROOT)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, sink.__file__, self._limits, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
        )
        assert self._process.stdout
        self.port = int(await self._process.stdout.readline())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.returncode is None, "it ended by itself"
        self._process.terminate()
        errors = (await self._process.communicate())[1]
        self._window.close()
        assert not errors, errors.decode()

    async def vitals(self) -> Vitals:
        """What the process holds now."""
        return await self._window.vitals(self._process.pid)

    async def vitals_when_quiet(self, before: Vitals | None = None) -> Vitals:
        """The same once no connection is alive any more, nor more than was `before`."""
        return await self._window.quiet(self._process.pid, before)

    async def vitals_when(self, condition: Callable[[Vitals], bool]) -> Vitals:
        """The same once the condition holds."""
        return await self._window.until(self._process.pid, condition)

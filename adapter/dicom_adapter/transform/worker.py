"""Conversions in processes of their own: few at a time, none for ever, and none that takes the adapter with it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from types import TracebackType
from typing import Final, Self

from dicom_adapter.transform.transcode import CannotConvert

WORKERS: Final = 2
_PATIENCE: Final = 120.0
_IDLE: Final = 60.0
_COMMAND: Final = (sys.executable, "-m", "dicom_adapter.transform")


class Transcoder:
    """Lends a process to each conversion; those that nobody needs end after a minute. On one event loop; an async context manager."""

    def __init__(self, *, patience: float = _PATIENCE, idle: float = _IDLE, command: tuple[str, ...] = _COMMAND) -> None:
        self._patience = patience
        self._idle_seconds = idle
        self._command = command
        self._turns = asyncio.Semaphore(WORKERS)
        self._idle: list[Process] = []
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[int]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._end_idle()
        while self._ending:
            await asyncio.wait(self._ending)

    @property
    def idle(self) -> int:
        """How many processes wait for work."""
        return len(self._idle)

    async def convert(self, content: bytes, source: str, target: str) -> bytes:
        """The data set in another transfer syntax. Raises CannotConvert."""
        async with self._turns:
            process = await self._process()
            healthy = False
            try:
                async with asyncio.timeout(self._patience):
                    answer, result = await _ask(process, content, source, target)
                healthy = True
            except TimeoutError:
                raise CannotConvert(f"not decoded in {self._patience:g} s") from None
            except (OSError, ValueError, asyncio.IncompleteReadError):
                raise CannotConvert("its codec crashed") from None
            finally:
                if healthy:
                    self._give_back(process)
                else:
                    self._end(process)
            if "error" in answer:
                raise CannotConvert(str(answer["error"]))
            return result

    async def _process(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            self._end(process)
        return await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)

    def _give_back(self, process: Process) -> None:
        self._idle.append(process)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._end_idle)

    def _end_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._idle:
            self._end(self._idle.pop())

    def _end(self, process: Process) -> None:
        if process.returncode is None:
            process.kill()
        ending = asyncio.create_task(process.wait())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _ask(process: Process, content: bytes, source: str, target: str) -> tuple[dict[str, object], bytes]:
    if process.stdin is None or process.stdout is None:  # not reached: both are pipes
        raise RuntimeError("a process without pipes")
    head = json.dumps({"source": source, "target": target, "size": len(content)}).encode() + b"\n"
    process.stdin.write(head + content)
    await process.stdin.drain()
    answer: dict[str, object] = json.loads(await process.stdout.readuntil(b"\n"))
    return answer, await process.stdout.readexactly(int(str(answer["size"])))

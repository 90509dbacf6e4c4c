"""strace beside a running adapter: what its threads ask of the kernel, in order, and errors put in the kernel's mouth."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"(\d+) +[\d.]+ (.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: its text, and the places in the trace where it began and ended."""

    began: int
    ended: int
    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]

    @property
    def succeeded(self) -> bool:
        return re.search(r"\) += \d+", self.text) is not None

    @property
    def data(self) -> bytes:
        """What the strings in it hold (-xx shows them in hex)."""
        return bytes(int(pair, 16) for string in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', self.text) for pair in string.split("\\x")[1:])


def calls(trace: str) -> list[Call]:
    """Puts the halves of each call together."""
    found: list[Call] = []
    open_calls: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.splitlines()):
        match = _LINE.match(line)
        if not match:
            continue
        thread, text = match.groups()
        resumed = _RESUMED.match(text)
        if resumed:
            began, start = open_calls.pop(thread, (number, f"{resumed[1]}("))
            found.append(Call(began, number, start + resumed[2]))
        elif text.endswith("<unfinished ...>"):
            open_calls[thread] = (number, text.removesuffix("<unfinished ...>"))
        else:
            found.append(Call(number, number, text))
    return found


class Strace:
    """Attached to a process."""

    def __init__(self, output: Path) -> None:
        self.output = output

    @property
    def trace(self) -> str:
        """What it has seen so far."""
        return self.output.read_text(errors="replace")

    @property
    def injected(self) -> int:
        """How many errors it has given."""
        return self.trace.count("(INJECTED)")


@asynccontextmanager
async def attached(process: int, output: Path, *options: str) -> AsyncIterator[Strace]:
    """strace with these options, for the time of the block."""
    command = ("strace", "-f", "-ttt", "-o", str(output), *options, "-p", str(process))
    strace = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert strace.stderr
    async with asyncio.timeout(60):
        while b"attached" not in (line := await strace.stderr.readline()):
            assert line, "strace could not attach"
    try:
        yield Strace(output)
    finally:
        strace.terminate()
        await strace.communicate()

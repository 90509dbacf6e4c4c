"""Running a program whose output goes to a log, with a sign of life while it takes long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CommandFailed, with_log

PROGRESS_SECONDS = 15.0


def say(line: str) -> None:
    """Tell the user on stderr, so that stdout stays for results."""
    print(line, file=sys.stderr, flush=True)


def elapsed(seconds: float) -> str:
    """Render a duration as a person would say it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@dataclass(frozen=True, slots=True)
class Task:
    """What is being done, for the user: its name, how long it usually takes and where its log is."""

    label: str
    typical: str
    log: Path
    tell: Callable[[str], None] = say
    progress_seconds: float = PROGRESS_SECONDS

    def run(self, command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Run a command; raise CommandFailed with the end of the log if it fails."""
        began = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            log.write(f"+ {' '.join(command)}\n")
            log.flush()
            with subprocess.Popen(
                command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            ) as process:
                try:
                    while True:
                        try:
                            status = process.wait(self.progress_seconds)
                            break
                        except subprocess.TimeoutExpired:
                            self.tell(f"  {self.label}: {elapsed(time.monotonic() - began)} so far; {self.typical}")
                except BaseException:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise
        if status != 0:
            raise CommandFailed(with_log(f"{self.label} failed: {command[0]} ended with exit status {status}.", self.log))

"""The few system calls that Python 3.11 has no function for, and processes that cannot be mistaken for others."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

# linux/sched.h, linux/prctl.h
CLONE_NEWNS = 0x0002_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1


def unshare(flags: int) -> None:
    """Give this process namespaces of its own; the system call of this name."""
    _call("unshare", ctypes.c_int(flags))


def die_with_parent(number: signal.Signals) -> None:
    """Be sent a signal when the thread that started this process ends, see PR_SET_PDEATHSIG in prctl(2)."""
    _call("prctl", ctypes.c_int(PR_SET_PDEATHSIG), ctypes.c_ulong(number), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its id, when it started and in which boot: ids are used again, all three together are not."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Describe a process; None if there is none of this id."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # proc(5): the name is in parentheses and may hold anything; starttime is field 22, the 20th after it. Z and X are dead.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot)

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """Read what write wrote; None if there is no file or it is not one of ours."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write to a file that appears whole."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(path)

    def alive(self) -> bool:
        """Whether this very process runs."""
        return Process.of(self.pid) == self

    def kill(self, timeout: float) -> bool:
        """Kill this very process and wait for its end; False if it has not ended in time."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # Checked after opening: the handle stays with the process that was checked, whatever happens to the id.
            if not self.alive():
                return True
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            readable, _, _ = select.select([handle], [], [], timeout)
            return bool(readable)
        finally:
            os.close(handle)


def descendants(pid: int) -> set[int]:
    """List the processes below one, in whatever namespaces they are."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = entry.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        parents.setdefault(parent, []).append(int(entry.parent.name))
    found: set[int] = set()
    pending = [pid]
    while pending:
        children = parents.get(pending.pop(), [])
        found.update(children)
        pending += children
    return found

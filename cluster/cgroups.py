"""The control groups that the container runtime makes: the kernel keeps their directories when the processes in them are killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from cluster.linux import descendants

MOUNT = Path("/sys/fs/cgroup")
# containerd's, for pods without a parent of their own; every cluster's containers are in it, each by an id that no other has.
RUNTIME = "/k8s.io"
TIMEOUT = 5.0


def of_containers(init: int) -> set[str]:
    """List the control groups of the containers that run below process 1 of a cluster."""
    found = set()
    for pid in descendants(init):
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= container_groups(lines)
    return found


def container_groups(lines: Iterable[str]) -> set[str]:
    """Pick the container's from the lines of /proc/PID/cgroup, each hierarchy:controllers:path."""
    paths = {line.split(":", 2)[2] for line in lines}
    return {path for path in paths if path.startswith(f"{RUNTIME}/")}


def remove(paths: Iterable[str], mount: Path = MOUNT) -> list[Path]:
    """Remove emptied control groups in every hierarchy of version 1 and in version 2; return those that stay in use."""
    deadline = time.monotonic() + TIMEOUT
    pending = [Path(f"{hierarchy}{path}") for hierarchy in (mount, *mount.glob("*/")) for path in paths]
    pending = [path for path in pending if path.is_dir()]
    while pending:
        for path in list(pending):
            for below, _, _ in os.walk(path, topdown=False):
                try:
                    os.rmdir(below)
                except OSError:
                    break
            if not path.exists():
                pending.remove(path)
        if time.monotonic() > deadline:
            break
        # The kernel lets go of a group some time after the last process in it has ended, and tells nobody.
        time.sleep(0.02 if pending else 0)
    return pending

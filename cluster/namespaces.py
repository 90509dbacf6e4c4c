"""Process 1 of a cluster: gives it namespaces of its own, without a way out of the machine, and reaps what ends in them.

Killing this process ends every process and every mount of the cluster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

from cluster.linux import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, Process, unshare
from cluster.node import KUBELET_ROOT, NODE_ADDRESS, NODE_PREFIX

# libcni keeps what it did in this directory, and cannot be told otherwise.
CNI_STATE = Path("/var/lib/cni")
LOGS = Path("/var/log")
RESOLVER = Path("/etc/resolv.conf")


def enter(directory: Path, init_file: Path, main: Callable[[], int]) -> None:
    """Start process 1, leave its identity in a file and return; it runs main, and all ends when main returns."""
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)
    # It waits until its identity is on record, so that nothing runs that stop would not find.
    reading, writing = os.pipe()
    pid = os.fork()
    if pid != 0:
        init = Process.of(pid)
        if init is not None:
            init.write(init_file)
            os.write(writing, b"!")
        return
    os.close(writing)
    if os.read(reading, 1) != b"!":
        os._exit(1)
    os.close(reading)
    status = 1
    try:
        status = _init(directory, main)
    except BaseException:
        traceback.print_exc()
    finally:
        # Never back into the code of the process that was forked.
        os._exit(status)


def _init(directory: Path, main: Callable[[], int]) -> int:
    mounts(directory)
    network()
    child = os.fork()
    if child == 0:
        return main()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def mounts(directory: Path) -> None:
    """Put the cluster's own directories where its components insist on having theirs."""
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    resolver = RESOLVER.resolve()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    for place in (KUBELET_ROOT, CNI_STATE, LOGS):
        own = directory / "mounts" / place.name
        own.mkdir(parents=True)
        place.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", str(own), str(place))
    if not resolver.exists():
        # It was in /run, as systemd-resolved has it.
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.touch()
    run("mount", "--bind", str(directory / "resolv.conf"), str(resolver))
    # Pods that ask for mount propagation need mounts that have it; it ends at the edge of this namespace.
    run("mount", "--make-rshared", "/")


def network() -> None:
    """A loopback device and a pair of devices joined to each other: packets stay here, whatever their address."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node0p")
    run("ip", "address", "add", f"{NODE_ADDRESS}/{NODE_PREFIX}", "dev", "node0")
    run("ip", "link", "set", "node0p", "up")
    run("ip", "link", "set", "node0", "up")
    # kube-proxy translates an address outside every subnet only if there is a route for it.
    run("ip", "route", "add", "default", "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def run(*command: str) -> None:
    """Run a command of the setup; its words are in the supervisor's log."""
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)

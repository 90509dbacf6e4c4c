"""The API server alone: etcd, API server and controller manager on loopback, for any user."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from cluster import binaries
from cluster.apiclient import ApiClient
from cluster.artefacts import Cache
from cluster.controlplane import SERVICE_CIDR, SERVICE_CIDR_IPV6, ControlPlane
from cluster.errors import ClusterError, ComponentFailed
from cluster.linux import die_with_parent
from cluster.paths import Paths
from cluster.supervision import Supervisor

READY_TIMEOUT = 120.0
# The ports are free when they are picked and may be taken a moment later: then other ones are picked.
ATTEMPTS = 3
PORTS = range(30_000, 32_768)


class Restart(Exception):
    """SIGUSR1: the API server is to end at once and to start anew, as after a crash; etcd keeps what was stored."""


def run(paths: Paths, directory: Path) -> int:
    """Serve until told to end, or until the parent ends; prints one JSON line when ready."""
    die_with_parent(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    signal.signal(signal.SIGUSR1, _restart)
    kube = Cache(paths.cache).obtain(binaries.artefact(paths.source, binaries.KUBE)) / "kube"
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ClusterError(f"{directory} is not empty: give --directory a new or an empty directory.")
    attempt = 1
    while True:
        supervisor = Supervisor(directory)
        try:
            serve(supervisor, kube, directory)
        except ComponentFailed:
            if attempt == ATTEMPTS or not port_was_taken(directory):
                raise
            supervisor.stop()
            empty(directory)
            attempt += 1
        finally:
            supervisor.stop()


def serve(supervisor: Supervisor, kube: Path, directory: Path) -> None:
    """Start the three components, tell of them and wait for the end of any."""
    ports = free_ports(4)
    plane = ControlPlane(
        kube=kube,
        directory=directory,
        address="127.0.0.1",
        bind_address="127.0.0.1",
        port=ports[0],
        etcd_port=ports[1],
        etcd_peer_port=ports[2],
        controller_manager_port=ports[3],
        service_cidr=f"{SERVICE_CIDR},{SERVICE_CIDR_IPV6}",  # dual stack: there is no network here that would have to be, too
    )
    plane.write_files()
    supervisor.start("etcd", plane.etcd())
    apiserver = supervisor.start("apiserver", plane.apiserver())
    client = ApiClient.from_kubeconfig(plane.kubeconfig("admin"))
    supervisor.until("/readyz answers 200", lambda: client.exists("/readyz"), component=apiserver, timeout=READY_TIMEOUT)
    manager = supervisor.start("controller-manager", plane.controller_manager())
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    supervisor.until("a default service account", lambda: client.exists(account), component=manager, timeout=READY_TIMEOUT)
    ready = {
        "kubeconfig": str(plane.kubeconfig("admin")),
        "pid": os.getpid(),
        "server": plane.server,
        "auditLog": str(plane.audit_log),
        "kubectl": str(kube.with_name("kubectl")),
    }
    print(json.dumps(ready), flush=True)
    while True:
        try:
            supervisor.wait()
        except Restart:
            supervisor.end(apiserver)
            apiserver = supervisor.start("apiserver", plane.apiserver())


def free_ports(count: int) -> list[int]:
    """Pick loopback ports that nothing listens on.

    None of those that Linux gives to whoever wants any (from 32768): an API server that starts anew must find its own free.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise ClusterError(f"no {count} free ports between {PORTS[0]} and {PORTS[-1]}: end what listens there.")


def port_was_taken(directory: Path) -> bool:
    """Whether a log says so."""
    return any("address already in use" in log.read_text(errors="replace") for log in directory.glob("*.log"))


def empty(directory: Path) -> None:
    """Remove what a failed attempt left."""
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _restart(_number: int, _frame: FrameType | None) -> None:
    raise Restart


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)

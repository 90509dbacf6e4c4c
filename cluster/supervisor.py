"""What runs in the cluster's namespaces: starts the components in order, tells the launcher, then reports any that ends.

python3 -m cluster.supervisor DIRECTORY FILE_DESCRIPTOR: started by the launcher only, which listens at the other end.
"""

from __future__ import annotations

import http.client
import os
import random
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cluster.apiclient import ApiClient
from cluster.controlplane import NODE_NAME
from cluster.errors import ClusterError, ComponentFailed
from cluster.namespaces import enter
from cluster.node import CLUSTER_DOMAIN, CONTAINERD_SOCKET, LOAD_BALANCER_HEALTH, NODE_ADDRESS, ORTHANC_PORT, Node
from cluster.record import Record
from cluster.supervision import Component, Supervisor

TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a cluster."""

    node: Node
    record: Record
    supervisor: Supervisor

    def run(self, tell: IO[str]) -> int:
        """Start everything, say READY and watch; the launcher hears of a failure only until then."""
        try:
            self.start()
        except ClusterError as error:
            print(error, file=tell, flush=True)
            return 1
        print(READY, file=tell, flush=True)
        tell.close()
        while self.supervisor.components:
            try:
                self.supervisor.wait()
            except ComponentFailed as failure:
                self.record.report(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {failure}")
        return 1

    def start(self) -> None:
        """In the order in which they need each other; what needs nobody comes first, to be ready when it is needed."""
        commands = self.node.commands()
        plane = self.node.plane
        plane.write_files()

        def begin(name: str) -> Component:
            return self.supervisor.start(name, commands[name])

        begin("etcd")
        apiserver = begin("apiserver")
        containerd = begin("containerd")
        orthanc = begin("orthanc")
        client = ApiClient.from_kubeconfig(plane.kubeconfig("admin"))
        self.until("its socket", Path(CONTAINERD_SOCKET).is_socket, containerd)
        imports = self.supervisor.start("images", image_import(self.record.images()), ends=True)
        self.until("/readyz answers 200", lambda: client.exists("/readyz"), apiserver)
        manager, _, kubelet, _ = map(begin, ("controller-manager", "scheduler", "kubelet", "proxy"))
        coredns, loadbalancer = begin("coredns"), begin("loadbalancer")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.until("a default service account", lambda: client.exists(account), manager)
        self.until("the node is Ready", lambda: client.node_ready(NODE_NAME), kubelet)
        self.until("Services are served", lambda: answers(LOAD_BALANCER_HEALTH, "/healthz"), loadbalancer)
        self.until("the name of the API server resolves", lambda: resolves(f"kubernetes.default.svc.{CLUSTER_DOMAIN}"), coredns)
        self.until("DICOMweb answers", lambda: answers(f"{NODE_ADDRESS}:{ORTHANC_PORT}", "/dicom-web/studies?limit=1"), orthanc)
        self.supervisor.finish(imports, TIMEOUT)

    def until(self, what: str, probe: Callable[[], bool], component: Component) -> None:
        """Wait for what a component is to bring about."""
        self.supervisor.until(what, probe, component=component, timeout=TIMEOUT)


READY = "READY"


def image_import(archives: list[Path]) -> list[str]:
    """Render the command that hands archives to the container runtime, one after the other."""
    script = 'for archive; do ctr --address "$0" --namespace k8s.io images import "$archive" || exit 1; done'
    return ["sh", "-c", script, CONTAINERD_SOCKET, *map(str, archives)]


def answers(address: str, path: str) -> bool:
    """Whether a server answers 200."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def resolves(name: str) -> bool:
    """Whether the cluster's name server has an address for a name; RFC 1035, section 4."""
    identifier = random.randrange(1 << 16)
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + struct.pack("!HH", 1, 1)
    query = struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0) + question
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.connect((NODE_ADDRESS, 53))
            client.send(query)
            answer = client.recv(512)
        except OSError:
            return False
    if len(answer) < len(query):
        return False
    number, flags, _, records = struct.unpack_from("!4H", answer)
    return bool(number == identifier and flags & 0xF == 0 and records > 0)


def main() -> None:
    """Take over from the launcher."""
    record = Record(Path(sys.argv[1]))
    tell = os.fdopen(int(sys.argv[2]), "w")
    node = record.node()
    try:
        for name, text in node.files().items():
            path = node.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in ("orthanc", "logs"):
            (node.directory / name).mkdir(exist_ok=True)
        enter(node.directory, record.init_file, lambda: Launch(node, record, Supervisor(node.directory / "logs")).run(tell))
    except (OSError, subprocess.SubprocessError) as error:
        traceback.print_exc()
        print(f"Preparing the cluster failed: {error}.", file=tell, flush=True)


if __name__ == "__main__":
    main()

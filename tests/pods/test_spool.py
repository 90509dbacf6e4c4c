"""What was acknowledged is delivered: the store is away, pods are deleted, the node's kubelet is restarted, the adapter shrinks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.pods.conftest import STORE, Adapters, send_to
from tests.support import dicom
from tests.support.kubernetes import Kubectl, condition, wait_until

NODE = "10.10.0.1"
DETACHED = ("setsid", "--fork", "sh", "-c", 'exec "$@" > /dev/null 2>&1', "sh")
IMAGES, ASSOCIATIONS = 500, 20
LABELS = {"app.kubernetes.io/name": "dicom-adapter"}


class Way:
    """The way to the store, closed until it is opened: an address at which nobody listens before. A context manager."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind((NODE, 0))
        self.url = STORE.replace(":8042", f":{self._listener.getsockname()[1]}")
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def open(self) -> None:
        self._listener.listen(64)
        self._start(self._serve)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _serve(self) -> None:
        with suppress(OSError):  # the listener is shut down
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection((NODE, 8042))
                self._ends += [here, there]
                self._start(self._pass, here, there)
                self._start(self._pass, there, here)

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


@contextmanager
def volumes(directory: Path, count: int) -> Iterator[str]:
    """Volumes on the node's disk, as somebody makes them by hand where nothing provisions any; the name of their class."""
    name = f"test-{directory.name}".replace("_", "-")[:40].strip("-").lower()
    cluster = Kubectl("default")
    for number in range(count):
        place = directory / str(number)
        place.mkdir()
        place.chmod(0o777)  # Kubernetes gives such a volume to no group
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "hostPath": {"path": str(place), "type": "Directory"},
        }
        cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{name}-{number}"}, "spec": spec})
    yield name
    cluster("delete", "persistentvolume", *(f"{name}-{number}" for number in range(count)), "--wait=false")


def restart_kubelet() -> None:
    """As a node that comes up again: its kubelet finds the pods that it should have."""
    (found,) = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _words(entry)[1:2] == ["kubelet"]]
    words = _words(found)
    os.kill(int(found.name), signal.SIGKILL)
    subprocess.run([*DETACHED, *words], check=True)  # it outlives the test


def _words(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def in_store(uid: str) -> bool:
    request = urllib.request.Request(f"{STORE.removesuffix('/dicom-web')}/tools/lookup", data=uid.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return any(item["Type"] == "Instance" for item in json.load(answer))


def pods(kubectl: Kubectl) -> list[str]:
    return sorted(item["metadata"]["name"] for item in kubectl.get("pods", **LABELS) if "deletionTimestamp" not in item["metadata"])


def test_what_was_acknowledged_outlives_pods_and_node_and_a_smaller_adapter(adapters: Adapters, tmp_path: Path):
    kubectl = adapters.kubectl
    images = [dicom.generated() for _ in range(IMAGES)]
    with Way() as way, volumes(tmp_path, 2) as name:
        spool = {"persistent": {"size": "1Gi", "storageClassName": name}, "reserveBytes": 1 << 20}
        adapter = adapters.apply(replicas=2, dicomStore=way.url, delivery={"acknowledge": "AfterSpool"}, spool=spool)
        for number in range(ASSOCIATIONS):
            part = images[number::ASSOCIATIONS]
            assert send_to(adapter, *part) == [(0, "")] * len(part)
        kubectl("delete", "pods", "--selector=app.kubernetes.io/name=dicom-adapter", "--wait=false")
        restart_kubelet()
        adapters.ready()
        kubectl("scale", "dicomadapter/gate", "--replicas=1")
        waits = "pod gate-1 leaves when its images for 'dicomStore' are delivered"
        wait_until("told", lambda: condition(kubectl.get("dicomadapter", "gate"), "Reconciling").get("message") == waits)
        assert pods(kubectl) == ["gate-0", "gate-1"]
        way.open()
        missing = [image.sop_instance_uid for image in images]

        def all_there() -> bool:
            missing[:] = [uid for uid in missing if not in_store(uid)]
            return not missing

        wait_until("every image is in the store", all_there, seconds=90, every=1)
        wait_until("gate-1 has left", lambda: pods(kubectl) == ["gate-0"], seconds=90)
        assert {claim["metadata"]["name"] for claim in kubectl.get("persistentvolumeclaims")} == {"spool-gate-0", "spool-gate-1"}
        adapters.ready()

"""Tests on a real cluster: run inside its namespaces, see `make test-pods`. The operator is installed once, from its chart."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import canaries, dicom, rawscu
from tests.support.kubernetes import Kubectl, condition, wait_until

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "dicom-operator"
STORE = "http://10.10.0.1:8042/dicom-web"
HELM_VALUES = (
    *("--set", "image.repository=localhost/dicom-operator,image.tag=dev"),
    *("--set", "adapter.image.repository=localhost/dicom-adapter,adapter.image.tag=dev"),
    *("--set", "adapter.allowedImages={localhost/dicom-adapter}"),
    *("--set", "replicas=2"),
)


def helm(*arguments: str) -> str:
    """Runs helm; raises AssertionError with what it printed when it fails."""
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session", autouse=True)
def operator() -> Iterator[str]:
    """The operator, installed in `dicom-system`; the namespace enforces Pod Security `restricted`."""
    namespace = "dicom-system"
    create_namespace(namespace)
    helm("upgrade", "--install", "dicom-operator", str(CHART), "--namespace", namespace, *HELM_VALUES, "--wait", "--timeout", "120s")
    yield namespace
    scan(Kubectl(namespace), "--selector=app.kubernetes.io/name=dicom-operator")


def create_namespace(name: str) -> None:
    """A namespace in which the API server refuses what Pod Security `restricted` forbids."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    Kubectl("default").apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


@dataclass(frozen=True, slots=True)
class Adapters:
    """DicomAdapters of one namespace."""

    kubectl: Kubectl
    spec: dict[str, Any] = field(default_factory=lambda: {"aeTitle": "GATE", "port": 2575, "dicomStore": STORE, "drainSeconds": 1})

    def apply(self, name: str = "gate", **spec: Any) -> dict[str, Any]:
        """Applies one and waits until it is ready for this generation; returns it."""
        resource = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter", "metadata": {"name": name}, "spec": self.spec | spec}
        self.kubectl.apply(resource)
        return self.ready(name)

    def ready(self, name: str = "gate") -> dict[str, Any]:
        """Waits as a user would, then returns the resource."""
        wait_until(
            f"{name} observed",
            lambda: (
                (found := self.kubectl.get("dicomadapter", name))
                and found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
            ),
        )
        self.kubectl("wait", "--for=condition=Ready", f"dicomadapter/{name}", "--timeout=120s")
        found: dict[str, Any] = self.kubectl.get("dicomadapter", name)
        assert condition(found, "Ready")["observedGeneration"] == found["metadata"]["generation"]
        # kube-proxy gives a new address its route up to a second after the address is told, and no one can see when.
        wait_until("the address answers", lambda: answers(found["status"]["address"], found["status"]["port"]))
        return found


@pytest.fixture
def kubectl(request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own, which goes when the test has passed."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    create_namespace(name)
    found = Kubectl(name)
    yield found
    scan(found, "--selector=app.kubernetes.io/managed-by=dicom-operator")
    Kubectl("default")("delete", "namespace", name, "--wait=false")


def scan(kubectl: Kubectl, pods: str) -> None:
    """Looks for canaries in what pods have logged, and in the resources and events beside them."""
    logs = kubectl.run("logs", pods, "--all-containers", "--tail=-1", check=False).stdout
    objects = kubectl.run("get", "dicomadapters,dicomexports,events", "--output=json", check=False).stdout
    canaries.scan({f"logs in {kubectl.namespace}": logs, f"resources and events in {kubectl.namespace}": objects})


@pytest.fixture
def adapters(kubectl: Kubectl) -> Adapters:
    """DicomAdapters in the test's namespace."""
    return Adapters(kubectl)


def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def send(address: str, port: int, *instances: dicom.Instance, called: str = "GATE") -> list[tuple[int, str]]:
    """Sends over one association; the status and comment of each. Raises what rawscu raises when there is none."""
    rows = [(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, item.data_set) for item in instances]
    return rawscu.send_instances(address, port, called, "TESTSCU", rows)


def send_to(adapter: dict[str, Any], *instances: dicom.Instance) -> list[tuple[int, str]]:
    """Sends over one association to the address that the adapter's status tells."""
    return send(adapter["status"]["address"], adapter["status"]["port"], *instances)


def stored_file(sop_instance_uid: str) -> bytes | None:
    """The Part 10 file that the store holds for this instance, as it was posted; None when it has none. Orthanc's own interface."""
    base = STORE.removesuffix("/dicom-web")
    lookup = urllib.request.Request(f"{base}/tools/lookup", data=sop_instance_uid.encode(), method="POST")
    with urllib.request.urlopen(lookup, timeout=10) as answer:
        found = [item for item in json.load(answer) if item["Type"] == "Instance"]
    if not found:
        return None
    with urllib.request.urlopen(f"{base}/instances/{found[0]['ID']}/file", timeout=60) as answer:
        data: bytes = answer.read()
        return data

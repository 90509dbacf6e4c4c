"""What interrupts a cluster's life, while senders go on: restarts, a node that is drained, an operator that is killed."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.pods.conftest import Adapters, stored_file
from tests.support import dicom
from tests.support.kubernetes import Kubectl, condition, wait_until

LABELS = {"app.kubernetes.io/name": "dicom-adapter"}
IMAGES = ["CT", "MR", "JPEG baseline", "RLE"]


@dataclass
class Dcmsend:
    """dcmsend over and over, several images an association, until it is stopped; new UIDs each time."""

    address: str
    port: int
    directory: Path
    sent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def loop(self) -> None:
        for number in itertools.count():
            if self.stopped.is_set():
                return
            directory = self.directory / str(number)
            directory.mkdir(parents=True)
            files = dicom.write_samples(directory, IMAGES)
            command = ["dcmsend", "--verbose", "-aec", "GATE", self.address, str(self.port), *map(str, files)]
            done = subprocess.run(command, env=os.environ | {"TCP_NODELAY": "1"}, capture_output=True, text=True)
            output = done.stdout + done.stderr
            if done.returncode == 0 and f"with status SUCCESS  : {len(files)}" in output:
                self.sent += [dicom.instance(file).sop_instance_uid for file in files]
            else:
                self.failed.append(output)


@contextmanager
def sending(adapter, directory: Path) -> Iterator[Dcmsend]:
    """Two senders while the block runs; afterwards none has met a refusal or an abort, and the store has every image."""
    senders = [Dcmsend(adapter["status"]["address"], adapter["status"]["port"], directory / str(number)) for number in range(2)]
    threads = [threading.Thread(target=sender.loop) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        wait_until("images are sent", lambda: all(sender.sent for sender in senders))
        yield senders[0]
        before = [len(sender.sent) for sender in senders]
        wait_until("images are sent afterwards", lambda: all(len(one.sent) > count for one, count in zip(senders, before, strict=True)))
    finally:
        for sender in senders:
            sender.stopped.set()
        for thread in threads:
            thread.join()
    assert [text for sender in senders for text in sender.failed] == []
    missing = [uid for sender in senders for uid in sender.sent if stored_file(uid) is None]
    assert missing == []


def pods(kubectl: Kubectl) -> set[str]:
    return {item["metadata"]["name"] for item in kubectl.get("pods", **LABELS) if "deletionTimestamp" not in item["metadata"]}


def test_a_rolling_restart_of_two_replicas_under_dcmsend_loses_and_refuses_nothing(adapters: Adapters, tmp_path: Path):
    adapter = adapters.apply(replicas=2, drainSeconds=5)
    before = pods(adapters.kubectl)
    with sending(adapter, tmp_path):
        adapters.kubectl("rollout", "restart", "deployment/gate")
        adapters.kubectl("rollout", "status", "deployment/gate", "--timeout=150s")
    assert not before & pods(adapters.kubectl)


def test_draining_the_node_takes_one_replica_and_the_other_serves(adapters: Adapters, tmp_path: Path):
    adapter = adapters.apply(replicas=2, drainSeconds=5)
    kubectl = adapters.kubectl
    (node,) = (item["metadata"]["name"] for item in Kubectl("default").get("nodes"))
    before = pods(kubectl)
    try:
        with sending(adapter, tmp_path):
            selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
            drain = ["drain", node, f"--pod-selector={selector}", "--delete-emptydir-data", "--force", "--timeout=12s"]
            done = kubectl.run(*drain, check=False)
            assert done.returncode != 0  # there is no other node, and the budget keeps the last replica
            assert re.search(r"Cannot evict pod as it would violate the pod's disruption budget", done.stderr)
            serving = [
                item
                for item in kubectl.get("pods", **LABELS)
                if condition(item, "Ready").get("status") == "True" and "deletionTimestamp" not in item["metadata"]
            ]
            assert len(serving) == 1
            found = kubectl.get("dicomadapter", "gate")
            assert condition(found, "Ready")["reason"] == "Unschedulable"
            assert found["status"]["readyReplicas"] == 1
    finally:
        kubectl("uncordon", node)
    adapters.ready()
    assert len(before & pods(kubectl)) == 1


def test_the_leader_is_killed_while_fifty_adapters_change(operator: str, adapters: Adapters):
    kubectl, operators = adapters.kubectl, Kubectl(operator)
    names = [f"gate-{number}" for number in range(50)]

    def apply(port: int) -> None:
        spec = {
            "aeTitle": "GATE",
            "dicomStore": "https://pacs.example/dicom-web",
            "replicas": 0,
            "port": port,
            "service": {"type": "ClusterIP"},
        }
        kind = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter"}
        kubectl.apply(*({**kind, "metadata": {"name": name}, "spec": spec} for name in names))

    def ports() -> set[int]:
        found = {item["metadata"]["name"]: item["spec"]["ports"][0]["port"] for item in kubectl.get("services", **LABELS)}
        return {found.get(name, 0) for name in names}

    apply(104)
    wait_until("all are made", lambda: ports() == {104})
    holder = operators.get("lease", "dicom-operator")["spec"]["holderIdentity"]
    apply(2575)
    operators("delete", "pod", holder.rpartition("_")[0], "--grace-period=0", "--force")
    wait_until("all are changed", lambda: ports() == {2575}, seconds=30)
    wait_until(
        "all are told",
        lambda: {item["status"]["observedGeneration"] for item in kubectl.get("dicomadapters", "")} == {2},
        seconds=30,
    )
    # A fast leader has changed all of them before its pod is killed.
    wait_until("another leads", lambda: operators.get("lease", "dicom-operator")["spec"]["holderIdentity"] != holder, seconds=30)
    kubectl("delete", "dicomadapters", "--all", "--wait=false")

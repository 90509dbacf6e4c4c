"""What a user changes while images keep coming, and what the operator does about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.pods.conftest import STORE, Adapters, send, send_to, stored_file
from tests.support import dicom, rawscu
from tests.support.kubernetes import Kubectl, condition, wait_until

POD_LABELS = {"app.kubernetes.io/name": "dicom-adapter"}


@dataclass
class Sender:
    """Sends small images, one association each, to wherever the adapter is at that moment, until it is stopped."""

    address: str
    port: int
    called: str = "GATE"
    acknowledged: list[dicom.Instance] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def loop(self) -> None:
        while not self.stopped.is_set():
            item = dicom.generated(20_000)
            try:
                ((status, comment),) = send(self.address, self.port, item, called=self.called)
            except (OSError, rawscu.AssociationRejected, rawscu.AssociationAborted, rawscu.ConnectionClosed) as error:
                self.failed.append(repr(error))
                self.stopped.wait(0.05)
                continue
            if status == 0:
                self.acknowledged.append(item)
            else:
                self.refused.append((status, comment))


@contextmanager
def sending(adapter) -> Iterator[Sender]:
    """Images keep coming while the block runs; afterwards each acknowledged one must be in the store, byte for byte."""
    sender = Sender(adapter["status"]["address"], adapter["status"]["port"])
    thread = threading.Thread(target=sender.loop)
    thread.start()
    try:
        wait_until("first images acknowledged", lambda: len(sender.acknowledged) > 3)
        yield sender
        before = len(sender.acknowledged)
        wait_until("images acknowledged after the change", lambda: len(sender.acknowledged) > before + 3)
    finally:
        sender.stopped.set()
        thread.join()
    for item in sender.acknowledged:
        stored = stored_file(item.sop_instance_uid)
        assert stored is not None, f"acknowledged and lost: {item.sop_instance_uid}"
        assert dicom.split(stored)[1] == item.data_set


def pods(kubectl: Kubectl) -> dict[str, str]:
    """uid -> name of the adapter's pods that are not on their way out."""
    return {
        item["metadata"]["uid"]: item["metadata"]["name"]
        for item in kubectl.get("pods", **POD_LABELS)
        if "deletionTimestamp" not in item["metadata"]
    }


def replaced(kubectl: Kubectl, before: dict[str, str]) -> None:
    """Waits until these pods have ended: on its way out a pod answers until kube-proxy knows, which is later than the pod's deletion."""
    wait_until("the old pods have ended", lambda: not {item["metadata"]["uid"] for item in kubectl.get("pods", **POD_LABELS)} & set(before))


def test_scaling_rolls_no_pod(adapters: Adapters):
    adapter = adapters.apply()
    before = pods(adapters.kubectl)
    with sending(adapter) as sender:
        adapters.kubectl("scale", "dicomadapter", "gate", "--replicas=2")
        adapter = adapters.ready()
        assert adapter["status"]["readyReplicas"] == 2
        assert adapter["status"]["replicasSummary"] == "2/2"
        assert adapters.kubectl.get("poddisruptionbudget", "gate")
    assert not sender.refused
    assert not sender.failed
    after = pods(adapters.kubectl)
    assert set(before) < set(after)
    adapters.kubectl("scale", "dicomadapter", "gate", "--replicas=1")
    wait_until(
        "one pod is left and no disruption budget",
        lambda: len(pods(adapters.kubectl)) == 1 and not adapters.kubectl.get("poddisruptionbudget", "gate"),
    )


def test_a_new_ae_title_rolls_the_pods_and_refuses_the_old_one(adapters: Adapters):
    adapter = adapters.apply()
    before = pods(adapters.kubectl)
    with sending(adapter) as sender:
        adapters.apply(aeTitle="NEWGATE", acceptedAETitles=["GATE"])
        replaced(adapters.kubectl, before)
        sender.called = "NEWGATE"
    assert not sender.refused
    assert not sender.failed
    before = pods(adapters.kubectl)
    adapter = adapters.apply(aeTitle="NEWGATE")
    replaced(adapters.kubectl, before)
    with pytest.raises(rawscu.AssociationRejected, match="1/1/7"):
        send_to(adapter, dicom.generated())


def test_a_new_port_changes_the_service_and_rolls_nothing(adapters: Adapters):
    adapter = adapters.apply()
    before = pods(adapters.kubectl)
    with sending(adapter) as sender:
        adapter = adapters.apply(port=11113)
        sender.port = 11113
    assert pods(adapters.kubectl) == before
    assert adapter["status"]["endpoint"].endswith(":11113")
    assert adapters.kubectl.get("service", "gate")["spec"]["ports"][0]["port"] == 11113


def test_a_new_store_takes_what_comes_afterwards(adapters: Adapters):
    adapter = adapters.apply()
    before = pods(adapters.kubectl)
    with sending(adapter) as sender:
        adapters.apply(dicomStore=STORE.replace("10.10.0.1", "orthanc.test"))
        replaced(adapters.kubectl, before)
    assert not sender.refused
    assert not sender.failed
    status = adapters.kubectl("get", "--raw", f"/api/v1/namespaces/{adapters.kubectl.namespace}/services/gate-http:http/proxy/status")
    assert json.loads(status)["store"]["url"] == "http://orthanc.test:8042/dicom-web"


def test_deleting_the_resource_removes_all_that_it_made(adapters: Adapters):
    adapters.apply(replicas=2)
    kubectl = adapters.kubectl
    kinds = ("deployment", "service", "configmap", "serviceaccount", "networkpolicy", "poddisruptionbudget", "pod", "replicaset")
    assert all(kubectl.get(kind, **POD_LABELS) for kind in kinds)
    kubectl("delete", "dicomadapter", "gate", "--timeout=30s")
    wait_until("nothing is left", lambda: not any(kubectl.get(kind, **POD_LABELS) for kind in kinds), seconds=120)


def test_nothing_carries_a_finalizer_or_an_annotation_of_kopf(adapters: Adapters):
    adapters.apply(replicas=2)
    kubectl = adapters.kubectl
    owned = [
        item
        for kind in ("deployment", "configmap", "serviceaccount", "networkpolicy", "poddisruptionbudget")
        for item in kubectl.get(kind, **POD_LABELS)
    ]
    for item in [*owned, kubectl.get("dicomadapter", "gate"), kubectl.get("service", "gate-http")]:
        assert "finalizers" not in item["metadata"], item["metadata"]["name"]
        assert not [key for key in item["metadata"].get("annotations", {}) if "kopf" in key]


def test_suspending_stops_receiving_and_resuming_starts_it(adapters: Adapters):
    adapters.apply()
    adapters.kubectl.patch("dicomadapter", "gate", {"spec": {"suspend": True}})
    wait_until("suspended", lambda: condition(adapters.kubectl.get("dicomadapter", "gate"), "Ready").get("reason") == "Suspended")
    wait_until("no pod", lambda: not adapters.kubectl.get("pods", **POD_LABELS), seconds=90)
    adapters.kubectl.patch("dicomadapter", "gate", {"spec": {"suspend": False}})
    with sending(adapters.ready()):
        pass

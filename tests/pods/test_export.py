"""A DicomExport on a cluster: what arrives in the store reaches a node, and waits while the node is away."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydicom.uid import CTImageStorage

from tests.adapter.dimse.peers import read, storescp
from tests.pods.conftest import ROOT, STORE, Adapters
from tests.support.adapter import dcmsend
from tests.support.dicom import generated, split, write_samples
from tests.support.exporting import part10
from tests.support.kubernetes import Kubectl, condition, wait_until
from tests.support.pubsub import SUBSCRIPTION, PubSub

NODE = "10.10.0.1"
NAMES = ("CT", "MR implicit", "JPEG baseline", "JPEG-LS", "RLE")


@dataclass(frozen=True, slots=True)
class Exports:
    """DicomExports of one namespace."""

    kubectl: Kubectl

    def apply(self, pubsub: str, port: int, host: str = NODE) -> None:
        """examples/dicomexport.yaml with what a reader changes in it changed; waits as a user would until it is ready."""
        resource = yaml.safe_load((ROOT / "examples" / "dicomexport.yaml").read_text())
        source = {"dicomStore": STORE, "pubsub": {"subscription": SUBSCRIPTION, "endpoint": pubsub, "allowInsecure": True}}
        resource["spec"]["source"] = source
        resource["spec"]["destination"]["peer"] |= {"host": host, "port": port}
        self.kubectl.apply(resource)
        self.kubectl("wait", "--for=create", "dicomexport/to-pacs")
        self.kubectl("wait", "--for=condition=Ready", "dicomexport/to-pacs", "--timeout=120s")

    def row(self) -> dict[str, str]:
        """What `kubectl get dicomexports` says of it; {} while a column is empty."""
        heads, values = (line.split() for line in self.kubectl("get", "dicomexports").splitlines())
        return dict(zip(heads, values, strict=True)) if len(heads) == len(values) else {}

    def shows(self, **columns: str) -> None:
        """Waits until it says this."""
        wait_until(f"kubectl get dicomexports says {columns}", lambda: columns.items() <= self.row().items(), seconds=120)


def stored() -> tuple[str, str]:
    """An image in the store; the text of its notification, and its UID."""
    content = part10(generated(20_000, sop_class_uid=CTImageStorage))
    base = STORE.removesuffix("/dicom-web")
    with urllib.request.urlopen(urllib.request.Request(f"{base}/instances", data=content, method="POST"), timeout=30) as answer:
        number = json.load(answer)["ID"]
    return notification(number), str(split(content)[0].MediaStorageSOPInstanceUID)


def notification(number: str) -> str:
    """What a store that publishes would have published of it; Orthanc publishes nothing."""
    with urllib.request.urlopen(f"{STORE.removesuffix('/dicom-web')}/instances/{number}/simplified-tags", timeout=30) as answer:
        tags = json.load(answer)
    uids = [tags[keyword] for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    return "studies/{}/series/{}/instances/{}".format(*uids)


@dataclass(frozen=True, slots=True)
class StoragePod:
    """pynetdicom's storescp in a pod, from the adapter's image, and a Service before it."""

    kubectl: Kubectl
    name: str = "pacs"
    port: int = 11112

    def expose(self) -> None:
        """The Service, which stays."""
        spec = {"selector": {"node": self.name}, "ports": [{"port": self.port}]}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name}, "spec": spec})

    def start(self) -> None:
        """Returns when it listens."""
        command = f"python -m pynetdicom storescp --verbose --ae-title PACS --output-directory /received {self.port}"
        container = {
            "name": "storescp",
            "image": "localhost/dicom-adapter:dev",
            "command": command.split(),
            "volumeMounts": [{"name": "received", "mountPath": "/received"}],
            "startupProbe": {"tcpSocket": {"port": self.port}, "periodSeconds": 1, "failureThreshold": 60},  # once: each is an association
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {
            "containers": [container],
            "volumes": [{"name": "received", "emptyDir": {}}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
        }
        metadata = {"name": self.name, "labels": {"node": self.name}}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=60s")

    def stop(self) -> None:
        """It is gone, and what it has received with it."""
        self.kubectl("delete", "pod", self.name)

    def received(self) -> dict[str, int]:
        """How often each SOP Instance UID was stored; a file is called MODALITY.UID."""
        listing = self.kubectl("exec", self.name, "--", "python", "-c", "import os; print(*os.listdir('/received'))")
        counts = Counter(re.findall(r"Storing DICOM file: \w+\.([\d.]+)", self.kubectl("logs", self.name)))
        assert {name.partition(".")[2] for name in listing.split()} == set(counts)
        return counts


async def test_an_image_in_the_store_reaches_a_pod_and_waits_while_it_is_away(kubectl: Kubectl) -> None:
    exports, node = Exports(kubectl), StoragePod(kubectl)
    await asyncio.to_thread(node.expose)
    await asyncio.to_thread(node.start)
    async with PubSub(host=NODE) as pubsub:
        await asyncio.to_thread(exports.apply, pubsub.url, node.port, node.name)
        text, uid = await asyncio.to_thread(stored)
        await pubsub.acknowledged(await pubsub.publish(text), 120)
        assert await asyncio.to_thread(node.received) == {uid: 1}
        row = {"NAME": "to-pacs", "DESTINATION": "PACS@pacs:11112", "READY": "True", "REASON": "Available"}
        await asyncio.to_thread(exports.shows, **row, PEER="Reachable", EXPORTED="1")

        await asyncio.to_thread(node.stop)
        later = [await asyncio.to_thread(stored) for _ in range(3)]
        ids = await pubsub.publish(*(text for text, _ in later))
        await asyncio.to_thread(exports.shows, **row, PEER="Refused")
        found = await asyncio.to_thread(kubectl.get, "dicomexport", "to-pacs")
        reachable = condition(found, "DestinationReachable")
        assert (reachable["status"], reachable["reason"]) == ("False", "Refused")
        assert "pacs:11112" in reachable["message"]
        assert (condition(found, "Delivering")["status"], condition(found, "Delivering")["reason"]) == ("False", "DestinationDown")
        assert condition(found, "SourceReachable")["status"] == "True"
        await asyncio.to_thread(node.start)
        messages = await pubsub.acknowledged(ids, 150)
        assert [messages[one].deliveries for one in ids] == [1, 1, 1], "an outage costs no message an attempt"
        assert await asyncio.to_thread(node.received) == {uid: 1 for _, uid in later}
        await asyncio.to_thread(exports.shows, **row, PEER="Reachable")


async def test_an_image_sent_to_an_adapter_ends_in_another_node_byte_for_byte(kubectl: Kubectl, tmp_path: Path) -> None:
    files = write_samples(tmp_path, NAMES)
    with storescp(tmp_path / "straight", "+xa") as port:  # dcmsend leaves trailing padding out and writes sequences anew
        await dcmsend(port, files)
    sent = set(map(read, (tmp_path / "straight").iterdir()))
    assert len(sent) == len(NAMES)
    received = tmp_path / "received"
    exports = Exports(kubectl)
    async with PubSub(host=NODE) as pubsub:
        with storescp(received, "+xa") as port:
            adapter, _ = await asyncio.gather(
                asyncio.to_thread(Adapters(kubectl).apply), asyncio.to_thread(exports.apply, pubsub.url, port)
            )
            await dcmsend(adapter["status"]["port"], files, host=adapter["status"]["address"])
            ids = await pubsub.publish(
                *[await asyncio.to_thread(notification, number) for number in await asyncio.to_thread(numbers, files)]
            )
            await pubsub.acknowledged(ids, 120)
        assert set(map(read, received.iterdir())) == sent


def numbers(files: list[Path]) -> list[str]:
    """The store's own names of what it has of these."""
    found = []
    for file in files:
        uid = split(file.read_bytes())[0].MediaStorageSOPInstanceUID
        lookup = urllib.request.Request(f"{STORE.removesuffix('/dicom-web')}/tools/lookup", data=str(uid).encode(), method="POST")
        with urllib.request.urlopen(lookup, timeout=30) as answer:
            found += [item["ID"] for item in json.load(answer) if item["Type"] == "Instance"]
    assert len(found) == len(files), found
    return found

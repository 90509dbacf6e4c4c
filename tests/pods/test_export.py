"""examples/export.yaml on a cluster: what arrives in the store reaches a node, and waits while the node is away."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import yaml

from tests.pods.conftest import ROOT, STORE
from tests.support.dicom import generated, split
from tests.support.exporting import StoreNode, part10
from tests.support.kubernetes import Kubectl, wait_until
from tests.support.pubsub import SUBSCRIPTION, PubSub

NODE = "10.10.0.1"


def example(pubsub: str, port: int) -> list[dict[str, Any]]:
    """The example's objects, with what a reader changes in them changed."""
    objects = list(yaml.safe_load_all((ROOT / "examples" / "export.yaml").read_text()))
    by_kind = {one["kind"]: one for one in objects}
    by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"] = "localhost/dicom-adapter:dev"
    document = yaml.safe_load(by_kind["ConfigMap"]["data"]["dicomexport.yaml"])
    document["source"] = {"dicomStore": STORE, "pubsub": {"subscription": SUBSCRIPTION, "endpoint": pubsub, "allowInsecure": True}}
    document["destination"]["peer"] |= {"host": NODE, "port": port}
    by_kind["ConfigMap"]["data"]["dicomexport.yaml"] = yaml.safe_dump(document)
    by_kind["NetworkPolicy"]["spec"]["egress"].append({"to": [{"ipBlock": {"cidr": f"{NODE}/32"}}]})
    return objects


def stored() -> tuple[str, str]:
    """An image in the store; the text of its notification, and its UID."""
    content = part10(generated(20_000))
    base = STORE.removesuffix("/dicom-web")
    with urllib.request.urlopen(urllib.request.Request(f"{base}/instances", data=content, method="POST"), timeout=30) as answer:
        number = json.load(answer)["ID"]
    with urllib.request.urlopen(f"{base}/instances/{number}/simplified-tags", timeout=30) as answer:
        tags = json.load(answer)
    uids = [tags[keyword] for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    assert str(split(content)[0].MediaStorageSOPInstanceUID) == uids[2]
    return "studies/{}/series/{}/instances/{}".format(*uids), uids[2]


async def test_an_image_in_the_store_reaches_a_node_and_waits_while_it_is_away(kubectl: Kubectl) -> None:
    async with PubSub(host=NODE) as pubsub, StoreNode(host=NODE) as node:
        kubectl.apply(*example(pubsub.url, node.port))
        await asyncio.to_thread(kubectl, "rollout", "status", "deployment/to-pacs", "--timeout=60s")
        text, uid = await asyncio.to_thread(stored)
        await pubsub.acknowledged(await pubsub.publish(text), 60)
        assert set(node.log.received) == {uid}

        await node.stop()
        later = [await asyncio.to_thread(stored) for _ in range(3)]
        ids = await pubsub.publish(*(text for text, _ in later))

        def status() -> Any:
            (pod,) = kubectl.get("pods", **{"app.kubernetes.io/name": "to-pacs"})
            path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod['metadata']['name']}:8080/proxy/status"
            return json.loads(kubectl("get", "--raw", path))

        await asyncio.to_thread(wait_until, "/status says that the node is down", lambda: status()["destination"]["reason"] == "Refused")
        found = await asyncio.to_thread(kubectl.get, "deployment", "to-pacs")
        assert found["status"]["readyReplicas"] == 1, "a node that is away leaves the exporter ready"
        await node.start()
        await pubsub.acknowledged(ids, 60)
        assert set(node.log.received) == {uid, *(uid for _, uid in later)}
        assert set(node.log.counts.values()) == {1}

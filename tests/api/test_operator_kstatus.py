"""What `kubectl wait`, Helm, Argo CD and Flux conclude, at every moment: each version of the resource is judged, not only the last."""

from __future__ import annotations

import json
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.api.support import Namespace
from tests.support.kubernetes import condition, wait_until

pytestmark = pytest.mark.usefixtures("operator")
RESTING = {"Suspended", "ScaledToZero", "PublicAddress"}
"""Not ready, and nothing goes on: somebody wants it so, or has to decide."""


def kstatus(body: dict[str, Any]) -> str:
    """sigs.k8s.io/cli-utils kstatus for a resource of its own kind."""
    status = body.get("status") or {}
    if status.get("observedGeneration", body["metadata"]["generation"]) != body["metadata"]["generation"]:
        return "InProgress"
    if condition(body, "Reconciling").get("status") == "True":
        return "InProgress"
    if condition(body, "Stalled").get("status") == "True":
        return "Failed"
    return {"True": "Current", "False": "InProgress", "Unknown": "InProgress"}.get(condition(body, "Ready").get("status", ""), "Current")


@contextmanager
def every_version(namespace: Namespace, plural: str) -> Iterator[list[dict[str, Any]]]:
    """Each event of a kind that the API server tells while the block runs."""
    found: list[dict[str, Any]] = []
    path = f"{namespace.path(plural)}?watch=true&timeoutSeconds=600"
    answer = urllib.request.urlopen(urllib.parse.urljoin(namespace.api.server.server, path), context=namespace.api.ssl_context)

    def read() -> None:
        found.extend(json.loads(line) for line in answer)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield found
    last = {version(body) for body in namespace.all(plural)}
    wait_until("the last versions were told", lambda: last <= {version(event["object"]) for event in found})


def version(body: dict[str, Any]) -> int:
    return int(body["metadata"]["resourceVersion"])


def ready_at(pods: list[dict[str, Any]], moment: int) -> list[str]:
    """The pods that lived and were ready at a version of the cluster."""
    last = {event["object"]["metadata"]["name"]: event for event in pods if version(event["object"]) <= moment}
    return [
        name for name, event in last.items() if event["type"] != "DELETED" and condition(event["object"], "Ready").get("status") == "True"
    ]


def told(pods: list[dict[str, Any]]) -> list[tuple[int, str, str, str, str]]:
    """What became of the pods, for people."""
    rows = ((event["type"], event["object"]) for event in pods)
    return [
        (
            version(pod),
            kind,
            pod["metadata"]["name"],
            condition(pod, "Ready").get("status", ""),
            pod["metadata"].get("deletionTimestamp", ""),
        )
        for kind, pod in rows
    ]


def test_no_version_says_ready_for_a_generation_that_is_not_served(namespace: Namespace):
    served: dict[int, int] = {}

    def pods_are_ready(count: int = 1) -> None:
        """The pods of the newest generation: from this version of the cluster on it may say so."""
        body = namespace.get("dicomadapters", "ct-east")
        living = namespace.pods(count=count)
        served[body["metadata"]["generation"]] = int(max((pod["metadata"]["resourceVersion"] for pod in living), key=int))
        for pod in living:
            namespace.pod_ready(pod)
        namespace.wait_condition("Ready", "Available")

    with every_version(namespace, "dicomadapters") as events, every_version(namespace, "pods") as pods:
        namespace.adapter()
        namespace.address()
        pods_are_ready()
        namespace.change(aeTitle="NEWGATE")
        for pod in namespace.pods(count=2):  # a new one beside the old one
            namespace.pod_ready(pod)
        pods_are_ready()
        namespace.change(image="evil.example/miner:1")
        namespace.change(image="localhost/dicom-adapter:other")
        for pod in namespace.pods(count=2):
            namespace.pod_ready(pod)
        pods_are_ready()
        namespace.change(suspend=True)
        namespace.pods(count=0)
        namespace.change(suspend=False)
        pods_are_ready()
        namespace.change(service={"type": "ClusterIP"})
        namespace.wait_condition("Ready", "Available")
    versions = [event["object"] for event in events]
    states = [kstatus(body) for body in versions]
    assert {"Current", "InProgress", "Failed"} == set(states)
    generations = [
        body["metadata"]["generation"] for body, state in zip(versions, states, strict=True) if state == "Current" and "status" in body
    ]
    assert set(generations) == {*served, max(generations)}  # the last one changes the Service alone
    for body, state in zip(versions, states, strict=True):
        if "status" not in body:
            continue
        status, ready = body["status"], condition(body, "Ready")
        generation, moment = body["metadata"]["generation"], version(body)
        assert {item["observedGeneration"] for item in status["conditions"]} == {status["observedGeneration"]}
        abnormal = [kind for kind in ("Reconciling", "Stalled") if condition(body, kind)]
        assert all(condition(body, kind)["status"] == "True" for kind in abnormal)
        assert len(abnormal) == (0 if ready["status"] == "True" or ready["reason"] in RESTING else 1), (ready, abnormal)
        if state == "Current" and generation in served:
            assert moment > served[generation], (status, told(pods))
            assert ready_at(pods, moment), (moment, status, told(pods))

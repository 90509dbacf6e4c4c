"""What a person reads when pods cannot serve, with a real scheduler, kubelet, kernel and adapter; all of it is provoked at once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.pods.conftest import Adapters
from tests.support.kubernetes import condition, wait_until

FAILURES: dict[str, tuple[dict[str, Any], str, str]] = {
    # name: (spec, reason, message; POD is the pod's name)
    "no-secret": (
        {"credentials": {"basicAuthSecret": {"name": "pacs-login"}, "allowInsecure": True}},
        "SecretMissing",
        r"Secret 'pacs-login' does not exist in namespace '[^']+'; create it, no restart is needed",
    ),
    "no-image": (
        {"image": "localhost/dicom-adapter:none"},
        "ImagePullFailed",
        r"pod no-image-[a-z0-9-]+: image 'localhost/dicom-adapter:none': .*",
    ),
    "no-memory": (
        {"resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "24Mi"}}},
        "OutOfMemory",
        r"pod no-memory-[a-z0-9-]+ was killed at its memory limit of 24Mi: raise spec.resources or lower spec.limits.maxAssociations",
    ),
    "no-node": (
        {"nodeSelector": {"disk": "ssd"}},
        "Unschedulable",
        r"0/1 nodes are available: 1 node\(s\) didn't match Pod's node affinity/selector\..*",
    ),
}


@pytest.fixture
def failing(adapters: Adapters) -> Adapters:
    kind = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter"}
    adapters.kubectl.apply(*({**kind, "metadata": {"name": name}, "spec": adapters.spec | spec} for name, (spec, _, _) in FAILURES.items()))
    return adapters


def test_each_failure_is_told_in_the_status_and_in_an_event(failing: Adapters):
    kubectl = failing.kubectl

    def told(name: str) -> str:
        ready = condition(kubectl.get("dicomadapter", name), "Ready")
        return str(ready["message"]) if ready.get("reason") == FAILURES[name][1] else ""

    for name, (_, _, message) in FAILURES.items():
        text = wait_until(name, lambda name=name: told(name))  # type: ignore[misc]
        assert re.fullmatch(message, text), text
        events = [item["message"] for item in kubectl.get("events") if item["involvedObject"]["name"] == name]
        assert text in events

"""What docs/operator.md shows of kubectl is what kubectl prints, to the letter; ages, addresses and times of day apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.api.pages import PAGE_ADDRESS, StatusPage, report
from tests.api.support import Api, Namespace
from tests.support.kubernetes import wait_until

pytestmark = pytest.mark.usefixtures("operator")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text()


def shown(command: str) -> str:
    """What the page shows below a command."""
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)(?=^\$ |^```)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/operator.md does not show {command}"
    return found[1].rstrip() + "\n"


def words(line: str) -> list[str]:
    """The cells of a table's line, without the last age."""
    return re.split(r" {2,}", line.strip())


@pytest.fixture
def adapters(namespace: Namespace, status_page: type[StatusPage]) -> Namespace:
    status_page.answer = report(store_message="the store answers")
    namespace.adapter("ct-east", aeTitle="CT_GATEWAY", replicas=2)
    namespace.address(name="ct-east")
    namespace.adapter("mr-west", aeTitle="MR_GATEWAY")
    for pod in (*namespace.pods("ct-east", 2), *namespace.pods("mr-west")):
        namespace.pod_ready(pod, PAGE_ADDRESS)
    namespace.create("deployments", OTHERS)
    namespace.adapter("us-old", aeTitle="US_GATEWAY")
    for name, reason in (("ct-east", "Available"), ("mr-west", "AddressPending"), ("us-old", "NameConflict")):
        namespace.wait_condition("Ready", reason, name)
    for name in ("ct-east", "mr-west"):
        namespace.wait_condition("StoreReachable", "Reachable", name)
    return namespace


OTHERS = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "us-old"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "theirs"}},
        "template": {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
    },
}


@pytest.mark.parametrize("command", ["kubectl get dicomadapters", "kubectl get dicomadapters -o wide"])
def test_kubectl_get(api: Api, adapters: Namespace, command: str):
    printed = api.server.kubectl(*command.split()[1:], f"--namespace={adapters.name}").stdout
    printed = re.sub(r"\b(\d+m)?\d+[ms]\b", "40s", printed)
    assert [words(line) for line in printed.splitlines()] == [words(line) for line in shown(command).splitlines()], printed


def test_kubectl_describe(api: Api, adapters: Namespace):
    wait_until("event", lambda: adapters.events("NameConflict", "us-old"))
    printed = api.server.kubectl("describe", "dicomadapter", "us-old", f"--namespace={adapters.name}").stdout
    printed = printed[printed.index("Status:\n") :]
    for pattern, instead in ((r"\d{4}-\d\d-\d\dT[0-9:]+Z", "2026-11-25T10:00:00Z"), (r"  (\d+m)?\d+[ms]  ", "  40s  ")):
        printed = re.sub(pattern, instead, printed)
    assert [words(line) for line in printed.splitlines()] == [
        words(line) for line in shown("kubectl describe dicomadapter us-old").splitlines()
    ], printed

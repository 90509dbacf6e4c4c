"""An operator that no longer sees says so on /healthz, and what it could not see is mended when it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.proxy import Proxy
from tests.api.support import Api, Namespace, OperatorProcess
from tests.support.kubernetes import wait_until


def test_a_deaf_watch_makes_it_unhealthy_and_its_work_goes_on(api: Api, namespace: Namespace, tmp_path: Path):
    with Proxy(api) as proxy, OperatorProcess(proxy.environment(tmp_path), ("--relist-seconds=1",)) as operator:
        operator.wait_ready()
        namespace.adapter()
        namespace.serve()
        proxy.drop = lambda path, event: path.endswith("/services")
        ports = iter(range(2000, 3000))

        def told() -> bool:
            namespace.patch("services", "ct-east", {"spec": {"sessionAffinity": "ClientIP", "ports": [{"port": next(ports)}]}})
            return operator.http("/healthz") == (503, "the watch is deaf: services")

        wait_until("unhealthy", told, every=0.7)
        wait_until("put right by the listing", lambda: namespace.get("services", "ct-east")["spec"]["ports"][0]["port"] == 2575)
        proxy.drop = lambda path, event: False
        namespace.patch("services", "ct-east", {"metadata": {"labels": {"it": "hears"}}})
        wait_until("healthy again", lambda: operator.http("/healthz") == (200, "ok"))


@pytest.fixture
def crd_again(api: Api):
    yield
    api.server.install_crds()


def started_again(operator: OperatorProcess) -> bool:
    """What Kubernetes does with a container that has ended: a watch that meets the moment without a CRD ends the operator."""
    assert operator.process is not None
    if operator.process.poll() is not None:
        assert operator.process.returncode == 1, operator.output()
        operator.start()
    return True


def test_a_crd_that_is_deleted_and_made_again_is_served(api: Api, namespace: Namespace, crd_again):
    with OperatorProcess(api.server.environment, ("--relist-seconds=1",)) as operator:
        operator.wait_ready()
        namespace.adapter("before")
        namespace.wait_for("deployments", "before")
        api.server.kubectl("delete", "crd", "dicomadapters.dicomadapter.io")
        api.server.install_crds()
        namespace.adapter("after")
        wait_until("served", lambda: started_again(operator) and namespace.get("networkpolicies", "after"))
        namespace.address(name="after")
        for pod in namespace.pods("after"):
            namespace.pod_ready(pod)
        wait_until("ready", lambda: started_again(operator) and namespace.condition("Ready", "after").get("status") == "True")
        wait_until("healthy", lambda: started_again(operator) and operator.http("/healthz") == (200, "ok"))

"""Installing and uninstalling, in either order. Each test leaves the operator installed, as it found it."""

from __future__ import annotations

import pytest

from tests.pods.conftest import CHART, HELM_VALUES, Adapters, helm, send_to
from tests.support import dicom
from tests.support.kubernetes import Kubectl, wait_until

CRD = "dicomadapters.dicomadapter.io"


@pytest.fixture
def release(operator):
    """`helm install` with more arguments; whatever the test did, the release is there again afterwards."""

    def install(*arguments: str) -> None:
        helm(
            "upgrade",
            "--install",
            "dicom-operator",
            str(CHART),
            "--namespace",
            operator,
            *HELM_VALUES,
            *arguments,
            "--wait",
            "--timeout",
            "120s",
        )

    yield install
    install()


def test_the_operator_goes_first_and_the_adapters_serve_on(release, operator, adapters: Adapters):
    adapter = adapters.apply()
    helm("uninstall", "dicom-operator", "--namespace", operator, "--wait")
    assert send_to(adapter, dicom.generated()) == [(0, "")]
    assert adapters.kubectl.get("crd", CRD), "the chart keeps the CRD, and so the adapters"
    adapters.kubectl("delete", "dicomadapter", "gate", "--timeout=20s")
    wait_until("the garbage collector took the children", lambda: not adapters.kubectl.get("deployment", "gate"), seconds=60)


def test_the_adapters_go_first(release, operator, adapters: Adapters):
    adapters.apply()
    adapters.kubectl("delete", "dicomadapter", "gate", "--timeout=20s")
    helm("uninstall", "dicom-operator", "--namespace", operator, "--wait")
    wait_until("the garbage collector took the children", lambda: not adapters.kubectl.get("deployment", "gate"), seconds=60)


def test_installing_again_over_a_kept_crd_takes_the_adapters_back(release, operator, adapters: Adapters):
    adapters.apply()
    helm("uninstall", "dicom-operator", "--namespace", operator, "--wait")
    adapters.kubectl.patch("dicomadapter", "gate", {"spec": {"port": 104}})
    release()
    assert adapters.ready()["status"]["port"] == 104


def test_without_keeping_the_crd_everything_goes(release, operator, adapters: Adapters):
    adapters.apply()
    release("--set", "crds.keep=false")
    helm("uninstall", "dicom-operator", "--namespace", operator, "--wait")
    wait_until("the CRD is gone", lambda: not Kubectl("default").get("crd", CRD), seconds=60)
    wait_until("the garbage collector took the children", lambda: not adapters.kubectl.get("deployment", "gate"), seconds=60)


def test_the_operator_runs_restricted_and_asks_for_no_secrets(operator):
    kubectl = Kubectl(operator)
    for verb in ("get", "list", "watch"):
        done = kubectl.run(
            "auth", "can-i", verb, "secrets", "--all-namespaces", f"--as=system:serviceaccount:{operator}:dicom-operator", check=False
        )
        assert done.stdout.strip() == "no"
    pod = kubectl.get("pods", **{"app.kubernetes.io/name": "dicom-operator"})[0]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "Traceback" not in kubectl("logs", pod["metadata"]["name"])


def test_the_charts_own_test_passes_and_leaves_nothing(operator):
    done = helm("test", "dicom-operator", "--namespace", operator, "--timeout", "60s")
    assert "Phase:          Succeeded" in done
    kubectl = Kubectl(operator)
    assert not [kind for kind in ("pod", "serviceaccount", "role", "rolebinding") if kubectl.get(kind, "dicom-operator-test")]

"""A rollout that does not get on: the Deployment controller gives it up, and so does whoever waits for the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dicom_operator.render import workload as render_workload
from tests.api.faults.forked import ForkedOperator, run
from tests.api.support import Api, Namespace
from tests.support.kubernetes import condition, wait_until

SECONDS = 2
TEXT = f"the new pods did not become ready within {SECONDS} s; `kubectl describe pods` and `kubectl logs` show why"


def run_hasty(arguments: list[str], environment: Mapping[str, str], log: str) -> None:
    """The operator, whose Deployments are given up early."""
    render_workload.PROGRESS_DEADLINE_SECONDS = SECONDS
    run(arguments, environment, log)


def test_a_rollout_that_is_given_up_and_comes_after_all(api: Api, namespace: Namespace, tmp_path: Path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(api.server.kubeconfig.read_bytes())
    environment = {**api.server.environment, "KUBECONFIG": str(kubeconfig)}
    with ForkedOperator(environment, (f"--namespace={namespace.name}",), become=run_hasty) as operator:
        operator.wait_ready()
        namespace.adapter()
        assert namespace.wait_condition("Ready", "ProgressDeadlineExceeded")["message"] == TEXT
        body = namespace.get("dicomadapters", "ct-east")
        assert condition(body, "WorkloadAvailable")["message"] == TEXT
        assert condition(body, "Stalled")["reason"] == "ProgressDeadlineExceeded"
        assert condition(body, "Reconciling") == {}
        wait_until("event", lambda: [item["message"] for item in namespace.events("AdapterNotReady")] == [TEXT])
        namespace.serve()
        assert condition(namespace.get("dicomadapters", "ct-east"), "Stalled") == {}
        assert operator.calm()

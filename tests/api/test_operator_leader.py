"""Two replicas of the operator: one works, the other takes over."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.proxy import Proxy
from tests.api.support import Api, Namespace, OperatorProcess
from tests.support.kubernetes import wait_until


def candidate(environment: dict[str, str], namespace: Namespace) -> OperatorProcess:
    flags = (f"--namespace={namespace.name}", f"--operator-namespace={namespace.name}", "--lease=dicom-operator")
    return OperatorProcess(environment, (*flags, "--relist-seconds=3600", "--probe-seconds=1"))  # so that listings can be counted


@pytest.fixture
def pair(api: Api, namespace: Namespace) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """A leader and a standby."""
    with contextlib.ExitStack() as stack:
        leader = stack.enter_context(candidate(dict(api.server.environment), namespace))
        wait_until("the first leads", lambda: leads(leader))
        standby = stack.enter_context(candidate(dict(api.server.environment), namespace))
        standby.wait_ready()
        yield leader, standby


def leads(operator: OperatorProcess) -> bool:
    return operator.metric("dicom_operator_leader") == 1


def lease(namespace: Namespace) -> dict[str, object]:
    found = namespace.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace.name}/leases/dicom-operator")
    return dict(found["spec"])


def test_when_the_leader_crashes_the_other_works(namespace: Namespace, pair):
    leader, standby = pair
    namespace.adapter("before")
    namespace.serve("before")
    assert not leads(standby)
    assert standby.metric("dicom_operator_adapter_condition") == 0  # only who leads tells about adapters
    listings = standby.metric("dicom_operator_api_requests_total", verb="list", resource="deployments")
    leader.kill()
    started = time.monotonic()
    namespace.adapter("after")
    wait_until("the other works", lambda: namespace.get("deployments", "after"), every=0.02)
    print(f"the other works after {time.monotonic() - started:.2f} s")
    namespace.serve("after")
    assert leads(standby)
    assert lease(namespace)["leaseTransitions"] == 1
    assert standby.metric("dicom_operator_api_requests_total", verb="list", resource="deployments") == listings  # its caches were warm
    assert namespace.condition("Ready", "before")["status"] == "True"
    looked_at = {"name": "before", "type": "Ready", "status": "True"}
    wait_until("it has looked at the other too", lambda: standby.metric("dicom_operator_adapter_condition", **looked_at) == 1)


def test_a_clean_stop_hands_over_and_writes_nothing_but_the_lease(namespace: Namespace, pair):
    leader, standby = pair
    namespace.adapter()
    namespace.serve()
    wait_until("all is told", lambda: namespace.events("AdapterReady"))
    started = time.monotonic()
    assert leader.process is not None
    leader.process.send_signal(signal.SIGTERM)
    wait_until("the other leads", lambda: leads(standby), every=0.02)
    print(f"handed over after {time.monotonic() - started:.2f} s")
    assert leader.wait_exit() == 0
    wait_until("it has looked at the adapter", lambda: standby.metric("dicom_operator_reconcile_total") >= 1)
    writes = {verb: standby.metric("dicom_operator_api_requests_total", verb=verb) for verb in ("create", "patch", "delete")}
    assert writes == {"create": 0, "patch": 0, "delete": 0}


def test_a_leader_that_was_stopped_and_wakes_writes_nothing(api: Api, namespace: Namespace, tmp_path: Path):
    writes: list[str] = []

    def note(method: str, path: str) -> int:
        if method != "GET":
            writes.append(f"{method} {path}")
        return 0

    with Proxy(api) as proxy, candidate(dict(proxy.environment(tmp_path)), namespace) as old:
        wait_until("the first leads", lambda: leads(old))
        namespace.adapter()
        namespace.serve()
        with candidate(dict(api.server.environment), namespace) as new:
            new.wait_ready()
            wait_until("all is told", lambda: namespace.events("AdapterReady"))  # what is on its way already cannot be held back
            proxy.refuse = note
            assert old.process is not None
            old.process.send_signal(signal.SIGSTOP)
            try:
                wait_until("the other leads", lambda: leads(new))
                namespace.change(port=11113)  # the sleeper finds all of this when it wakes
                namespace.adapter("second")
                namespace.serve("second")
                writes.clear()
            finally:
                old.process.send_signal(signal.SIGCONT)
            wait_until("it knows", lambda: "leads no more" in old.output())
            wait_until("it has caught up", lambda: old.metric("dicom_operator_watch_last_event_timestamp_seconds", resource="services"))
            assert not leads(old)
            assert [line for line in writes if "/leases/" not in line] == []
            # And it takes over again when it has to.
            new.kill()
            namespace.adapter("third")
            wait_until("it works again", lambda: namespace.get("deployments", "third"), every=0.02)
            assert lease(namespace)["leaseTransitions"] == 2

"""Two replicas that both believe that they lead: no operator without an election may run beside them, so they have a file of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.faults.oracle import CONFIG, wait_right
from tests.api.proxy import Proxy
from tests.api.support import Api, Namespace, Refused
from tests.support.kubernetes import wait_until


@pytest.mark.slow
def test_a_leader_that_sleeps_past_its_lease_wakes_and_writes_nothing(
    fresh: Callable[[], Namespace], api: Api, tmp_path: Path, long: bool
) -> None:
    """Split brain, as a suspended machine makes it: while one sleeps the other takes over and serves a change; again and again."""
    namespace = fresh()
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CONFIG.operator_namespace}}
    with suppress(Refused):  # it is there already
        api.create("/api/v1/namespaces", home)
    flags = (f"--namespace={namespace.name}", f"--lease={namespace.name}", "--relist-seconds=60")
    with ExitStack() as stack:
        pair = []
        for _ in range(2):
            proxy = stack.enter_context(Proxy(api))
            operator = stack.enter_context(ForkedOperator(proxy.environment(tmp_path), flags))
            operator.wait_ready()
            pair.append((operator, proxy))
        namespace.adapter()
        wait_right(namespace)
        for port in range(105, 115 if long else 106):
            leader, proxy = wait_until("one leads", lambda: next((one for one in pair if leads(one[0])), None), every=0.3)  # type: ignore[misc]
            proxy.settle(namespace.name)  # what is on its way already cannot be held back
            leader.pause()
            namespace.patch("dicomadapters", "ct-east", {"spec": {"port": port}})
            wait_right(namespace)
            since = len(proxy.requests)
            leader.resume()
            wait_until("it knows that it leads no more", lambda leader=leader: not leads(leader))  # type: ignore[misc]
            late = [one for one in proxy.requests[since:] if one.write and one.target[0] != "leases"]
            assert [(one.method, one.target) for one in late] == []
            wait_right(namespace)


def leads(operator: ForkedOperator) -> bool:
    return operator.metric("dicom_operator_leader") == 1

"""The API server goes and comes back in the middle; and two operators where one was meant."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.faults.hooks import AtWrite
from tests.api.faults.oracle import made, wait_right
from tests.api.proxy import Proxy
from tests.api.support import Api, Namespace
from tests.support.kubernetes import wait_until


@pytest.mark.slow
def test_the_api_server_is_killed_in_the_middle_of_a_reconcile(
    fresh: Callable[[], Namespace], api: Api, proxy: Proxy, operator: ForkedOperator
) -> None:
    namespace, before = fresh(), api.server.started()
    forward = proxy.before
    hook = AtWrite(api, {namespace.name: (3, lambda _: api.server.restart())})
    proxy.before = hook.before
    namespace.adapter()
    wait_until("killed", lambda: hook.done, every=0.01)
    wait_until("another one answers", lambda: api.server.started() not in ("", before), every=0.3)
    wait_right(namespace)
    proxy.before = forward
    namespace.delete("services", "ct-east")
    wait_right(namespace)
    assert operator.http("/healthz") == (200, "ok")
    assert operator.calm()


@pytest.mark.slow
def test_two_operators_by_mistake_end_right_and_do_not_fight(
    fresh: Callable[[], Namespace], api: Api, proxy: Proxy, operator: ForkedOperator, tmp_path: Path
) -> None:
    """Without an election, or with two releases over one namespace: the same spec is the same objects, whoever writes them."""
    with Proxy(api) as another, ForkedOperator(another.environment(tmp_path)) as second:
        second.wait_ready()
        places = [fresh() for _ in range(4)]
        for namespace in places:
            namespace.adapter(replicas=2)
        for port in (104, 2575):
            for namespace in places:
                namespace.patch("dicomadapters", "ct-east", {"spec": {"port": port, "replicas": 1}})
                namespace.delete("services", "ct-east")
        for namespace in places:
            wait_right(namespace)
            proxy.settle(namespace.name)
            another.settle(namespace.name)
            for one in (proxy, another):
                _, deleted = made(one.writes(namespace.name))
                assert set(deleted) <= {("poddisruptionbudgets", "ct-east")}
        for one in (proxy, another):  # they rest, over listings and all: two that fight never do
            wait_until("no write for three seconds", functools.partial(rests, one, [namespace.name for namespace in places], 3.0))
        assert second.stop() == 0
        assert operator.calm()
        assert second.calm()


def rests(proxy: Proxy, namespaces: list[str], seconds: float) -> bool:
    return all(time.monotonic() - one.at > seconds for one in proxy.requests if one.write and one.namespace in namespaces)

"""Children that somebody deletes, changes, relabels or disowns; and fields of others, which are left alone."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.faults.hooks import seconds
from tests.api.faults.oracle import canonical, children, wait_right
from tests.api.proxy import Proxy
from tests.api.support import Api, Namespace
from tests.support.kubernetes import condition

SPOILED: dict[str, dict[str, Any]] = {
    "serviceaccounts": {"automountServiceAccountToken": True},
    "configmaps": {"data": {"dicomadapter.yaml": "theirs"}},
    "deployments": {"spec": {"replicas": 7, "template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
    "services": {"spec": {"selector": {"theirs": "too"}}},
    "networkpolicies": {"spec": {"ingress": [{}]}},
    "poddisruptionbudgets": {"spec": {"maxUnavailable": 2}},
}
UNLABELLED = {"metadata": {"labels": None}}


def delete(namespace: Namespace, plural: str, name: str) -> None:
    namespace.delete(plural, name)


def spoil(namespace: Namespace, plural: str, name: str) -> None:
    namespace.patch(plural, name, SPOILED[plural])


def relabel(namespace: Namespace, plural: str, name: str) -> None:
    namespace.patch(plural, name, UNLABELLED)


def unannotate(namespace: Namespace, plural: str, name: str) -> None:
    namespace.patch(plural, name, {"metadata": {"annotations": None}})


@pytest.mark.slow
def test_every_child_is_put_right_after_every_vandalism(
    fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator, long: bool
) -> None:
    ways = (delete, spoil, relabel, unannotate)
    fresh_one = fresh()
    fresh_one.adapter(replicas=2)
    wait_right(fresh_one)
    proxy.settle(fresh_one.name)
    times = []
    for number, (plural, name) in enumerate(sorted(children(fresh_one, "ct-east"))):
        namespace = fresh()
        namespace.adapter(replicas=2)
        wait_right(namespace)
        proxy.settle(namespace.name)
        before = canonical(children(namespace, "ct-east"), namespace.name, "ct-east")
        for way in ways if long else ways[number % 4 :][:1]:
            way(namespace, plural, name)
            times.append(seconds(functools.partial(wait_right, namespace)))
            after = canonical(children(namespace, "ct-east"), namespace.name, "ct-east")
            assert after == before, (way.__name__, plural)
    print(f"{len(times)} vandalisms put right: median {statistics.median(times) * 1000:.0f} ms, longest {max(times) * 1000:.0f} ms")
    assert operator.calm()


@pytest.mark.slow
def test_a_child_that_is_disowned_is_left_alone_until_it_goes(
    fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator
) -> None:
    namespace = fresh()
    namespace.adapter(replicas=2)
    wait_right(namespace)
    for plural, name in sorted(children(namespace, "ct-east")):
        proxy.settle(namespace.name)
        since = len(proxy.requests)
        namespace.patch(plural, name, {"metadata": {"ownerReferences": None}})
        namespace.wait_condition("Applied", "NameConflict")
        proxy.settle(namespace.name)
        assert [one.target for one in proxy.writes(namespace.name, since) if one.target[0] != "dicomadapters"] == []
        namespace.delete(plural, name)
        wait_right(namespace)
    assert operator.calm()


PORT = {"op": "replace", "path": "/spec/template/spec/containers/0/ports/0/containerPort", "value": 9999}


@pytest.mark.usefixtures("operator")
def test_a_container_port_that_was_renumbered_by_hand_is_put_back(fresh: Callable[[], Namespace], api: Api, proxy: Proxy) -> None:
    """An apply would add ours beside it, and two ports of one name are refused."""
    namespace = fresh()
    namespace.adapter()
    wait_right(namespace)
    proxy.settle(namespace.name)
    sidecar = {
        "op": "add",
        "path": "/spec/template/spec/containers/-",
        "value": {"name": "theirs", "image": "a", "ports": [{"containerPort": 1}]},
    }
    api.request("PATCH", namespace.path("deployments", "ct-east"), [PORT, sidecar], "application/json-patch+json")
    wait_right(namespace)
    ours, theirs = namespace.get("deployments", "ct-east")["spec"]["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in ours["ports"]] == [11112, 8080]
    assert [port["containerPort"] for port in theirs["ports"]] == [1]
    assert condition(namespace.get("dicomadapters", "ct-east"), "Applied")["status"] == "True"


@pytest.mark.slow
@pytest.mark.usefixtures("operator")
def test_the_fields_of_other_managers_survive(fresh: Callable[[], Namespace], api: Api, proxy: Proxy) -> None:
    """What an injector or a human adds beside our fields is theirs: nothing is written for it, and no apply takes it away."""
    namespace = fresh()
    namespace.adapter()
    wait_right(namespace)
    proxy.settle(namespace.name)
    since = len(proxy.requests)
    theirs = {"metadata": {"labels": {"theirs": "a"}, "annotations": {"theirs.example/note": "b"}}}
    for plural, name in sorted(children(namespace, "ct-east")):
        query = "?fieldManager=theirs"
        api.request("PATCH", namespace.path(plural, name) + query, theirs, "application/merge-patch+json")
    env = {"spec": {"template": {"spec": {"containers": [{"name": "adapter", "env": [{"name": "THEIRS", "value": "1"}]}]}}}}
    api.request("PATCH", namespace.path("deployments", "ct-east"), env, "application/strategic-merge-patch+json")
    proxy.settle(namespace.name)
    assert [one.target for one in proxy.writes(namespace.name, since) if one.target[0] != "dicomadapters"] == []
    namespace.patch("dicomadapters", "ct-east", {"spec": {"port": 104, "logLevel": "Debug"}})
    wait_right(namespace)
    for (plural, name), found in children(namespace, "ct-east").items():
        assert found["metadata"]["labels"]["theirs"] == "a", (plural, name)
        assert found["metadata"]["annotations"]["theirs.example/note"] == "b", (plural, name)
    (container,) = namespace.get("deployments", "ct-east")["spec"]["template"]["spec"]["containers"]
    assert {"name": "THEIRS", "value": "1"} in container["env"]


@pytest.mark.slow
def test_an_object_of_somebody_else_that_takes_the_place_of_a_child_is_never_written(
    fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator
) -> None:
    namespace = fresh()
    namespace.adapter()
    wait_right(namespace)
    operator.pause()
    namespace.delete("services", "ct-east")
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ct-east"}, "spec": {"ports": [{"port": 80}]}}
    namespace.create("services", body)
    operator.resume()
    theirs = namespace.get("services", "ct-east")
    namespace.wait_condition("Applied", "NameConflict")
    namespace.patch("dicomadapters", "ct-east", {"spec": {"port": 104}})
    proxy.settle(namespace.name)
    assert namespace.get("services", "ct-east")["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]
    assert operator.calm()
    namespace.delete("services", "ct-east")
    namespace.patch("dicomadapters", "ct-east", {"spec": {"port": 2575}})  # else it looks again after half a minute
    wait_right(namespace)

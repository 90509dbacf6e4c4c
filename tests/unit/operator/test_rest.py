"""An adapter of which nothing has changed costs next to nothing when it is looked at again, and whatever changes is heeded."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from dicom_operator.api import BY_KIND, POD, Json
from dicom_operator.status.document import build
from dicom_operator.workqueue import RequeueAfter
from tests.unit.operator.builders import READY, claim, pod, report
from tests.unit.operator.world import World

SERVES = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
ADDRESS: Json = {"loadBalancer": {"ingress": [{"ip": "10.8.0.4"}]}}


def put(world: World, kind: str, **fields: object) -> None:
    """Another version of a child."""
    found = copy.deepcopy(world.cluster.objects[kind, "ct-east"])
    world.cache.put(BY_KIND[kind], world.cluster.put(found | fields))


def there(world: World, one: Json, version: int, **metadata: object) -> Json:
    """Another version of a pod or claim."""
    found = {**one, "metadata": {**one["metadata"], **metadata, "resourceVersion": str(10_000 + version)}}
    world.cache.put(BY_KIND[found["kind"]], found)
    return found


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    """The statuses that are made from what is seen: what a run cannot do without."""
    made: list[Json] = []

    def note(*arguments: object) -> Json:
        made.append(build(*arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr("dicom_operator.reconcile.build", note)
    return made


@pytest.fixture
async def world() -> World:
    world = World()
    await world.run()
    there(world, pod("ct-east-1-a", conditions=[READY]), 0)
    put(world, "Deployment", status=SERVES)
    put(world, "Service", status=ADDRESS)
    for _ in range(2):  # the first tells what it sees
        assert await world.run() == RequeueAfter(600)
    assert world.condition("Ready") == ("True", "Available")
    return world


async def test_while_nothing_changes_a_look_makes_nothing(world: World, built: list[Json]) -> None:
    assert await world.run() == RequeueAfter(600)
    assert world.cluster.calls == []
    assert built == []


def spoil(world: World) -> None:
    put(world, "ConfigMap", data={"dicomadapter.yaml": "theirs"})


CHANGES: dict[str, Callable[[World], object]] = {
    "the spec": lambda world: world.change(port=104),
    "a child": spoil,
    "a child that is gone": lambda world: world.cache.forget(BY_KIND["Service"], "rad", "ct-east"),
    "a new pod": lambda world: there(world, pod("ct-east-1-b"), 1),
    "a pod that leaves": lambda world: there(world, pod("ct-east-1-a"), 1, deletionTimestamp="2026-11-23T00:00:00Z"),
    "a pod that is gone": lambda world: world.cache.forget(POD, "rad", "ct-east-1-a"),
    "what a pod says": lambda world: world.reports.update({pod("ct-east-1-a")["metadata"]["uid"]: report()}),
    "a claim": lambda world: there(world, claim(0), 1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_changes_is_heeded(world: World, built: list[Json], change: str) -> None:
    CHANGES[change](world)
    await world.run()
    assert built


async def test_a_replica_that_leads_again_tells_the_conditions_again(world: World, built: list[Json]) -> None:
    world.metrics.leads(value=False)
    assert b'name="ct-east"' not in world.metrics.render()
    world.metrics.leads(value=True)
    await world.run()
    assert built == []
    text = world.metrics.render().decode()
    assert 'dicom_operator_adapter_condition{name="ct-east",namespace="rad",reason="Available",status="True",type="Ready"} 1.0' in text


async def test_a_pod_that_is_on_its_way_out_is_waited_for(world: World, built: list[Json]) -> None:
    old = there(world, pod("ct-east-1-old"), 1, deletionTimestamp="2026-11-23T00:00:00Z")
    await world.run()
    await world.run()
    assert len(built) == 1
    world.cache.forget(POD, "rad", old["metadata"]["name"])
    await world.run()
    assert len(built) == 2


async def test_a_child_that_is_deleted_again_and_again_comes_back_each_time(world: World) -> None:
    """What a run has written is not what it has seen: the same child missing again is news."""
    for _ in range(3):
        world.cluster.drop("Service", "ct-east-http")
        world.cache.forget(BY_KIND["Service"], "rad", "ct-east-http")
        await world.run()
        assert ("Service", "ct-east-http") in world.cluster.objects

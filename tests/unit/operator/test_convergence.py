"""Whatever happens, in whatever order, and wherever the process is killed: it ends the same."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from dicom_operator.api import Json
from dicom_operator.apiserver.cluster import Cluster
from tests.unit.operator.life import SPECS, Crash, Crashing, Life
from tests.unit.operator.world import KEY, FakeCluster, World

SCENARIOS: dict[str, list[dict[str, Any]]] = {
    "create": [{}],
    "scale": [{}, {"replicas": 3}],
    "scale down": [{"replicas": 3}, {"replicas": 1}],
    "port": [{}, {"port": 104}],
    "store": [{}, {"dicomStore": "https://other.example/dicom-web"}],
    "account": [{}, {"serviceAccount": {"name": "imaging"}}],
}


def test_any_life_ends_as_the_spec_says(long: bool) -> None:
    several = settings(
        max_examples=600 if long else 60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if long or phase is not Phase.shrink],  # to shrink takes minutes
    )
    run_state_machine_as_test(Life, settings=several)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(specs=st.lists(SPECS, min_size=1, max_size=4))
def test_reconciling_twice_writes_nothing_more_and_the_way_does_not_matter(specs: list[dict[str, Any]]) -> None:
    async def live() -> None:
        world = World(**specs[0])
        for spec in specs:
            world.change(**spec)
            await settle(world)
            await world.run()
            assert world.cluster.calls == []
        direct = World(**specs[-1])
        await settle(direct)
        if "\\" not in specs[-1].get("aeTitle", ""):  # an invalid spec leaves the children of the one before
            assert children(world.cluster) == children(direct.cluster)

    asyncio.run(live())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_killed_at_any_request_a_new_process_ends_the_same(scenario: str, after: bool) -> None:
    *before, last = SCENARIOS[scenario]
    reference = await arranged(before)
    reference.change(**last)
    await reference.run()
    calls = len(reference.cluster.calls)
    await settle(reference)
    assert calls > 1
    for number in range(1, calls + 1):
        world = await arranged(before)
        world.change(**last)
        cache = world.cache
        dying = World(world.cluster)
        dying.start(cast(Cluster, Crashing(world.cluster, number, after=after)), cache)
        with pytest.raises(Crash):
            await dying.reconciler.process(KEY)
        fresh = World(world.cluster)
        fresh.see()
        await settle(fresh)
        assert children(fresh.cluster) == children(reference.cluster), number


async def arranged(specs: list[dict[str, Any]]) -> World:
    world = World(**(specs[0] if specs else {}))
    if specs:
        await settle(world)
    return world


async def settle(world: World) -> None:
    """Reconciles and rolls out, until nothing changes."""
    for _ in range(10):
        version = world.cluster.version
        await world.run()
        deployment = world.cluster.objects.get(("Deployment", "ct-east"))
        if deployment:
            count = deployment["spec"]["replicas"]
            names = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
            world.cluster.put({**deployment, "status": {"observedGeneration": 1, **dict.fromkeys(names, count)}})
        world.see()
        if version == world.cluster.version:
            return
    raise AssertionError("it does not come to rest")


def children(cluster: FakeCluster) -> dict[tuple[str, str], Json]:
    """All but the adapter, without what differs between two clusters."""
    return {
        name: {**found, "metadata": {key: value for key, value in found["metadata"].items() if key not in ("uid", "resourceVersion")}}
        for name, found in cluster.objects.items()
        if name[0] != "DicomAdapter"
    }

"""The operator is killed at each write of a reconcile, before it and after it: a new one ends with the same objects (Sieve's first fault).

The writes are enumerated: a run without a fault tells how many there are. The operator that was started to mend one run is the one
that is killed in the next, so that each point costs one start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.faults.oracle import canonical, children, made, wait_right
from tests.api.proxy import Answer, Lost, Proxy, Request
from tests.api.support import Api, Namespace
from tests.support.kubernetes import wait_until

Step = Callable[[Namespace], object]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What was there before, and the change during which the operator is killed."""

    before: Step | None
    change: Step
    at_the_crash: Step = lambda namespace: None
    short: tuple[int, ...] = ()
    """The points that are tried in the short form; all in the long one."""


def port(namespace: Namespace) -> None:
    namespace.patch("dicomadapters", "ct-east", {"spec": {"port": 104}})


SCENARIOS = {
    "create": Scenario(None, lambda it: it.adapter(), short=(2, 6)),
    "scale": Scenario(lambda it: it.adapter(), lambda it: it.patch("dicomadapters", "ct-east", {"spec": {"replicas": 3}})),
    "scale down": Scenario(
        lambda it: it.adapter(replicas=3), lambda it: it.patch("dicomadapters", "ct-east", {"spec": {"replicas": 1}}), short=(2,)
    ),
    "port": Scenario(lambda it: it.adapter(), port),
    "store": Scenario(
        lambda it: it.adapter(),
        lambda it: it.patch("dicomadapters", "ct-east", {"spec": {"dicomStore": "https://other.example/dicom-web"}}),
        short=(1,),
    ),
    "child deleted": Scenario(lambda it: it.adapter(), lambda it: it.delete("services", "ct-east"), short=(1,)),
    "adapter deleted": Scenario(
        None, lambda it: it.adapter(), at_the_crash=lambda it: it.delete("dicomadapters", "ct-east"), short=(3,)
    ),
}  # fmt: skip


@dataclass
class Trap:
    """Kills the operator at the n-th write in a namespace."""

    operator: ForkedOperator
    namespace: Namespace
    number: int
    after: bool
    at_the_crash: Step
    seen: list[Request] = field(default_factory=list)
    sprung: bool = False

    async def before(self, request: Request) -> Answer | None:
        if request.write and request.namespace == self.namespace.name and not self.sprung:
            self.seen.append(request)
            if len(self.seen) == self.number and not self.after:
                await self.spring()
        return None

    async def answered(self, request: Request) -> Answer | None:
        if self.after and not self.sprung and len(self.seen) >= self.number and request is self.seen[self.number - 1]:
            await self.spring()
        return None

    async def spring(self) -> None:
        other = Namespace(Api(self.namespace.api.server), self.namespace.name)  # the client of the tests serves one thread
        await asyncio.to_thread(self.at_the_crash, other)
        other.api.close()
        await asyncio.to_thread(self.operator.kill)
        self.sprung = True
        raise Lost


def run(scenario: Scenario, namespace: Namespace, proxy: Proxy, trap: Trap) -> None:
    """One life: what was before, the change, the crash, and the end."""
    if scenario.before:
        scenario.before(namespace)
        wait_right(namespace)
        proxy.settle(namespace.name)
    proxy.before, proxy.after = trap.before, trap.answered
    scenario.change(namespace)
    if trap.number:
        wait_until(f"write {trap.number}", lambda: trap.sprung, every=0.01)
        trap.operator.start()
        trap.operator.wait_ready()
    wait_right(namespace)
    proxy.settle(namespace.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_each_write_a_new_operator_ends_the_same(
    name: str, fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator, long: bool
) -> None:
    scenario = SCENARIOS[name]
    reference = fresh()
    trap = Trap(operator, reference, 0, after=False, at_the_crash=scenario.at_the_crash)
    start = len(proxy.requests)
    run(scenario, reference, proxy, trap)
    writes = len(trap.seen)
    end = canonical(children(reference, "ct-east"), reference.name, "ct-east")
    usual = made(proxy.writes(reference.name, start))
    points = [number for number in range(1, writes + 1) if long or number in scenario.short]
    assert points or not long
    ended = {reference.name: len(proxy.requests)}
    for number in points:
        for after in (False, True):
            namespace = fresh()
            since = len(proxy.requests)
            run(scenario, namespace, proxy, Trap(operator, namespace, number, after, scenario.at_the_crash))
            ended[namespace.name] = len(proxy.requests)
            found = canonical(children(namespace, "ct-east"), namespace.name, "ct-east")
            assert found == ({} if name == "adapter deleted" else end), (number, after)
            for now, once in zip(made(proxy.writes(namespace.name, since)), usual, strict=True):
                assert all(count <= once[target] + 1 for target, count in now.items()), (number, after, now)
    for finished, since in ended.items():  # each restart has looked at all of them again: nothing is written where all is well
        assert [(one.target, one.body) for one in proxy.writes(finished, since)] == []
    print(f"{name}: {writes} writes, killed before and after {len(points)} of them")

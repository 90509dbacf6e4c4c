"""Everything that can happen to an adapter, as a state machine for hypothesis: users, vandals, late and lost events, crashes, old views.

Each example lives a while, then quiet is kept: no more events come, only listings, timers and the garbage collector. Then the
objects must be what the spec says, nothing of somebody else's may have been written, and nothing more may be.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
from contextlib import suppress
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dicom_operator import api
from dicom_operator.api import ADAPTER, BY_KIND, OWNED, Json, Key, Resource
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.apiserver.resync import Resync, Watches
from dicom_operator.apiserver.watch import Intake
from dicom_operator.difference import difference
from dicom_operator.model.adapter import parse
from dicom_operator.observed.objects import controlling, is_ours, ref
from dicom_operator.render.adapter import desired
from dicom_operator.workqueue import RequeueAfter, Retry
from tests.unit.operator.builders import CONFIG, body
from tests.unit.operator.world import KEY, FakeCluster, World

ADAPTER_REF = ("DicomAdapter", "ct-east")
SOON = 60.0
"""A timer that is longer than this is the resync of every ten minutes: what was missed must be found before it."""

SPECS = st.fixed_dictionaries(
    {},
    optional={
        "port": st.sampled_from([104, 2575]),
        "replicas": st.integers(0, 3),
        "suspend": st.booleans(),
        "aeTitle": st.sampled_from(["GATE", "OTHER", "NOT\\VALID"]),
        "service": st.sampled_from([{"type": "ClusterIP"}, {"sourceRanges": ["10.1.0.0/16"]}]),
        "serviceAccount": st.just({"name": "imaging"}),
        "podLabels": st.just({"team": "radiology"}),
        "credentials": st.sampled_from([{"basicAuthSecret": {"name": "login"}}, {"caBundle": {"configMap": "ca"}}]),
    },
)


class Crash(BaseException):
    """The process is killed: nothing may catch it."""


class Crashing:
    """A cluster whose client is killed at a call, before the request or after the answer was stored."""

    def __init__(self, cluster: FakeCluster, at: int, *, after: bool) -> None:
        self._cluster = cluster
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)

        async def call(*arguments: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._after):
                raise Crash
            answer = await method(*arguments, **more)
            if self._left == 0:
                raise Crash
            return answer

        return call


class Life(RuleBasedStateMachine):
    """The life of one adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.uids = itertools.count(2)
        self.world = World(FakeCluster())
        self.cluster = self.world.cluster
        self.dirty: set[Key] = set()
        self.timer = False
        self.pending: list[tuple[str, Json]] = []
        self.heard = 0
        self.foreign: dict[tuple[str, str], Json] = {}
        self.make({})
        self.restart(0)

    # The user

    @rule(spec=SPECS)
    @precondition(lambda self: ADAPTER_REF in self.cluster.objects)
    def change(self, spec: dict[str, Any]) -> None:
        old = self.cluster.objects[ADAPTER_REF]
        new = body(status=old.get("status"), **spec)
        new["metadata"] |= {"uid": old["metadata"]["uid"], "generation": old["metadata"]["generation"] + 1}
        self.cluster.put(new)

    @rule(spec=SPECS)
    @precondition(lambda self: ADAPTER_REF not in self.cluster.objects)
    def make(self, spec: dict[str, Any]) -> None:
        new = body(**spec)
        new["metadata"] |= {"uid": f"adapter-{next(self.uids)}", "generation": 1}
        self.cluster.put(new)

    @rule()
    @precondition(lambda self: ADAPTER_REF in self.cluster.objects)
    def delete(self) -> None:
        self.cluster.drop(*ADAPTER_REF)

    # Vandals

    @rule(data=st.data())
    @precondition(lambda self: self.children())
    def delete_child(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.children()))
        self.cluster.drop(*name)
        self.foreign.pop(name, None)

    @rule(data=st.data(), way=st.sampled_from(["spec", "labels", "owner"]))
    @precondition(lambda self: self.children())
    def spoil(self, data: st.DataObject, way: str) -> None:
        name = data.draw(st.sampled_from(self.children()))
        found = copy.deepcopy(self.cluster.objects[name])
        match way:
            case "spec":
                found["metadata"]["annotations"] = {}
                found["spec"] = {"replicas": 7}
            case "labels":
                found["metadata"]["labels"] = {}
            case "owner":
                found["metadata"]["ownerReferences"] = []
        self.cluster.put(found)
        if name in self.foreign:
            self.foreign[name] = self.cluster.objects[name]

    @rule(resource=st.sampled_from(OWNED), replace=st.booleans())
    def squat(self, resource: Resource, replace: bool) -> None:
        """Somebody takes the name of a child."""
        name = (resource.kind, "ct-east")
        if replace and name in self.cluster.objects:
            self.cluster.drop(*name)
        if name not in self.cluster.objects:
            metadata = {"name": "ct-east", "namespace": "rad", "uid": f"theirs-{next(self.uids)}"}
            self.cluster.put({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": {"theirs": 1}})
            self.foreign[name] = self.cluster.objects[name]

    # The cluster

    @rule()
    def collect(self) -> None:
        """The garbage collector takes what an adapter that is gone has left."""
        adapter = self.cluster.objects.get(ADAPTER_REF)
        for name, found in list(self.cluster.objects.items()):
            if controlling(found) and not (adapter and is_ours(found, adapter["metadata"]["uid"])):
                self.cluster.drop(*name)

    @rule()
    def roll_out(self) -> None:
        found = copy.deepcopy(self.cluster.objects.get(("Deployment", "ct-east")))
        if found and (count := found.get("spec", {}).get("replicas")) is not None and ("Deployment", "ct-east") not in self.foreign:
            names = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
            found["status"] = {"observedGeneration": 1, **dict.fromkeys(names, count)}
            self.cluster.put(found)

    # What reaches us

    @rule(data=st.data())
    @precondition(lambda self: self.hear())
    def deliver(self, data: st.DataObject) -> None:
        """The oldest event of any object: a watch keeps the order of each object, and there is a watch for each kind."""
        oldest = {ref(found): index for index, (_, found) in reversed(list(enumerate(self.pending)))}
        kind, found = self.pending.pop(data.draw(st.sampled_from(sorted(oldest.values()))))
        self.take(kind, found)

    @rule(data=st.data())
    @precondition(lambda self: self.hear())
    def lose(self, data: st.DataObject) -> None:
        self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))

    @rule()
    def list_again(self) -> None:
        """What kopf does after a 410: all that is there, and not a word of what is gone."""
        for found in list(self.cluster.objects.values()):
            self.take(None, copy.deepcopy(found))

    @rule()
    def sweep(self) -> None:
        self.runner.run(self.resync.sweep())

    # The operator

    @rule()
    def reconcile(self) -> None:
        if KEY in self.dirty:
            self.dirty.discard(KEY)
            outcome = self.runner.run(self.world.run())
            if isinstance(outcome, Retry):
                self.dirty.add(KEY)
            self.timer = isinstance(outcome, RequeueAfter) and outcome.seconds <= SOON
        assert self.cluster.trespasses == []

    @rule(at=st.integers(1, 16), after=st.booleans(), behind=st.integers(0, 12))
    def crash(self, at: int, after: bool, behind: int) -> None:
        crashing = World(self.cluster)
        crashing.start(cast(Cluster, Crashing(self.cluster, at, after=after)), self.world.cache)
        with suppress(Crash):
            self.runner.run(crashing.reconciler.process(KEY))
        self.restart(behind)

    @rule(behind=st.integers(0, 12))
    def restart(self, behind: int) -> None:
        """A new process whose view of the cluster is so many events old; the events come later."""
        self.world.start(cast(Cluster, self.cluster))
        log = logging.getLogger("test")
        self.intake = Intake(self.world.cache, self.dirty.add, lambda _: None)
        self.resync = Resync(cast(Cluster, self.cluster), self.world.cache, Watches(), (), self.dirty.add, log)
        self.pending, self.heard = [], max(0, len(self.cluster.told) - behind)
        view: dict[tuple[str, str], tuple[str, Json]] = {ref(found): (kind, found) for kind, found in self.cluster.told[: self.heard]}
        for kind, found in view.values():
            if kind != "DELETED":
                self.take(kind, found)
        self.dirty.add(KEY)

    # Quiet

    def teardown(self) -> None:
        try:
            self.settle()
            self.check()
            for name, found in list(self.cluster.objects.items()):
                if name != ADAPTER_REF and not controlling(found):
                    self.cluster.drop(*name)  # what is not ours goes, and with it the conflict
            self.foreign.clear()
            self.settle()
            self.check()
        finally:
            self.runner.close()

    def settle(self) -> None:
        self.pending.clear()
        self.heard = len(self.cluster.told)
        quiet = 0
        for _ in range(20):
            version = self.cluster.version
            self.world.now += 100.0
            self.sweep()
            if self.timer:
                self.dirty.add(KEY)
            self.reconcile()
            self.roll_out()
            self.collect()
            quiet = quiet + 1 if version == self.cluster.version and not self.dirty else 0
            if quiet == 2:  # in the first a status may have been held back
                return
        raise AssertionError(f"it does not come to rest: {self.cluster.calls}")

    def check(self) -> None:
        for name, found in self.foreign.items():
            assert self.cluster.objects[name] == found
        adapter = self.cluster.objects.get(ADAPTER_REF)
        controlled = {name: found for name, found in self.cluster.objects.items() if controlling(found)}
        if adapter is None:
            assert controlled == {}
            return
        assert adapter["status"]["observedGeneration"] == adapter["metadata"]["generation"]
        applied = self.world.condition()
        if "\\" in adapter["spec"]["aeTitle"]:
            assert applied == ("False", "InvalidSpec")
            return
        wanted = {ref(child): child for child in desired(parse(adapter), CONFIG)}
        disowned = {name for name, found in self.cluster.objects.items() if not controlling(found)} - {ADAPTER_REF}
        if wanted.keys() & disowned:
            assert applied == ("False", "NameConflict")
            return
        assert applied == ("True", "Applied")
        # What lost its labels and its place in the spec before we looked is out of our sight: the garbage collector will have it.
        assert {name for name, found in controlled.items() if found["metadata"]["labels"]} == wanted.keys()
        for name, child in wanted.items():
            assert difference(child, self.cluster.objects[name]) is None
        for name in [name for name in controlled if name not in wanted]:
            self.cluster.drop(*name)
        self.world.see()
        self.runner.run(self.world.run())
        assert self.cluster.calls == []

    def children(self) -> list[tuple[str, str]]:
        return sorted(name for name in self.cluster.objects if name != ADAPTER_REF)

    def hear(self) -> bool:
        self.pending += self.cluster.told[self.heard :]
        self.heard = len(self.cluster.told)
        return bool(self.pending)

    def take(self, kind: str | None, found: Json) -> None:
        """As the watch, which selects by labels, tells it: an object that loses its labels is gone for it."""
        resource = BY_KIND[found["kind"]]
        labels = found["metadata"].get("labels") or {}
        if resource != ADAPTER and labels.get(api.MANAGED_BY_LABEL) != api.MANAGED_BY:
            kind = None if kind == "ADDED" else kind and "DELETED"
            if kind is None:
                return
        self.intake.take(resource, {"type": kind, "object": found})

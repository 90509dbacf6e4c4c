"""A cluster in memory, our view of it, and a reconciler: for what the real API server cannot be made to do at the right moment."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from dicom_operator.api import ADAPTER, BY_KIND, OWNED, ConditionType, Json, Key, Resource
from dicom_operator.apiserver.cache import Cache, Listing
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.errors import ApiConflict, ApiNotFound
from dicom_operator.events import Recorder
from dicom_operator.metrics import Metrics
from dicom_operator.observed.objects import PodReport
from dicom_operator.reconcile import Reconciler, Tools
from dicom_operator.status.conditions import find
from dicom_operator.workqueue import Outcome
from tests.unit.operator.builders import CONFIG, body

KEY = Key("rad", "ct-east")
WHEN = datetime(2026, 11, 23, tzinfo=UTC)


class FakeCluster:
    """Objects in memory; an apply replaces the object, which suffices where only we write. What is told to watches is kept in `told`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        self.version = 100
        self.calls: list[tuple[str, str, str]] = []
        self.failures: dict[tuple[str, str], Exception] = {}
        self.events: list[Json] = []
        self.service_events: list[Json] = []
        self.told: list[tuple[str, Json]] = []
        self.made: set[str] = set()
        self.trespasses: list[tuple[str, str]] = []
        """Writes to objects that somebody else made."""

    def put(self, found: Json) -> Json:
        """Stores an object at a new resource version, unless nothing changes."""
        name = found["kind"], found["metadata"]["name"]
        if (old := self.objects.get(name)) and _unversioned(old) == _unversioned(found):
            return copy.deepcopy(old)  # an apply that changes nothing makes no new version and no event
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.objects[name] = found
        self.told.append(("ADDED" if old is None else "MODIFIED", copy.deepcopy(found)))
        return copy.deepcopy(found)

    def drop(self, kind: str, name: str) -> None:
        """Removes an object, as anybody or the garbage collector may."""
        found = self.objects.pop((kind, name))
        self.version += 1
        self.told.append(("DELETED", {**found, "metadata": {**found["metadata"], "resourceVersion": str(self.version)}}))

    def fail(self, verb: str, kind: str) -> None:
        if error := self.failures.get((verb, kind)):
            raise error

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        self.calls.append(("get", resource.kind, name))
        self.fail("get", resource.kind)
        return copy.deepcopy(self.objects.get((resource.kind, name)))

    async def events_about(self, resource: Resource, namespace: str, name: str) -> list[Json]:
        self.fail("events", resource.kind)
        return self.service_events

    async def list(self, resource: Resource, namespace: str | None, selector: str, *, cached: bool) -> Listing:
        labels = dict(part.split("=") for part in selector.split(",") if part)
        found = [
            copy.deepcopy(item)
            for (kind, _), item in self.objects.items()
            if kind == resource.kind and labels.items() <= (item["metadata"].get("labels") or {}).items()
        ]
        return Listing(found, self.version)

    async def versions(self, resource: Resource, namespace: str | None, selector: str) -> Listing:
        return await self.list(resource, namespace, selector, cached=True)

    async def apply(self, found: Json) -> Json:
        kind, name = found["kind"], found["metadata"]["name"]
        self.calls.append(("apply", kind, name))
        self.fail("apply", kind)
        old = self.objects.get((kind, name))
        wanted = found["metadata"].get("uid")
        if wanted and (old is None or old["metadata"]["uid"] != wanted):
            raise ApiConflict("uid mismatch", kind=kind, name=name)
        if old and old["metadata"]["uid"] not in self.made:
            self.trespasses.append((kind, name))
        new = copy.deepcopy(found)
        new["metadata"]["uid"] = old["metadata"]["uid"] if old else f"uid-{self.version}"
        self.made.add(new["metadata"]["uid"])
        new["metadata"]["generation"] = 1
        if old and "status" in old:
            new["status"] = old["status"]
        return self.put(new)

    async def replace_ports(self, found: Json) -> Json:
        self.calls.append(("replace", found["kind"], found["metadata"]["name"]))
        return self.put(copy.deepcopy(found))

    async def apply_status(self, found: Json) -> Json:
        kind, name = found["kind"], found["metadata"]["name"]
        self.calls.append(("status", kind, name))
        self.fail("status", kind)
        old = self.objects.get((kind, name))
        if old is None:
            raise ApiNotFound("no such adapter", kind=kind, name=name)
        if old["metadata"]["uid"] != found["metadata"]["uid"]:
            raise ApiConflict("uid mismatch", kind=kind, name=name)
        new = copy.deepcopy(old)
        new["status"] = copy.deepcopy(found["status"])
        return self.put(new)

    async def label(self, resource: Resource, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        self.calls.append(("label", resource.kind, name))
        self.fail("label", resource.kind)
        found = copy.deepcopy(self.objects[resource.kind, name])
        merged = {**found["metadata"]["labels"], **labels}
        found["metadata"]["labels"] = {key: value for key, value in merged.items() if value is not None}
        self.put(found)

    async def delete(self, found: Json) -> None:
        kind, name = found["kind"], found["metadata"]["name"]
        self.calls.append(("delete", kind, name))
        self.fail("delete", kind)
        old = self.objects.get((kind, name))
        if old is None or any(old["metadata"][field] != found["metadata"][field] for field in ("uid", "resourceVersion")):
            return  # gone or changed: see Cluster.delete
        self.drop(kind, name)

    async def create_event(self, found: Json) -> bool:
        self.events.append(found)
        return True

    async def patch_event(self, namespace: str, name: str, patch: Json) -> None:
        pass


def _unversioned(found: Json) -> Json:
    return {**found, "metadata": {key: value for key, value in found["metadata"].items() if key != "resourceVersion"}}


class World:
    """A cluster, our view of it, and a reconciler."""

    def __init__(self, cluster: FakeCluster | None = None, **spec: Any) -> None:
        self.cluster = FakeCluster() if cluster is None else cluster
        self.now = 1000.0
        self.time = WHEN
        self.metrics = Metrics()
        self.names: dict[str, bool | None] = {}
        self.reports: dict[str, PodReport | None] = {}
        self.start(cast(Cluster, self.cluster))
        if cluster is None:
            self.change(**spec)

    def start(self, cluster: Cluster, cache: Cache | None = None) -> None:
        """A new process: it knows nothing, or what it is given."""
        self.cache = Cache() if cache is None else cache
        log = logging.getLogger("test.world")
        log.disabled = True  # thousands of lines
        recorder = Recorder(cluster, "operator-0", lambda: WHEN, log)

        async def resolve(host: str) -> bool | None:
            return self.names.get(host)

        times = (lambda: self.time, lambda: self.now, lambda: 0.5)
        self.reconciler = Reconciler(Tools(cluster, self.cache, CONFIG, recorder, self.metrics, self.reports, resolve, *times, log))

    def change(self, **spec: Any) -> None:
        old = self.cluster.objects.get(("DicomAdapter", "ct-east"), {})
        new = body(status=old.get("status"), **spec)
        new["metadata"]["generation"] = old.get("metadata", {}).get("generation", 0) + 1
        self.cache.put(ADAPTER, self.cluster.put(new))

    def see(self) -> None:
        """The watches catch up."""
        for (kind, _), found in self.cluster.objects.items():
            self.cache.put(BY_KIND[kind], copy.deepcopy(found))
        for resource in OWNED:
            for found in list(self.cache.all(resource)):
                if (found["kind"], found["metadata"]["name"]) not in self.cluster.objects:
                    self.cache.forget(resource, "rad", found["metadata"]["name"])

    async def run(self) -> Outcome:
        self.cluster.calls.clear()
        return await self.reconciler.process(KEY)

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        return [call for call in self.cluster.calls if call[0] != "get"]

    def condition(self, kind: str = "Applied") -> tuple[str, str]:
        found = self._condition(kind)
        return found["status"], found["reason"]

    def message(self, kind: str = "Applied") -> str:
        return str(self._condition(kind)["message"])

    def _condition(self, kind: str) -> Json:
        return find(self.cluster.objects["DicomAdapter", "ct-east"]["status"], ConditionType(kind))

"""The volume claims of spools: kept when their DicomAdapter goes, taken over by the next of its name. Never deleted by us.

What is remembered here is for a label and an event: a claim outlives its adapter with or without them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dicom_operator import api, messages
from dicom_operator.api import EventReason, Json, Key
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.errors import ApiError
from dicom_operator.events import Note
from dicom_operator.observed.objects import Observed

REFUSED_AGAIN_SECONDS = 3600.0
"""How soon the next images that a store refuses are told of."""

Tell = Callable[[Json, Note], Awaitable[None]]


@dataclass(slots=True)
class Backlog:
    """What was last known of an adapter."""

    body: Json
    counts: dict[str, int]
    """Undelivered images, by claim."""


class Claims:
    """What is done about claims."""

    def __init__(self, cluster: Cluster, tell: Tell, clock: Callable[[], float], log: logging.Logger) -> None:
        self._cluster = cluster
        self._tell = tell
        self._clock = clock
        self._log = log
        self._backlogs: dict[Key, Backlog] = {}
        self._told: dict[Key, float] = {}

    def remember(self, key: Key, body: Json, observed: Observed) -> None:
        """What the pods say of their spools; a pod that says nothing has what it had."""
        before = self._backlogs.get(key)
        counts = {claim["metadata"]["name"]: 0 for claim in observed.claims}
        counts |= {name: count for name, count in (before.counts if before else {}).items() if name in counts}
        for pod in observed.pods:
            name = pod["metadata"]["name"]
            if report := observed.spool_of(name):
                counts[f"{api.SPOOL}-{name}"] = report.instances
        if any(counts.values()):
            self._backlogs[key] = Backlog(body, counts)
        else:
            self._backlogs.pop(key, None)

    async def release(self, key: Key) -> None:
        """The adapter is gone, or going: what is undelivered is told, once."""
        self._told.pop(key, None)
        backlog = self._backlogs.pop(key, None)
        if backlog is None:
            return
        names = sorted(name for name, count in backlog.counts.items() if count)
        for name in names:
            await self._label(key.namespace, name, "true")
        count = sum(backlog.counts.values())
        await self._tell(backlog.body, Note("Warning", EventReason.SPOOL_KEPT, messages.spool_kept(count, names)))

    async def adopt(self, observed: Observed) -> None:
        """The claims of an earlier adapter of this name belong to this one."""
        for claim in observed.claims:
            if api.KEPT_LABEL in (claim["metadata"].get("labels") or {}):
                await self._label(claim["metadata"]["namespace"], claim["metadata"]["name"], None)

    async def refusals(self, key: Key, body: Json, old: Json, new: Json, observed: Observed) -> None:
        """Tells of images that a store has refused for good, at most once an hour."""
        before, after = ((status.get("spool") or {}).get("failed", 0) for status in (old, new))
        if after <= before or self._clock() - self._told.get(key, -REFUSED_AGAIN_SECONDS) < REFUSED_AGAIN_SECONDS:
            return
        found = [
            (lane.failed, lane.name, pod["metadata"]["name"])
            for pod in observed.pods
            if (report := observed.spool_of(pod["metadata"]["name"]))
            for lane in report.lanes
        ]
        count, destination, pod = max(found)
        self._told[key] = self._clock()
        note = Note("Warning", EventReason.INSTANCES_REFUSED, messages.instances_refused(destination, count, pod))
        await self._tell(body, note)

    async def _label(self, namespace: str, name: str, value: str | None) -> None:
        try:
            await self._cluster.label(api.CLAIM, namespace, name, {api.KEPT_LABEL: value})
        except ApiError as error:
            self._log.warning("claim %s not labelled: %s", name, error.text)

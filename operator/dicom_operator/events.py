"""Events on a DicomAdapter or DicomExport: which ones a change of status calls for (pure), and writing them, repeats counted together."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dicom_operator import messages
from dicom_operator.api import ADAPTER, EXPORT, GROUP, ConditionType, EventReason, Json, Reason
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.errors import ApiError, ApiNotFound
from dicom_operator.status.conditions import find

COMPONENT = "dicom-operator"
REMEMBERED = 4096
LONGEST_FOREIGN = 400

WARNINGS: Mapping[str, EventReason] = {
    Reason.INVALID_SPEC: EventReason.SPEC_INVALID,
    Reason.NAME_CONFLICT: EventReason.NAME_CONFLICT,
    Reason.FORBIDDEN: EventReason.APPLY_REJECTED,
    Reason.REJECTED: EventReason.APPLY_REJECTED,
    Reason.PUBLIC_ADDRESS: EventReason.PUBLIC_ADDRESS_REFUSED,
    Reason.PROGRESS_DEADLINE_EXCEEDED: EventReason.ADAPTER_NOT_READY,
    Reason.REPLICA_FAILURE: EventReason.ADAPTER_NOT_READY,
    Reason.IMAGE_PULL_FAILED: EventReason.ADAPTER_NOT_READY,
    Reason.CRASH_LOOPING: EventReason.ADAPTER_NOT_READY,
    Reason.OUT_OF_MEMORY: EventReason.ADAPTER_NOT_READY,
    Reason.UNSCHEDULABLE: EventReason.ADAPTER_NOT_READY,
    Reason.SECRET_MISSING: EventReason.ADAPTER_NOT_READY,
    Reason.SPOOL_FAULTY: EventReason.ADAPTER_NOT_READY,
}
"""Reasons of Ready that somebody has to act on. RollingOut, AddressPending, ApplyFailed and the like pass by themselves."""


@dataclass(frozen=True, slots=True)
class Note:
    """One event to write."""

    type: Literal["Normal", "Warning"]
    reason: EventReason
    message: str


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind calls becoming ready, failing to, and going on after a pause."""

    ready: EventReason
    not_ready: EventReason
    resumed: str


WORDS: Mapping[str, Words] = {
    ADAPTER.kind: Words(EventReason.ADAPTER_READY, EventReason.ADAPTER_NOT_READY, messages.resumed()),
    EXPORT.kind: Words(EventReason.EXPORT_READY, EventReason.EXPORT_NOT_READY, messages.export.resumed()),
}
SIDES: Mapping[ConditionType, tuple[EventReason, EventReason, str]] = {
    ConditionType.STORE_REACHABLE: (EventReason.STORE_UNAVAILABLE, EventReason.STORE_RECOVERED, messages.store_recovered()),
    ConditionType.SOURCE_REACHABLE: (EventReason.SOURCE_UNAVAILABLE, EventReason.SOURCE_RECOVERED, messages.export.recovered("source")),
    ConditionType.DESTINATION_REACHABLE: (
        EventReason.DESTINATION_UNAVAILABLE,
        EventReason.DESTINATION_RECOVERED,
        messages.export.recovered("destination"),
    ),
}
"""The events of what is reached or not, and the sentence when it is again."""


def transitions(old: Json, new: Json, kind: str = ADAPTER.kind) -> list[Note]:
    """The events for a change of status: the sentence of the condition, word for word, once per transition."""
    notes = _ready(find(old, ConditionType.READY), find(new, ConditionType.READY), WORDS[kind])
    for side in SIDES:
        notes += _reached(side, find(old, side), find(new, side))
    return [*notes, *_delivering(old, new)]


def _ready(before: Json, after: Json, words: Words) -> list[Note]:
    if all(before.get(field) == after.get(field) for field in ("status", "reason", "message")):
        return []
    reason, message = after["reason"], after["message"]
    notes: list[Note] = []
    if before.get("reason") == Reason.SUSPENDED and reason != Reason.SUSPENDED:
        notes.append(Note("Normal", EventReason.RESUMED, words.resumed))
    if reason in WARNINGS:
        found = WARNINGS[reason]
        notes.append(Note("Warning", words.not_ready if found is EventReason.ADAPTER_NOT_READY else found, message))
    elif reason == Reason.SUSPENDED and before.get("reason") != Reason.SUSPENDED:
        notes.append(Note("Normal", EventReason.SUSPENDED, message))
    elif after["status"] == "True" and before.get("status") != "True":
        notes.append(Note("Normal", words.ready, message))
    return notes


def _reached(side: ConditionType, before: Json, after: Json) -> list[Note]:
    lost, found, sentence = SIDES[side]
    if not after or (before.get("status"), before.get("message")) == (after["status"], after["message"]):
        return []
    if after["status"] == "False":
        return [Note("Warning", lost, after["message"])]
    if after["status"] == "True" and before.get("status") == "False":
        return [Note("Normal", found, sentence)]
    return []


DELIVERY: Mapping[str, EventReason] = {
    Reason.BACKLOGGED: EventReason.DELIVERY_BACKLOGGED,
    Reason.SPOOL_FULL: EventReason.SPOOL_FULL,
    Reason.POISON_MESSAGES: EventReason.POISON_MESSAGES,
    Reason.RETENTION_ENDS_SOON: EventReason.RETENTION_ENDS_SOON,
}
"""Of Delivering; a spool that is faulty makes its pod unready, which is told, and a side that is down has a condition of its own."""
SIDE_DOWN = (Reason.SOURCE_DOWN, Reason.DESTINATION_DOWN)


def _delivering(old: Json, new: Json) -> list[Note]:
    before, after = find(old, ConditionType.DELIVERING), find(new, ConditionType.DELIVERING)
    if not after or (before.get("reason"), before.get("message")) == (after["reason"], after["message"]):
        return []
    if after["reason"] in DELIVERY:
        return [Note("Warning", DELIVERY[after["reason"]], after["message"])]
    if after["status"] == "True" and before.get("status") == "False" and before["reason"] not in SIDE_DOWN:
        return [Note("Normal", EventReason.DELIVERY_RECOVERED, messages.delivery_recovered())]
    return []


def last_event(events: Iterable[Json]) -> str:
    """Reason and message of what was last told of a Service by its load balancer, or "".

    A warning counts more: each new attempt of a cloud begins with a good word. The controllers of endpoints tell of pods.
    """
    told = (event for event in events if not _component(event).startswith("endpoint"))
    found = max(told, key=lambda event: (event.get("type") == "Warning", _told_at(event)), default=None)
    if found is None:
        return ""
    text = " ".join(str(found.get("message") or "").split())[:LONGEST_FOREIGN]
    return f"{found.get('reason')}: {text}"


def _component(event: Json) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


def _told_at(event: Json) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


class Recorder:
    """Writes events. The same event again is counted on the first one, so that a flapping part does not fill the list."""

    def __init__(self, cluster: Cluster, instance: str, now: Callable[[], datetime], log: logging.Logger) -> None:
        self._cluster = cluster
        self._instance = instance
        self._now = now
        self._log = log
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def record(self, adapter: Json, note: Note) -> None:
        """Writes one event. An event is a courtesy: when it cannot be written, the log says so and work goes on."""
        metadata = adapter["metadata"]
        identity = "\0".join((metadata["uid"], note.reason, note.message))
        name = f"{metadata['name']}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        count = self._counts[name] = self._counts.pop(name, 0) + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            if count == 1 and await self._cluster.create_event(self._event(adapter, note, name, stamp)):
                return
            count = self._counts[name] = max(count, 2)
            try:
                await self._cluster.patch_event(metadata["namespace"], name, {"count": count, "lastTimestamp": stamp})
            except ApiNotFound:  # the API server keeps events for an hour: this is a new one
                self._counts[name] = 1
                await self._cluster.create_event(self._event(adapter, note, name, stamp))
        except ApiError as error:
            self._counts.pop(name, None)
            self._log.warning("event %s not written: %s", note.reason, error.text)

    def _event(self, adapter: Json, note: Note, name: str, stamp: str) -> Json:
        metadata = adapter["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": adapter["apiVersion"],
                "kind": adapter["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": note.type,
            "reason": str(note.reason),
            "message": note.message[:1024],
            "source": {"component": COMPONENT},
            "reportingComponent": f"{GROUP}/{COMPONENT}",
            "reportingInstance": self._instance,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }

"""Events: on transitions only, word for word, repeats counted together."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from dicom_operator.api import EventReason
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.errors import ApiNotFound, ApiUnavailable
from dicom_operator.events import Note, Recorder, transitions
from tests.unit.operator.builders import body

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def status(status: str = "False", reason: str = "RollingOut", message: str = "m", store: tuple[str, str] | None = None) -> dict[str, Any]:
    found = [{"type": "Ready", "status": status, "reason": reason, "message": message}]
    if store:
        found.append({"type": "StoreReachable", "status": store[0], "reason": "x", "message": store[1]})
    return {"conditions": found}


READY = status("True", "Available", "ok")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, status(), []),
        (status(), READY, [("Normal", "AdapterReady", "ok")]),
        (READY, READY, []),
        (READY, status("True", "Available", "another address"), []),
        (READY, status(), []),
        (READY, status(reason="CrashLooping"), [("Warning", "AdapterNotReady", "m")]),
        (status(reason="CrashLooping"), status(reason="CrashLooping"), []),
        (status(reason="CrashLooping"), status(reason="CrashLooping", message="other"), [("Warning", "AdapterNotReady", "other")]),
        ({}, status(reason="InvalidSpec"), [("Warning", "SpecInvalid", "m")]),
        ({}, status(reason="NameConflict"), [("Warning", "NameConflict", "m")]),
        ({}, status(reason="Forbidden"), [("Warning", "ApplyRejected", "m")]),
        ({}, status(reason="Rejected"), [("Warning", "ApplyRejected", "m")]),
        ({}, status(reason="ApplyFailed"), []),
        (READY, status(reason="PublicAddress"), [("Warning", "PublicAddressRefused", "m")]),
        (READY, status(reason="Suspended"), [("Normal", "Suspended", "m")]),
        (status(reason="Suspended"), status(), [("Normal", "Resumed", "receiving goes on")]),
        (READY, {**status("True", "Available", "ok", ("False", "down"))}, [("Warning", "StoreUnavailable", "down")]),
        (status("True", "Available", "ok", ("False", "down")), status("True", "Available", "ok", ("Unknown", "?")), []),
        (
            status("True", "Available", "ok", ("False", "down")),
            status("True", "Available", "ok", ("True", "up")),
            [("Normal", "StoreRecovered", "the store can be reached again")],
        ),
        (READY, status("True", "Available", "ok", ("True", "up")), []),
    ],
)
def test_transitions(old, new, expected):
    assert [(note.type, note.reason, note.message) for note in transitions(old, new)] == expected


class Events:
    """A cluster that only takes events."""

    def __init__(self, *, exists: bool = False, fails: bool = False) -> None:
        self.created: list[dict[str, Any]] = []
        self.patched: list[tuple[str, dict[str, Any]]] = []
        self.exists = exists
        self.fails = fails
        self.expired = False

    async def create_event(self, event: dict[str, Any]) -> bool:
        if self.fails:
            raise ApiUnavailable("no answer")
        self.created.append(event)
        return not self.exists

    async def patch_event(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        if self.expired:
            raise ApiNotFound("events not found")
        self.patched.append((name, patch))


def recorder(events: Events) -> Recorder:
    return Recorder(cast(Cluster, events), "operator-0", lambda: NOW, logging.getLogger("test"))


WARNING = Note("Warning", EventReason.NAME_CONFLICT, "the sentence")


async def test_an_event_is_on_the_adapter_and_repeats_are_counted():
    events = Events()
    one = recorder(events)
    for _ in range(3):
        await one.record(body(), WARNING)
    (event,) = events.created
    assert event["involvedObject"]["uid"] == "uid-1"
    assert (event["type"], event["reason"], event["message"], event["count"]) == ("Warning", "NameConflict", "the sentence", 1)
    assert event["source"] == {"component": "dicom-operator"}
    name = event["metadata"]["name"]
    assert events.patched == [(name, {"count": count, "lastTimestamp": "2026-11-23T12:00:00Z"}) for count in (2, 3)]


async def test_after_a_restart_the_same_event_is_counted_on_the_old_one():
    events = Events(exists=True)
    await recorder(events).record(body(), WARNING)
    assert [patch["count"] for _, patch in events.patched] == [2]


async def test_an_event_that_the_api_server_has_dropped_is_written_again():
    """Events live for an hour: what happens again afterwards is a new one, not a lost one."""
    events = Events()
    one = recorder(events)
    await one.record(body(), WARNING)
    events.expired = True
    await one.record(body(), WARNING)
    assert [event["count"] for event in events.created] == [1, 1]
    events.expired = False
    await one.record(body(), WARNING)
    assert [patch["count"] for _, patch in events.patched] == [2]


async def test_an_event_that_cannot_be_written_stops_nothing(caplog):
    await recorder(Events(fails=True)).record(body(), WARNING)
    assert caplog.messages == ["event NameConflict not written: no answer"]

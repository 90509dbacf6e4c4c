"""`status.destinations`: what pods say of them, the worst of it, and what is kept while nobody says anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dicom_operator.api import Reason
from dicom_operator.observed.destinations import DestinationReport, summary
from dicom_operator.probe import parse_report
from tests.unit.operator.builders import body, pod, serving
from tests.unit.operator.test_status import build

ANSWER = {"version": 1, "ready": True, "reason": "Ready", "message": "m", "store": {"reason": "Reachable", "message": "the store answers"}}
WELL = DestinationReport("archive", Reason.REACHABLE, "the store answers")
AWAY = DestinationReport("archive", Reason.UNREACHABLE, "10.1.2.3:443 refuses connections")


def report(*destinations: Any) -> Any:
    return parse_report(json.dumps({**ANSWER, "destinations": list(destinations)}).encode())


def said(one: DestinationReport) -> dict[str, Any]:
    return {"name": one.name, "reachable": one.reachable, "reason": str(one.reason), "message": one.message}


def test_what_a_pod_says_is_read_and_what_it_does_not_know_yet_is_left_out():
    found = report(said(AWAY), {"name": "pacs", "reachable": None, "reason": "NotProbed", "message": "not yet"})
    assert found.destinations == (AWAY,)
    assert report({**said(WELL), "message": "a\nb"}).destinations[0].message == "a b"
    assert report().destinations == ()
    older = parse_report(json.dumps(ANSWER).encode())
    assert older is not None
    assert older.destinations == ()


@pytest.mark.parametrize(
    "part", [5, {"name": "a"}, {"name": 5, "reason": "Reachable", "message": ""}, {"name": "a", "reason": 1, "message": ""}]
)
def test_what_is_no_answer_of_ours_is_none(part: Any):
    assert report(part) is None


@pytest.mark.parametrize(
    ("reports", "previous", "expected"),
    [
        ([(WELL,), (AWAY,)], [], AWAY),
        ([(AWAY,), (WELL,)], [], AWAY),
        ([(WELL,), ()], [said(AWAY)], WELL),
        ([()], [said(AWAY)], AWAY),
        ([], [], None),
    ],
)
def test_the_worst_that_is_said_else_what_was_said(reports: Any, previous: Any, expected: DestinationReport | None):
    assert summary(reports, ["pacs", "archive"], previous) == ([said(expected)] if expected else [])


def test_only_what_is_configured_is_told_and_it_makes_nothing_unready():
    archive = {"name": "archive", "dicomStore": "https://archive.example/dicom-web"}
    pods, answers = [pod(uid="a")], {"a": report(said(AWAY), said(DestinationReport("old", Reason.REACHABLE, "x")))}
    status = build(body(destinations=[archive]), workload=serving(), pods=pods, reports=answers)
    assert status["destinations"] == [said(AWAY)]
    assert "destinations" not in build(body(), workload=serving(), pods=pods, reports=answers)
    broken = build(body(status={"destinations": [said(WELL)]}), workload=serving(), pods=pods, reports=answers, parsed=False)
    assert broken["destinations"] == [said(AWAY)]

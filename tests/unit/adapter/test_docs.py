"""docs/adapter.md says what the code does: its tables are compared with the code that they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from dicom_adapter.config import Config, Delivery, DicomStore, Limits
from dicom_adapter.delivery.verdict import HTTP_TABLE, Verdict, judge, no_credentials, too_late, unreachable
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import Endpoint, Obstacle, StoreUnreachable
from dicom_adapter.metrics import Metrics
from dicom_adapter.state import StoreReason
from tests.support.store import failed_json, google_error, stored_json

PAGE = (Path(__file__).parents[3] / "docs" / "adapter.md").read_text()
UID = "1.2.3"


def answered(status: int, body: str = "", content_type: str = "application/json", *, early: bool = False) -> Verdict:
    return judge(Answer(status, content_type, body.encode(), early=early), UID)


def cell(verdict: Verdict) -> str:
    return f"| `0x{verdict.status:04X}` | " + (f"`{verdict.comment}` |" if verdict.comment else "|")


OUTCOMES = {
    "names the image as stored, or answers 200, 201, 203 or 204 without a body": [
        answered(409, stored_json(UID)),
        *(answered(status) for status in (200, 201, 203, 204)),
    ],
    "names it as stored with Warning Reason B000, B006 or B007": [answered(200, stored_json(UID, warning=0xB000))],
    "names it as failed, Failure Reason A7xx, A9xx, Cxxx, 0122 or 0124": [answered(200, failed_json(UID, 0xA900))],
    "names it as failed for another reason, or for none": [answered(409, failed_json(UID, 0x0110))],
    "says that it has the image with other content": [answered(409, google_error(409, "ALREADY_EXISTS", "instance exists"))],
    "answers 202 and does not name the image": [answered(202), answered(202, stored_json("9.9"))],
    "answers a large image with success before it had all of it": [answered(200, early=True)],
    "answers 200 with a web page: a sign-in page, a wrong base URL": [answered(200, "<html>", "text/html")],
    "cannot be reached": [unreachable(StoreUnreachable(Obstacle.REFUSED, Endpoint("x", 443, "10.4.0.9")), sent=False)],
    "gives no answer in `delivery.timeoutSeconds` after the last fragment": [too_late(Delivery().timeout_seconds, sent=True)],
    "could not be asked: no credentials": [no_credentials("Secret 'gcs-key' is not usable")],
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_the_table_of_outcomes(what: str) -> None:
    for verdict in OUTCOMES[what]:
        assert f"| {what} {cell(verdict)}\n" in PAGE


def test_the_table_of_outcomes_has_no_other_row() -> None:
    rows = re.findall(r"^\| (.+?) \| `0x[0-9A-F]{4}` \| (?:`|\|)", PAGE, re.MULTILINE)
    assert rows == list(OUTCOMES)


def _codes(statuses: frozenset[int]) -> str:
    if len(statuses) == 500:
        return "any other"
    return ", ".join([str(status) for status in sorted(statuses) if status < 500] + ["5xx"] * (599 in statuses))


def test_the_table_of_http_statuses() -> None:
    rows = [f"| {_codes(row.statuses)} | `0x{row.status:04X}` | {row.meaning} |" for row in HTTP_TABLE]
    assert "\n| --- | --- | --- |\n" + "\n".join(rows) + "\n\n" in PAGE
    example = answered(403, google_error(403, "PERMISSION_DENIED", "Permission denied on the store"))
    assert f"`{example.comment}`" in PAGE


def test_limits_and_defaults() -> None:
    config, limits = Config(ae_title="A", store=DicomStore("https://x")), Limits()
    defaults = {
        "limits.maxAssociations": limits.max_associations,
        "limits.maxAssociationsPerPeer": limits.max_associations_per_peer,
        "limits.maxPDUBytes": limits.max_pdu_bytes,
        "limits.associationTimeoutSeconds": limits.association_timeout_seconds,
        "limits.dimseTimeoutSeconds": limits.dimse_timeout_seconds,
        "limits.idleTimeoutSeconds": limits.idle_timeout_seconds,
        "delivery.timeoutSeconds": config.delivery.timeout_seconds,
        "drainSeconds": config.drain_seconds,
        "terminationGracePeriodSeconds": config.termination_grace_period_seconds,
    }
    assert dict(re.findall(r"^\| `([A-Za-z.]+)` \| (\d+) \|", PAGE, re.MULTILINE)) == {key: str(value) for key, value in defaults.items()}


def test_the_table_of_what_the_probe_finds() -> None:
    table = PAGE.partition("## Is the store reachable?")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [
        str(reason) for reason in StoreReason if reason is not StoreReason.NOT_PROBED
    ]


def metric_rows() -> list[str]:
    """The table of metrics as the page must have it."""
    registry = CollectorRegistry()
    Metrics(registry, active=lambda: 0)
    found = [collector for collector in registry._collector_to_names if isinstance(collector, MetricWrapperBase)]
    suffix = {Counter: "_total", Gauge: "", Histogram: ""}
    return [
        f"| `{one._name}{suffix[type(one)]}` | {', '.join(f'`{label}`' for label in one._labelnames)} | {one._documentation} |".replace(
            "|  |", "| |"
        )
        for one in found
    ]


def test_the_table_of_metrics() -> None:
    assert "\n| --- | --- | --- |\n" + "\n".join(metric_rows()) + "\n\n" in PAGE

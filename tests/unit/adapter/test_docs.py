"""docs/adapter.md says what the code does: its tables are compared with the code that they describe."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from dicom_adapter.config import Config, Delivery, DicomStore, Limits
from dicom_adapter.delivery.verdict import TABLE, Heard, decide, row_of
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import Endpoint, Obstacle, StoreUnreachable
from dicom_adapter.metrics import Metrics
from dicom_adapter.state import StoreReason
from tests.support.store import failed_json, google_error, stored_json

PAGE = (Path(__file__).parents[3] / "docs" / "adapter.md").read_text()
UID = "1.2.3"


def heard(status: int, body: str = "", content_type: str = "application/json", *, early: bool = False) -> Heard:
    return Heard(Answer(status, content_type, body.encode(), early=early), UID)


REFUSED = StoreUnreachable(Obstacle.REFUSED, Endpoint("x", 443, "10.4.0.9"))
EXAMPLES = [  # what shows each row of the table that has no HTTP statuses, in its order
    Heard(failure=REFUSED),
    Heard(over=float(Delivery().timeout_seconds)),
    Heard(own="Secret 'gcs-key' is not usable"),
    heard(200, early=True),
    heard(409, stored_json(UID)),
    heard(200, stored_json(UID, warning=0xB000)),
    heard(409, google_error(409, "ALREADY_EXISTS", "instance exists")),
    heard(200, failed_json(UID, 0xA900)),
    heard(409, failed_json(UID, 0x0110)),
    heard(200, "<html>", "text/html"),
    heard(200),
    heard(202),
    heard(700),
]


def test_the_table_of_outcomes() -> None:
    rows = [row for row in TABLE if not row.codes]
    expected = []
    for row, example in zip(rows, EXAMPLES, strict=True):
        assert row_of(example) is row
        verdict = decide(example)
        expected.append(f"| {row.what} | `0x{verdict.status:04X}` |" + (f" `{verdict.comment}` |" if verdict.comment else " |"))
    assert "\n| --- | --- | --- |\n" + "\n".join(expected) + "\n\n" in PAGE


def _codes(codes: frozenset[int]) -> str:
    if len(codes) == 500:
        return "any other"
    return ", ".join([str(code) for code in sorted(codes) if code < 500] + ["5xx"] * (599 in codes))


def test_the_table_of_http_statuses() -> None:
    rows = [f"| {_codes(row.codes)} | `0x{row.status:04X}` | {row.what} |" for row in TABLE if row.codes]
    assert "\n| --- | --- | --- |\n" + "\n".join(rows) + "\n\n" in PAGE
    example = decide(heard(403, google_error(403, "PERMISSION_DENIED", "Permission denied on the store")))
    assert f"`{example.comment}`" in PAGE


def test_what_is_tried_again() -> None:
    retry = Delivery().retry
    assert f"after {', '.join(map(str, retry.status_codes[:-1]))} and {retry.status_codes[-1]}" in " ".join(PAGE.split())


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
        "delivery.maxConcurrentUploads": config.delivery.max_concurrent_uploads,
        "delivery.retry.maxAttempts": config.delivery.retry.max_attempts,
        "delivery.retry.initialDelayMilliseconds": config.delivery.retry.initial_delay_milliseconds,
        "delivery.retry.maxDelayMilliseconds": config.delivery.retry.max_delay_milliseconds,
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

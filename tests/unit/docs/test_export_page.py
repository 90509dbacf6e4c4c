"""docs/export.md says what the exporter does: its tables are compared with the code that they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from dicom_adapter.config import DicomStore
from dicom_adapter.export import document
from dicom_adapter.export.config import PUBSUB_URL, Delivery, ExportConfig, Peer, Source, Transcode
from dicom_adapter.export.events import TABLE, Action, Reason, Row
from dicom_adapter.export.exporter import GONE_PAUSES
from dicom_adapter.export.google_flags import GOOGLE_FLAGS, IDLE_FLAGS
from dicom_adapter.export.metrics import ExportMetrics
from dicom_adapter.export.state import Delivering

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "export.md").read_text()
MIGRATING = (ROOT / "docs" / "migrating.md").read_text().partition("\n## The export adapter\n")[2].partition("\n## ")[0]
DONE = {
    Action.ACKNOWLEDGE: "acknowledged",
    Action.WAIT: "asked again after {:g}, {:g} and {:g} s, then acknowledged".format(*GONE_PAUSES),
    Action.AGAIN: "again at once",
    Action.HOLD: "held",
    Action.SET_ASIDE: "set aside",
}
EXPORT_FLAGS = (
    "client_aet", "dicomweb_addr", "monitoring_project_id", "oauth_scopes", "peer_dicomweb_addr", "peer_dicomweb_address",
    "peer_dicomweb_stow_path", "peer_dimse_aet", "peer_dimse_ip", "peer_dimse_port", "project_id", "subscription_id",
    "use_gcp_application_default_credentials", "verbose",
)  # fmt: skip
"""Those of Google's export adapter, all of them."""


def shown(row: Row) -> str:
    return f"| {row.what} | {DONE[row.action]}{', suspect' if row.suspects else ''} | `{row.result}` |"


def test_the_table_of_events():
    assert "| --- | --- | --- |\n" + "\n".join(map(shown, TABLE)) + "\n\n" in PAGE


def test_the_reasons():
    rows = {
        name: set(re.findall(r"`(\w+)`", cell))
        for name, cell in re.findall(r"^\| `(source|destination|delivering)` \| (.+) \|$", PAGE, re.M)
    }
    assert rows["delivering"] == set(Delivering)
    assert rows["source"] | rows["destination"] == set(Reason) - {Reason.NOT_PROBED}


def test_the_table_of_metrics():
    registry = CollectorRegistry()
    ExportMetrics(registry, outstanding=lambda: 0.0, oldest_age=lambda: 0.0)
    found = [collector for collector in registry._collector_to_names if isinstance(collector, MetricWrapperBase)]
    suffix = {Counter: "_total", Gauge: "", Histogram: ""}
    rows = [
        f"| `{one._name}{suffix[type(one)]}` | {', '.join(f'`{label}`' for label in one._labelnames)} | {one._documentation} |".replace(
            "|  |", "| |"
        )
        for one in found
    ]
    assert "| --- | --- | --- |\n" + "\n".join(rows) + "\n\n" in PAGE


def test_the_defaults():
    default, delivery = ExportConfig(Source(DicomStore("")), Peer("A", "b", 1)), Delivery()
    table = dict(re.findall(r"^\| `([a-zA-Z.]+)` \| (.+?) \| .+ \|$", PAGE.partition("## The fields")[2], re.M))
    expected = {
        "callingAETitle": f"`{default.calling_ae_title}`",
        "grouping": f"`{default.grouping}`",
        "settleSeconds": str(default.settle_seconds),
        "transcode": f"`{Transcode.WHEN_REFUSED}`",
        "delivery.maxDeliveryAttempts": str(delivery.max_delivery_attempts),
        "delivery.maxOutstanding": str(delivery.max_outstanding),
        "delivery.maxConcurrentFetches": str(delivery.max_concurrent_fetches),
        "delivery.maxAssociations": str(delivery.max_associations),
        "terminationGracePeriodSeconds": str(default.termination_grace_period_seconds),
        "logLevel": f"`{default.log_level}`",
        "source.pubsub.endpoint": f"`{PUBSUB_URL}`",
    }
    assert {key: table[key] for key in expected} == expected


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S))
def test_every_document_shown_is_one(block):
    document.load(block, {}, aliases={})


def test_the_example_holds_one_too_and_its_volume_has_it():
    objects = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "examples" / "export.yaml").read_text())}
    (text,) = objects["ConfigMap"]["data"].values()
    document.load(text, {}, aliases={})
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["export", "--config=/etc/dicom-adapter/config/dicomexport.yaml"]
    assert list(objects["ConfigMap"]["data"]) == ["dicomexport.yaml"]


def test_every_flag_of_googles_export_adapter_is_in_the_table():
    table = re.findall(r"^\| (`--.+?) \| (same|changed|no effect) \| .+ \|$", MIGRATING, re.M)
    states = {flag: state for cell, state in table for flag in re.findall(r"`--(\w+)`", cell)}
    assert sorted(states) == sorted(EXPORT_FLAGS)
    assert {f"--{flag}" for flag, state in states.items() if state != "no effect"} == {flag.name for flag in GOOGLE_FLAGS}
    assert {f"--{flag}" for flag, state in states.items() if state == "no effect"} == {flag.name for flag in IDLE_FLAGS}

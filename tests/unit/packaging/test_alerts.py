"""The alerts of the chart: each has its runbook, and asks for metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from dicom_adapter.metrics import Metrics as AdapterMetrics
from dicom_operator.api import Reason
from dicom_operator.events import WARNINGS
from dicom_operator.metrics import Metrics as OperatorMetrics
from dicom_operator.observed.exporting import REACH

ROOT = Path(__file__).resolve().parents[3]
RULES = (ROOT / "charts" / "dicom-operator" / "templates" / "prometheusrule.yaml").read_text()
PAGE = (ROOT / "docs" / "operations.md").read_text()
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)


def series(*registries: CollectorRegistry) -> set[str]:
    """Names as they are queried."""
    families = [family for registry in registries for family in registry.collect()]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert():
    assert ALERTS
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == ALERTS
    assert re.findall(r'"alert" "(\w+)"', RULES) == ALERTS


def test_alerts_ask_for_metrics_that_there_are():
    asked = set(re.findall(r"\b(dicom(?:web|_operator)?_\w+)\{|\((dicom_\w+)", RULES))
    names = {name for pair in asked for name in pair if name}
    assert len(names) >= 5
    adapter = CollectorRegistry()
    AdapterMetrics(adapter, active=lambda: 0)
    assert names - series(OperatorMetrics().registry, adapter) == set()


def test_alerts_name_reasons_that_there_are():
    names = {name for found in re.findall(r'reason!?[=~]+"([^"]+)"', RULES) for name in found.split("|")}
    assert names <= set(Reason)
    assert names


def test_the_runbook_explains_every_reason_that_can_keep_an_adapter_unready():
    table = PAGE.partition("### DicomAdapterNotReady")[2].partition("\n###")[0]
    explained = set(re.findall(r"`(\w+)`(?=[, ][^|]*\|)", table)) & set(Reason)
    passing = {Reason.APPLY_FAILED, Reason.RECONCILING, Reason.ROLLING_OUT, Reason.ADDRESS_PENDING}
    assert {*WARNINGS, *passing} - {Reason.PUBLIC_ADDRESS} <= explained


def test_the_runbook_explains_every_reason_of_an_exporters_two_sides():
    text = "".join(PAGE.partition(f"### DicomExport{side}Unavailable")[2].partition("\n###")[0] for side in ("Source", "Destination"))
    assert REACH - {Reason.NOT_PROBED, Reason.REACHABLE} <= set(re.findall(r"`(\w+)`", text))

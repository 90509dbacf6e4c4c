"""docs/operator.md names the conditions, reasons, events and metrics that there are: they are API, and the page is their list."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from dicom_operator.api import ConditionType, EventReason, Reason
from dicom_operator.metrics import Metrics
from dicom_operator.status.adapter import STORE_REASONS
from dicom_operator.status.document import STALLED

PAGE = Path(__file__).parents[3] / "docs" / "operator.md"


def rows(heading: str) -> list[list[set[str]]]:
    """The words in backquotes in each cell of the first table below a heading or paragraph."""
    lines = PAGE.read_text().partition(f"\n{heading}\n")[2].splitlines()
    table = itertools.takewhile(lambda line: line.startswith("|"), itertools.dropwhile(lambda line: not line.startswith("|"), lines))
    return [[set(re.findall(r"`([A-Za-z_]+)`", cell)) for cell in line.strip("|").split("|")] for line in list(table)[2:]]


def conditions() -> dict[str, list[set[str]]]:
    return {next(iter(cells[0])): cells[1:] for cells in rows("## Conditions")}


def test_every_condition_and_every_reason_is_in_the_table():
    table = conditions()
    assert set(table) == set(ConditionType)
    assert set().union(*(cell for cells in table.values() for cell in cells)) == set(Reason)


def test_the_table_says_what_stalls_and_what_the_store_may_be():
    table = conditions()
    assert table["Stalled"][0] == STALLED | {Reason.PROGRESS_DEADLINE_EXCEEDED}
    assert table["StoreReachable"][0] | table["StoreReachable"][1] == STORE_REASONS


def test_every_event_is_in_the_table():
    assert set().union(*(cells[0] for cells in rows("## Events"))) == set(EventReason)


def test_every_metric_is_in_the_table():
    families = Metrics().registry.collect()
    names = {f"{one.name}_total" if one.type == "counter" else one.name for one in families if one.name.startswith("dicom_operator")}
    assert set().union(*(cells[0] for cells in rows("`/metrics` of the same port:"))) == names

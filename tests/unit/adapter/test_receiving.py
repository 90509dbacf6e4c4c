"""What an operator's orders mean to one pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_adapter.receiving import Orders, number_of, read
from dicom_adapter.state import Reason

BEFORE = Orders(7, 2)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "5",
        '{"generation": 8}',
        '{"generation": "8", "replicas": 0, "suspend": false}',
        '{"generation": 8, "replicas": -1, "suspend": false}',
        '{"generation": 8, "replicas": true, "suspend": false}',
        '{"generation": 8, "replicas": 0, "suspend": "no"}',
    ],
)
def test_orders_that_cannot_be_read_change_nothing(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "orders.json"
    if text is not None:
        path.write_text(text)
    assert read(path, BEFORE) == BEFORE


def test_orders_are_read(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_text('{"generation": 8, "replicas": null, "suspend": true, "more": 1}')
    assert read(path, BEFORE) == Orders(8, None, True)


@pytest.mark.parametrize(
    ("orders", "pod", "reason"),
    [
        (Orders(), "ct-east-5", None),
        (Orders(1, 2), "ct-east-1", None),
        (Orders(1, 2), "ct-east-2", Reason.LEAVING),
        (Orders(1, 0), "ct-east-0", Reason.LEAVING),
        (Orders(1, 2, suspend=True), "ct-east-2", Reason.LEAVING),
        (Orders(1, 2, suspend=True), "ct-east-1", Reason.SUSPENDED),
        (Orders(1, None, suspend=True), "ct-east-9", Reason.SUSPENDED),
        (Orders(1, 0), "ct-east-7c9d-x2b4k", None),
        (Orders(1, 0), "", None),
    ],
)
def test_who_rests(orders: Orders, pod: str, reason: Reason | None) -> None:
    found = orders.rest(number_of(pod))
    assert (found[0] if found else None) == reason

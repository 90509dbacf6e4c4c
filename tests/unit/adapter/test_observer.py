"""Events of the engine as log lines: a flood from one peer does not become a flood of lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dicom_adapter.config import Config, DicomStore, LogLevel
from dicom_adapter.dimse import AssociationSummary, Peer
from dicom_adapter.logs import configure
from dicom_adapter.metrics import Metrics
from dicom_adapter.node import Node, Surroundings
from dicom_adapter.observer import NodeObserver
from dicom_adapter.state import NodeState


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("dicom_adapter")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


def observer() -> tuple[NodeObserver, io.StringIO]:
    stream = io.StringIO()
    log = configure(stream, "json", LogLevel.INFO)
    state = NodeState(ae_title="GATE", store_url="https://x", maximum=2, active=lambda: 0)
    return NodeObserver(metrics=Metrics(CollectorRegistry(), active=lambda: 0), log=log, state=state), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def summary(number: int, outcome: Any, *operations: tuple[str, int]) -> AssociationSummary:
    return AssociationSummary(number, Peer("CT1", "GATE", "10.1.2.3", 1), outcome, "x", dict.fromkeys(operations, 1), 100, 0.5)


def test_an_association_with_images_has_its_line_always_and_one_without_shares_it_with_the_minute() -> None:
    told, stream = observer()
    for number in range(100):
        told.association_ended(summary(number, "lost"))
        told.association_ended(summary(number, "aborted"))
        told.association_ended(summary(number, "released", ("C-ECHO", 0)))
        told.association_ended(summary(number, "released", ("C-ECHO", 0), ("C-STORE", 0xA700)))
    ended = [line["message"] for line in lines(stream) if line["event"] == "AssociationEnded"]
    assert len([message for message in ended if "C-STORE A700 x 1" in message]) == 100
    assert len(ended) == 103
    assert len(lines(stream)) == 104


async def test_a_background_task_that_fails_is_told_and_one_that_is_cancelled_is_not(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = configure(stream, "json", LogLevel.INFO)
    node = Node(Config(ae_title="GATE", store=DicomStore("https://x")), Surroundings(tmp_path, "", 0), log)

    async def failing() -> None:
        raise ValueError("DOE^JOHN")

    node._start(failing())
    node._start(asyncio.sleep(60))
    await asyncio.sleep(0)
    await node._end_tasks()
    (line,) = lines(stream)
    assert line["message"].startswith("a background task failed")
    assert line["severity"] == "ERROR"
    assert line["stack_trace"].endswith("ValueError")

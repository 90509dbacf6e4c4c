"""Log lines as Cloud Logging reads them, and not more of them than people can read."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dicom_adapter.config import LogLevel
from dicom_adapter.logs import WINDOW_SECONDS, EventLog, Format, Severity, configure, timestamp
from tests.support import cloudlogging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("dicom_adapter")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before


def written(style: Format = "json", level: LogLevel = LogLevel.INFO) -> tuple[EventLog, io.StringIO]:
    stream = io.StringIO()
    return configure(stream, style, level), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object_with_severity_time_and_message() -> None:
    log, stream = written()
    log.write(Severity.WARNING, "Thing", "100 % of 'x'\nand more", peer="CT1", status=None)
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {"severity": "WARNING", "message": "100 % of 'x'\nand more", "event": "Thing", "peer": "CT1"}


def test_cloud_logging_takes_severity_time_and_message_and_searches_the_rest() -> None:
    log, stream = written(level=LogLevel.DEBUG)
    before = datetime.now(UTC)
    for severity in Severity:
        log.write(severity, "Thing", "the store answers 403 'ü'\nand more", peer="CT1", status="0124", attempts=1)
    entries = [cloudlogging.read(line) for line in stream.getvalue().splitlines()]
    assert [entry.severity for entry in entries] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert {entry.message for entry in entries} == {"the store answers 403 'ü'\nand more"}
    assert entries[0].payload == {"event": "Thing", "peer": "CT1", "status": "0124", "attempts": 1}
    assert before - timedelta(seconds=1) < entries[0].time <= datetime.now(UTC)


def test_a_line_of_another_library_and_the_longest_traceback_are_read_too() -> None:
    _, stream = written()

    def deep(depth: int) -> None:
        if depth == 0:
            raise ValueError("t0ps3cret")
        deep(depth - 1)

    def deeper(depth: int) -> None:  # by turns: Python shows the same frame three times only
        deep(0) if depth == 0 else evenly(depth - 1)

    def evenly(depth: int) -> None:
        deeper(depth)

    try:
        deeper(200)
    except ValueError:
        logging.getLogger("dicom_adapter.node").critical("a background task failed", exc_info=True)
    entry = cloudlogging.read(stream.getvalue())
    assert (entry.severity, entry.message) == ("CRITICAL", "a background task failed")
    assert entry.payload["stack_trace"].endswith("ValueError")  # what Error Reporting groups by
    assert entry.payload["logger"] == "dicom_adapter.node"


def test_text_is_for_people() -> None:
    log, stream = written("text")
    log.write(Severity.INFO, "Thing", "hello", peer="CT1")
    assert stream.getvalue().split("Z ", 1)[1] == "INFO    hello\n"


def test_the_level_counts_and_other_libraries_are_heard_from_warning_on() -> None:
    log, stream = written(level=LogLevel.WARNING)
    log.write(Severity.INFO, "Thing", "no")
    logging.getLogger("aiohttp.server").info("no")
    logging.getLogger("aiohttp.server").warning("yes")
    logging.getLogger("pynetdicom.acse").critical("no")
    logging.getLogger("pydicom").critical("no")
    assert [(line["message"], line["logger"]) for line in lines(stream)] == [("yes", "aiohttp.server")]


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_shows_frames_and_class_and_never_the_text_of_the_exception(style: Format) -> None:
    _, stream = written(style)
    try:
        raise ValueError("DOE^JOHN")
    except ValueError:
        logging.getLogger("dicom_adapter.dimse").exception("it broke")
    assert "ValueError" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    assert "DOE" not in stream.getvalue().replace('raise ValueError("DOE^JOHN")', "").replace('raise ValueError(\\"DOE^JOHN\\")', "")


def limited_log() -> tuple[EventLog, io.StringIO, list[float]]:
    clock = [0.0]
    _, stream = written()
    return EventLog(logging.getLogger("dicom_adapter"), now=lambda: clock[0]), stream, clock


def test_one_line_per_peer_event_and_minute_then_and_so_many_more() -> None:
    log, stream, clock = limited_log()
    for number in range(43):
        log.limited(Severity.WARNING, "Failed", f"failure {number}", peer="CT1", detail="A700")
    log.limited(Severity.WARNING, "Failed", "another status", peer="CT1", detail="C000")
    log.limited(Severity.WARNING, "Failed", "another peer", peer="CT2", detail="A700")
    assert [line["message"] for line in lines(stream)] == ["failure 0", "another status", "another peer"]
    clock[0] = WINDOW_SECONDS
    log.flush()
    assert [line["message"] for line in lines(stream)][3:] == ["failure 42 (and 41 more)"]
    log.limited(Severity.WARNING, "Failed", "failure 43", peer="CT1", detail="A700")
    assert len(lines(stream)) == 4
    log.flush(everything=True)
    assert [line["message"] for line in lines(stream)][4:] == ["failure 43"]


def test_after_a_quiet_minute_the_next_line_comes_at_once() -> None:
    log, stream, clock = limited_log()
    log.limited(Severity.INFO, "NoDicom", "one", peer="x")
    clock[0] = WINDOW_SECONDS
    log.limited(Severity.INFO, "NoDicom", "two", peer="x")
    assert [line["message"] for line in lines(stream)] == ["one", "two"]


def test_a_flood_of_invented_peers_shares_one_line() -> None:
    log, stream, _ = limited_log()
    for number in range(5000):
        log.limited(Severity.WARNING, "Rejected", f"{number}", peer=f"P{number}")
    assert len(lines(stream)) == 1025


def test_at_debug_nothing_is_held_back() -> None:
    log, stream = written(level=LogLevel.DEBUG)
    for _ in range(3):
        log.limited(Severity.WARNING, "Failed", "again", peer="CT1")
    assert len(lines(stream)) == 3


def test_times_are_rfc_3339_in_utc() -> None:
    assert timestamp(0.5) == "1970-01-01T00:00:00.500Z"

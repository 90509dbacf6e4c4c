"""`spec.delivery` and `spec.spool`."""

from __future__ import annotations

from dicom_adapter.config import BacklogThresholds, Delivery, Retry, Spool
from dicom_adapter.reader import Reader

_MOST_BYTES = 1 << 53  # what every JSON number can hold


def read(reader: Reader | None) -> Delivery:
    """The section, or its defaults."""
    if reader is None:
        return Delivery()
    default = Delivery()
    reader.close(
        ("timeoutSeconds", "onConflict", "retry", "maxConcurrentUploads", "maxRequestsPerMinute", "acknowledge", "backlogThresholds")
    )
    return Delivery(
        timeout_seconds=reader.integer("timeoutSeconds", default.timeout_seconds, 1, 600),
        on_conflict=reader.choice("onConflict", default.on_conflict),
        retry=_retry(reader.mapping("retry")),
        max_concurrent_uploads=reader.integer("maxConcurrentUploads", default.max_concurrent_uploads, 1, 256),
        max_requests_per_minute=reader.integer("maxRequestsPerMinute", 0, 1, 1_000_000) or None,
        acknowledge=reader.choice("acknowledge", default.acknowledge),
        backlog_thresholds=_thresholds(reader.mapping("backlogThresholds")),
    )


def _thresholds(reader: Reader | None) -> BacklogThresholds:
    default = BacklogThresholds()
    if reader is None:
        return default
    reader.close(("seconds", "instances"))
    return BacklogThresholds(
        reader.integer("seconds", default.seconds, 1, 604_800), reader.integer("instances", 0, 1, 1_000_000_000) or None
    )


def read_spool(reader: Reader | None) -> Spool:
    """`spec.spool`; its volume claim (`persistent`) is for Kubernetes."""
    if reader is None:
        return Spool()
    reader.close(("persistent", "maxBytes", "reserveBytes"))
    reserve = reader.integer("reserveBytes", -1, 0, _MOST_BYTES)
    return Spool(reader.integer("maxBytes", 0, 1, _MOST_BYTES) or None, None if reserve < 0 else reserve)


def _retry(reader: Reader | None) -> Retry:
    default = Retry()
    if reader is None:
        return default
    reader.close(("maxAttempts", "initialDelayMilliseconds", "maxDelayMilliseconds", "statusCodes"))
    initial = reader.integer("initialDelayMilliseconds", default.initial_delay_milliseconds, 10, 60_000)
    longest = reader.integer("maxDelayMilliseconds", max(initial, default.max_delay_milliseconds), 10, 300_000)
    if longest < initial:
        reader.problem("maxDelayMilliseconds", f"{longest} is less than initialDelayMilliseconds; write at least {initial}")
    codes = reader.integers("statusCodes", default.status_codes, 400, 599, 32)
    return Retry(reader.integer("maxAttempts", default.max_attempts, 1, 20), initial, longest, codes)

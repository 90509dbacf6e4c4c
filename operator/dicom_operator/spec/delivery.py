"""`delivery`: what a stored image is acknowledged on, and how the store is asked."""

from __future__ import annotations

from dicom_operator.api import Json
from dicom_operator.spec.section import Section

AFTER_SPOOL = "AfterSpool"
RETRIED = (408, 429, 500, 502, 503, 504)
"""HTTP statuses after which an upload is tried again, unless `delivery.retry.statusCodes` says others."""


def delivery(section: Section) -> Json:
    """The section with its defaults."""
    retry = section.section("retry")
    initial = retry.integer("initialDelayMilliseconds", 200, 10, 60_000)
    result: Json = {
        "acknowledge": section.choice("acknowledge", "AfterStore", AFTER_SPOOL),
        "backlogThresholds": _thresholds(section.section("backlogThresholds")),
        "timeoutSeconds": section.integer("timeoutSeconds", 20, 1, 600),
        "onConflict": section.choice("onConflict", "Fail", "Keep", "Overwrite"),
        "maxConcurrentUploads": section.integer("maxConcurrentUploads", 32, 1, 256),
        "retry": {
            "maxAttempts": retry.integer("maxAttempts", 4, 1, 20),
            "initialDelayMilliseconds": initial,
            "maxDelayMilliseconds": retry.integer("maxDelayMilliseconds", max(initial, 5000), initial, 300_000),
            "statusCodes": retry.items("statusCodes") if retry.has("statusCodes") else list(RETRIED),
        },
    }
    if section.has("maxRequestsPerMinute"):
        result["maxRequestsPerMinute"] = section.integer("maxRequestsPerMinute", 1, 1, 1_000_000)
    return result


def _thresholds(section: Section) -> Json:
    result: Json = {"seconds": section.integer("seconds", 300, 1, 604_800)}
    if section.has("instances"):
        result["instances"] = section.integer("instances", 1, 1, 1_000_000_000)
    return result

"""Prometheus metrics of an exporter, in base units; the registry is made by the caller."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from dicom_adapter.export.events import TABLE, Side

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0)
_LONG_SECONDS = (*_SECONDS[3:], 1800.0, 7200.0, 86400.0)
RESULTS = tuple(dict.fromkeys((*(row.result for row in TABLE), "dead_lettered")))


class ExportMetrics:
    """Every metric, by the names that dashboards and alerts use."""

    def __init__(self, registry: CollectorRegistry, *, outstanding: Callable[[], float], oldest_age: Callable[[], float]) -> None:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.messages = Counter(
            "dicom_export_messages", "Messages that have come to an end, and attempts that have not.", ["result"], registry=registry
        )
        for result in RESULTS:
            self.messages.labels(result)
        self.bytes = Counter("dicom_export_bytes", "Bytes of Part 10 that the destination has taken.", registry=registry)
        self.seconds = Histogram(
            "dicom_export_duration_seconds",
            "From the publication of a message to its end.",
            registry=registry,
            buckets=_LONG_SECONDS,
        )
        self.fetch_seconds = Histogram(
            "dicom_export_fetch_seconds", "From a WADO request to its image.", registry=registry, buckets=_SECONDS
        )
        self.store_seconds = Histogram(
            "dicom_export_store_seconds", "From an image to the destination's answer.", registry=registry, buckets=_SECONDS
        )
        Gauge("dicom_export_outstanding", "Messages in hand.", registry=registry).set_function(outstanding)
        Gauge(
            "dicom_export_oldest_message_age_seconds",
            "Since the publication of the oldest message in hand; 0 without one.",
            registry=registry,
        ).set_function(oldest_age)
        self.leases_expired = Counter(
            "dicom_export_lease_expired", "Messages whose deadline was over before it was moved on.", registry=registry
        )
        self.circuit_open = Gauge("dicom_export_circuit_open", "1 while a side is down.", ["side"], registry=registry)
        for side in Side:
            self.circuit_open.labels(side)
        self.associations = Counter("dicom_export_associations_opened", "Associations to the peer.", registry=registry)
        self.requests = Counter("dicomweb_requests", "HTTP requests, by HTTP status or obstacle.", ["method", "code"], registry=registry)
        self.request_seconds = Histogram(
            "dicomweb_request_duration_seconds",
            "From the request to the end of its answer.",
            ["method"],
            registry=registry,
            buckets=_SECONDS,
        )

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """A request to source, Pub/Sub or a DICOMweb destination is over."""
        self.requests.labels(method, code).inc()
        self.request_seconds.labels(method).observe(seconds)

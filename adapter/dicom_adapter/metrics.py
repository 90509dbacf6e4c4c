"""Prometheus metrics, in base units; the registry is made by the caller. Peers are no label: their AE titles are anyone's invention;
destinations are one, for the configuration names them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from dicom_adapter.state import DestinationBacklog, SpoolReason, SpoolState

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0)
_LOOK_SECONDS = 0.1


class Metrics:
    """Every metric of the adapter, by the names that dashboards and alerts use."""

    def __init__(self, registry: CollectorRegistry, *, active: Callable[[], int]) -> None:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("dicom_associations_active", "Associations that are open.", registry=registry).set_function(active)
        self.associations = Counter(
            "dicom_associations",
            "Associations, by result: accepted, rejected, and how the accepted ones ended.",
            ["result"],
            registry=registry,
        )
        self.operations = Counter("dicom_operations", "DIMSE operations answered, by status.", ["service", "status"], registry=registry)
        self.operation_seconds = Histogram(
            "dicom_operation_duration_seconds", "From the command set to the answer.", ["service"], registry=registry, buckets=_SECONDS
        )
        self.sub_operations = Counter(
            "dicom_suboperations",
            "Images of C-MOVE and C-GET, by what became of them: completed, warning, failed.",
            ["service", "outcome"],
            registry=registry,
        )
        self.commitment_reports = Counter(
            "dicom_commitment_reports", "Reports of storage commitments: delivered, delayed, given_up.", ["outcome"], registry=registry
        )
        self.received_bytes = Counter("dicom_received_bytes", "Bytes received over DIMSE.", registry=registry)
        self.contexts_refused = Counter(
            "dicom_contexts_refused", "Presentation contexts for services that are not ours.", registry=registry
        )
        self.connections_without_dicom = Counter("dicom_connections_without_dicom", "Connections that sent no DICOM.", registry=registry)
        self.requests = Counter(
            "dicomweb_requests", "Requests to the store, by HTTP status or obstacle.", ["method", "code"], registry=registry
        )
        self.request_seconds = Histogram(
            "dicomweb_request_duration_seconds",
            "From the request to the end of its answer.",
            ["method"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.retries = Counter(
            "dicom_delivery_retries", "Further attempts at an image, by what the one before came to.", ["reason"], registry=registry
        )
        self.wait_seconds = Histogram(
            "dicom_delivery_wait_seconds",
            "From an image that could be sent to its turn, wherever it goes.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.conflicts = Counter(
            "dicom_delivery_conflicts",
            "Images that the store had already: Equal, Failed, Kept, Overwritten, PutBack (the old one), Lost.",
            ["action"],
            registry=registry,
        )
        self._delivery = {
            name: Gauge(f"dicom_delivery_{name}", text, ["destination"], registry=registry)
            for name, text in {
                "permits": "Requests that may be under way together now.",
                "active": "Requests under way.",
                "waiting": "Images that wait for their turn.",
                "circuit_open": "1 while the destination has failed for so long that it is only tried.",
                "requests_per_second_limit": "The most requests a second now; +Inf when nothing limits them.",
            }.items()
        }
        self._spool_instances = Gauge(
            "dicom_spool_instances", "Images in the spool: ready to be delivered, or failed.", ["destination", "state"], registry=registry
        )
        self._spool_bytes = Gauge("dicom_spool_bytes", "Bytes that are ready to be delivered.", ["destination"], registry=registry)
        self._spool_age = Gauge(
            "dicom_spool_oldest_age_seconds", "Age of the oldest image that is ready to be delivered.", ["destination"], registry=registry
        )
        self._spool_full = Gauge("dicom_spool_full", "1 while there is no room for another image.", registry=registry)
        self._spool_faulty = Gauge("dicom_spool_faulty", "1 while the disk of the spool fails.", registry=registry)
        self.spool_delivered = Counter(
            "dicom_spool_deliveries",
            "Images that have left the spool: stored, or refused or damaged and moved to failed.",
            ["destination", "outcome"],
            registry=registry,
        )
        self.spool_seconds = Histogram(
            "dicom_spool_delivery_duration_seconds",
            "From the acknowledgement to the destination's.",
            ["destination"],
            registry=registry,
            buckets=(*_SECONDS, 3600.0, 86400.0),
        )
        self.remarks = Counter("dicomweb_unclear_answers", "Answers taken as stored whose body did not say so.", registry=registry)

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """A request to the store is over."""
        self.requests.labels(method, code).inc()
        self.request_seconds.labels(method).observe(seconds)

    def watch_spool(self, state: Callable[[], SpoolState]) -> None:
        """Where the gauges of the spool get their values. Its destinations are those that it begins with."""
        looked: tuple[float, SpoolState] = 0.0, state()

        def recent() -> SpoolState:
            """One look serves all gauges of a scrape."""
            nonlocal looked
            if time.monotonic() - looked[0] > _LOOK_SECONDS:
                looked = time.monotonic(), state()
            return looked[1]

        def of(name: str, read: Callable[[DestinationBacklog], float]) -> Callable[[], float]:
            return lambda: sum(read(one) for one in recent().destinations if one.name == name)

        for one in looked[1].destinations:
            self._spool_instances.labels(one.name, "ready").set_function(of(one.name, lambda it: it.instances))
            self._spool_instances.labels(one.name, "failed").set_function(of(one.name, lambda it: it.failed))
            self._spool_bytes.labels(one.name).set_function(of(one.name, lambda it: it.bytes))
            age = of(one.name, lambda it: 0.0 if it.oldest is None else max(0.0, time.time() - it.oldest))
            self._spool_age.labels(one.name).set_function(age)
        self._spool_full.set_function(lambda: float(recent().reason is SpoolReason.FULL))
        self._spool_faulty.set_function(lambda: float(recent().reason is SpoolReason.FAULTY))

    def watch_delivery(self, destination: str, **gauges: Callable[[], float]) -> None:
        """Where the gauges of one destination get their values: permits, active, waiting, circuit_open, requests_per_second_limit."""
        for name, value in gauges.items():
            self._delivery[name].labels(destination).set_function(value)

"""The operator's metrics. Their names are API. No label ever carries an AE title or a message (cardinality, patient data)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from dicom_operator import __version__
from dicom_operator.api import ADAPTER, EXPORT, Key

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DURATIONS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = Gauge("dicom_operator_build_info", "The running version", ["version"], registry=registry)
        build.labels(version=__version__).set(1)
        self._leader = Gauge("dicom_operator_leader", "1 while this replica works, 0 while it stands by", registry=registry)
        self._reconciles = Counter("dicom_operator_reconcile", "Reconciles by outcome", ["outcome"], registry=registry)
        self._duration = Histogram(
            "dicom_operator_reconcile_duration_seconds", "How long a reconcile takes", buckets=DURATIONS, registry=registry
        )
        self._requests = Counter(
            "dicom_operator_api_requests", "Requests to the API server; code 0 = no answer", ["verb", "resource", "code"], registry=registry
        )
        self._depth = Gauge("dicom_operator_queue_depth", "Adapters that wait for a worker", registry=registry)
        self._oldest = Gauge("dicom_operator_queue_oldest_age_seconds", "How long the oldest of them waits or runs", registry=registry)
        self._in_flight = Gauge("dicom_operator_queue_in_flight", "Adapters that are being reconciled", registry=registry)
        self._retries = Gauge("dicom_operator_queue_retries", "Reconciles that were put off after a failure", registry=registry)
        self._last_event = Gauge(
            "dicom_operator_watch_last_event_timestamp_seconds", "When a watch last told something", ["resource"], registry=registry
        )
        self._drift = Counter(
            "dicom_operator_drift_corrected", "Children that somebody else had changed or deleted", ["kind"], registry=registry
        )
        self._conditions = {
            kind: Gauge(
                f"dicom_operator_{noun}_condition",
                f"1 for the status and reason that a condition of an {noun} has",
                ["namespace", "name", "type", "status", "reason"],
                registry=registry,
            )
            for kind, noun in ((ADAPTER.kind, "adapter"), (EXPORT.kind, "export"))
        }
        self._shown: dict[Key, dict[str, tuple[str, str]]] = {}

    def watch_queue(
        self, depth: Callable[[], float], oldest: Callable[[], float], in_flight: Callable[[], float], retries: Callable[[], float]
    ) -> None:
        """Where the queue's numbers come from."""
        self._depth.set_function(depth)
        self._oldest.set_function(oldest)
        self._in_flight.set_function(in_flight)
        self._retries.set_function(retries)

    def reconciled(self, outcome: str, seconds: float) -> None:
        """A reconcile ended."""
        self._reconciles.labels(outcome=outcome).inc()
        self._duration.observe(seconds)

    def requested(self, verb: str, resource: str, code: int) -> None:
        """The API server answered."""
        self._requests.labels(verb=verb, resource=resource, code=str(code)).inc()

    def watched(self, resource: str, timestamp: float) -> None:
        """A watch told something."""
        self._last_event.labels(resource=resource).set(timestamp)

    def drift_corrected(self, kind: str) -> None:
        """A child was put right."""
        self._drift.labels(kind=kind).inc()

    def conditions(self, key: Key, conditions: Mapping[str, tuple[str, str]]) -> None:
        """The conditions of an adapter: status and reason by type. Reasons are a fixed list, so there are no more series for it."""
        old, new = self._shown.get(key, {}), dict(conditions)
        if old == new:
            return
        for kind, shown in old.items():
            if new.get(kind) != shown:
                self._conditions[key.kind].remove(key.namespace, key.name, kind, *shown)
        for kind, (status, reason) in new.items():
            self._conditions[key.kind].labels(key.namespace, key.name, kind, status, reason).set(1)
        self._shown[key] = new

    def leads(self, value: bool) -> None:
        """This replica leads, or does no longer: what it knew of the adapters is for the one that leads to tell."""
        self._leader.set(value)
        if not value:
            for key in list(self._shown):
                self.forget(key)

    def forget(self, key: Key) -> None:
        """The adapter is gone."""
        for kind, shown in self._shown.pop(key, {}).items():
            self._conditions[key.kind].remove(key.namespace, key.name, kind, *shown)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

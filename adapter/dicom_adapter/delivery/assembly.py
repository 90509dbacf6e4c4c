"""A destination's parts put together from `spec.delivery`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from dicom_adapter.config import Delivery
from dicom_adapter.delivery.conflict import ConflictObserver, Conflicts
from dicom_adapter.delivery.destination import DeliveryObserver, Destination
from dicom_adapter.delivery.gate import Gate
from dicom_adapter.delivery.governor import Bounds, Governor
from dicom_adapter.delivery.pipeline import Pipeline
from dicom_adapter.delivery.replay import Room
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.delivery.store import DicomwebTarget
from dicom_adapter.delivery.target import DEFAULT_TARGET, Content
from dicom_adapter.delivery.verdict import Verdict
from dicom_adapter.dicomweb.client import DicomwebClient


class Observer(DeliveryObserver, ConflictObserver, Protocol):
    """Whoever counts and logs."""

    def throttled(self, destination: str, rate: float) -> None:
        """A 429 has lowered its rate to so many requests a second."""


@dataclass(frozen=True, slots=True)
class Delivering:
    """The way to the store, and what of it has to be watched and ended."""

    pipeline: Pipeline
    gate: Gate
    conflicts: Conflicts
    target: DicomwebTarget


def assemble(spec: Delivery, client: DicomwebClient, *, room: Room, observer: Observer, name: str = DEFAULT_TARGET) -> Delivering:
    """Builds it, on the event loop that uses it. `room` is for copies of images, and shared by all destinations of an adapter."""
    bounds = Bounds(spec.max_concurrent_uploads, spec.max_requests_per_minute, float(spec.timeout_seconds))
    gate = Gate(Governor(bounds, now=asyncio.get_running_loop().time, throttled=lambda rate: observer.throttled(name, rate)))
    destination = Destination(client, gate, policy(spec), timeout=float(spec.timeout_seconds), observer=observer)

    async def post(copy: Content, uid: str) -> Verdict:
        """The usual attempts, with the time that a new instance has."""
        story = destination.begin(uid)
        await destination.persist(story, copy)
        return story.result

    conflicts = Conflicts(client, spec.on_conflict, room, post=post, observer=observer)
    target = DicomwebTarget(name, destination, gate, conflicts)
    return Delivering(Pipeline(destination, conflicts, room), gate, conflicts, target)


def policy(spec: Delivery) -> RetryPolicy:
    """`spec.delivery.retry`."""
    return RetryPolicy(
        attempts=spec.retry.max_attempts,
        initial_delay=spec.retry.initial_delay_milliseconds / 1000,
        maximum_delay=spec.retry.max_delay_milliseconds / 1000,
        status_codes=spec.retry.status_codes,
    )

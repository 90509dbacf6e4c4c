"""Routes: an arriving instance is looked into as far as its route needs, then it goes the way of its destinations.

One DICOMweb service gets it as without routes, a large instance while it still arrives. Several destinations, and DICOM nodes, get it when
it is whole: a copy is kept, beyond some megabytes on the disk. So is one whose route is only known far behind its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from dicom_adapter import messages
from dicom_adapter.delivery.pipeline import Delivered, EmptyDataSet, Instance, Pipeline
from dicom_adapter.delivery.reading import NotToBeDelivered, Reading
from dicom_adapter.delivery.replay import Copy, NoRoom, Room
from dicom_adapter.delivery.routing import Choice, Router
from dicom_adapter.delivery.several import Several, worst
from dicom_adapter.delivery.spooling import Spooling
from dicom_adapter.delivery.target import DEFAULT_TARGET, Whole
from dicom_adapter.delivery.verdict import not_asked

HELD = 256 << 10
"""How much is looked through in memory for the attributes of the routes; what they are in then waits on the disk."""


@dataclass(frozen=True, slots=True)
class RoutedPipeline:
    """From an arriving instance to the verdict of all its destinations. Whatever interrupts the body is raised to the caller."""

    router: Router
    pipelines: Mapping[str, Pipeline]
    several: Several
    room: Room

    async def deliver(self, instance: Instance) -> Delivered:
        """Receives and sends one instance."""
        reading = Reading(self.router, instance.meta, instance.sender)
        try:
            held = [piece async for piece in _until_decided(reading, instance.body)]
            body = _both(held, reading.passing(instance.body))
            if reading.decided:
                choice = reading.choice()
                if len(choice.destinations) == 1 and (pipeline := self.pipelines.get(choice.destinations[0])):
                    delivered = await pipeline.deliver(Instance(instance.meta, body, instance.sender))
                    return _at(choice, delivered)
            return await self._whole(reading, instance, body)
        except NotToBeDelivered as refusal:
            return Delivered(refusal.verdict, 0, 0.0)

    async def _whole(self, reading: Reading, instance: Instance, body: AsyncIterator[bytes]) -> Delivered:
        loop = asyncio.get_running_loop()
        header = instance.meta.encode()
        with Copy(self.room) as copy:
            copy.take(header)
            try:
                await copy.fill(body)
            except NoRoom:
                return Delivered(not_asked(messages.NO_ROOM), 0, 0.0)
            if copy.size == len(header):
                raise EmptyDataSet
            began = loop.time()
            ended = await self.several.deliver(Whole(instance.meta, copy), reading.choice().destinations)
            outcomes = {one.name: one.verdict.outcome for one in ended}
            return Delivered(worst(ended), max(one.attempts for one in ended), loop.time() - began, outcomes)


@dataclass(frozen=True, slots=True)
class RoutedSpooling:
    """AfterSpool: an instance is written as it comes; its destinations need to be known when it is whole."""

    router: Router
    spooling: Spooling

    async def deliver(self, instance: Instance) -> Delivered:
        """Receives and spools one instance."""
        reading = Reading(self.router, instance.meta, instance.sender)
        passing = Instance(instance.meta, reading.passing(instance.body), instance.sender)
        try:
            return await self.spooling.deliver(passing, destinations=lambda: reading.choice().destinations)
        except NotToBeDelivered as refusal:
            return Delivered(refusal.verdict, 0, 0.0)


async def _until_decided(reading: Reading, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces until the route is known, there is enough of them, or there are no more."""
    size = 0
    while not reading.decided and size < HELD:
        try:
            piece = await anext(body)
        except StopAsyncIteration:
            reading.end()
            return
        size += len(piece)
        await reading.look(piece)
        yield piece


async def _both(held: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held.reverse()
    while held:
        yield held.pop()
    async for piece in rest:
        yield piece


def _at(choice: Choice, delivered: Delivered) -> Delivered:
    (name,) = choice.destinations
    verdict = delivered.verdict
    if name != DEFAULT_TARGET and verdict.text:
        verdict = replace(verdict, text=messages.at_destination(name, verdict.text))
    return Delivered(verdict, delivered.attempts, delivered.seconds, {name: verdict.outcome})

"""An exporter between a Pub/Sub, a store and a node that are all made up, in a time that jumps."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from dicom_adapter.config import DicomStore
from dicom_adapter.dicomweb.client import InstancePath
from dicom_adapter.export import notification
from dicom_adapter.export.circuit import Circuit
from dicom_adapter.export.config import Delivery
from dicom_adapter.export.destination import Lane
from dicom_adapter.export.events import Event, Reason, Result, Side, Trouble
from dicom_adapter.export.exporter import Exporter
from dicom_adapter.export.fetch import Failed, Image
from dicom_adapter.export.pubsub import Received
from dicom_adapter.export.studies import Studies

STORE = DicomStore("https://store.example/dicom-web")
GONE = Result(Event.NOT_THERE, "404")


def path(number: int, study: int = 1) -> str:
    return f"studies/1.2.{study}/series/1.2.{study}.1/instances/1.2.{study}.1.{number}"


class FakeSource:
    """A subscription: what is put off comes again, and every delivery is counted."""

    def __init__(self, *, counts: bool = False) -> None:
        self.counts = counts
        self.waiting: list[Received] = []
        self.deliveries: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.acknowledged: list[str] = []
        self.postponed: list[tuple[str, int]] = []
        self.published: list[tuple[str, str, str]] = []
        self.publishes = True
        self.arrived = asyncio.Event()

    def add(self, *texts: str, **attributes: str) -> None:
        for text in texts:
            number = len(self.times)
            one = Received(f"m{number}", f"a{number}", text.encode(), attributes, 1.0 + number)
            self.times[one.id] = []
            self._put(one)

    def _put(self, received: Received) -> None:
        self.waiting.append(received)
        self.arrived.set()

    async def take(self, most: int) -> Sequence[Received]:
        if not self.waiting:
            self.arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.arrived.wait(), 90)
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        for one in found:
            self.deliveries[one.id] += 1
            self.times[one.id].append(asyncio.get_running_loop().time())
        return found

    def done(self, received: Received) -> None:
        self.acknowledged.append(received.id)

    def later(self, received: Received, seconds: int) -> None:
        self.postponed.append((received.id, seconds))
        asyncio.get_running_loop().call_later(max(seconds, 0.01), self._put, received)

    async def publish(self, topic: str, received: Received, why: str) -> bool:
        if self.publishes:
            self.published.append((topic, received.id, why))
        return self.publishes

    async def run(self) -> None: ...

    async def give_back(self) -> int:
        return 0


class FakeFetcher:
    """A store: every instance is there, unless `results` say something else about it, one after the other, the last for ever."""

    def __init__(self) -> None:
        self.results: dict[str, list[Result]] = {}
        self.trouble: Trouble | None = None
        self.studies: dict[str, list[InstancePath]] = {}
        self.fetches: Counter[str] = Counter()
        self.seconds = 0.0

    @contextlib.asynccontextmanager
    async def fetch(self, wanted: InstancePath) -> AsyncIterator[Image]:
        await asyncio.sleep(self.seconds)
        self.fetches[wanted.instance] += 1
        script = self.results.get(wanted.instance)
        if script:
            result = script.pop(0) if len(script) > 1 else script[0]
            if result.event is not Event.STORED:
                raise Failed(result)
        yield Image(wanted, "1.2.840.10008.5.1.4.1.1.2", wanted.instance, "1.2.840.10008.1.2.1", b"image", 0)

    async def instances(self, found: notification.Notification) -> Sequence[InstancePath]:
        if self.trouble:
            raise Failed(Result(Event.SOURCE_UNAVAILABLE, self.trouble.text, self.trouble.reason))
        return self.studies[found.study]

    async def probe(self) -> Trouble | None:
        return self.trouble


class FakeDestination:
    """A node: stores everything, unless `results` say something else about an instance, or `trouble` about all."""

    def __init__(self) -> None:
        self.results: dict[str, list[Result]] = {}
        self.trouble: Trouble | None = None
        self.answers_probes = False
        self.seconds = 0.0
        self.stored: list[str] = []
        self.sent: Counter[str] = Counter()
        self.probes: list[float] = []
        self.lanes: list[list[str]] = []

    async def send(self, image: Image) -> Result:
        await asyncio.sleep(self.seconds)
        uid = image.sop_instance_uid
        self.sent[uid] += 1
        if self.trouble:
            return Result(Event.DESTINATION_UNAVAILABLE, self.trouble.text, self.trouble.reason)
        script = self.results.get(uid)
        result = Result(Event.STORED) if not script else script.pop(0) if len(script) > 1 else script[0]
        if result.row.result == "exported":
            self.stored.append(uid)
        return result

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[Lane]:
        seen: list[str] = []
        self.lanes.append(seen)
        outer = self

        class One:
            async def send(self, image: Image) -> Result:
                result = await outer.send(image)
                seen.append(image.sop_instance_uid)
                return result

        yield One()

    async def probe(self) -> Trouble | None:
        self.probes.append(asyncio.get_running_loop().time())
        return None if self.answers_probes else self.trouble

    async def close(self) -> None: ...


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.lines: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self.kept = 0
        self.circuits: list[tuple[Side, Trouble | None]] = []

    def settled(self, result: str, published: float | None) -> None:
        self.results[result] += 1

    def fetched(self, seconds: float) -> None: ...

    def stored(self, size: int, seconds: float) -> None: ...

    def warned(self, resource: str, text: str) -> None:
        self.warnings.append(text)

    def failed(self, event: str, text: str) -> None:
        self.lines.append((event, text))

    def retained(self, count: int) -> None:
        self.kept = count


class World:
    """All of it."""

    def __init__(self, spec: Delivery | None = None, *, counts: bool = False, settle: float | None = None) -> None:
        self.source, self.store, self.node, self.notes = FakeSource(counts=counts), FakeFetcher(), FakeDestination(), Notes()

        def told(side: Side) -> Callable[[Trouble | None], None]:
            return lambda trouble: self.notes.circuits.append((side, trouble))

        self.circuits = {
            Side.SOURCE: Circuit(self.store.probe, told(Side.SOURCE), random=lambda: 1.0),
            Side.DESTINATION: Circuit(self.node.probe, told(Side.DESTINATION), random=lambda: 1.0),
        }
        self.exporter = Exporter(
            self.source,
            self.store,  # type: ignore[arg-type]
            self.node,
            read=lambda received: notification.read(received.data, received.attributes, STORE),
            spec=spec or Delivery(),
            studies=None if settle is None else lambda parked: Studies(self.node, settle=settle, lanes=2, parked=parked),
            matches=None,
            circuits=self.circuits,
            observer=self.notes,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.exporter.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.exporter.drain(0.0)
            for circuit in self.circuits.values():
                await circuit.end()

    async def until(self, condition: Callable[[], object], seconds: float = 90_000.0) -> None:
        """Waits, in the time that jumps."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 -- many places may change it
                await asyncio.sleep(0.05)

    async def settled(self, count: int) -> None:
        await self.until(lambda: len(self.source.acknowledged) >= count)


def down(reason: Reason = Reason.REFUSED) -> Trouble:
    return Trouble(reason, "the node is down")

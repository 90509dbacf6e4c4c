"""The running exporter: its parts put together, and its life from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from dicom_adapter import __version__, credentials, dimse
from dicom_adapter.config import Credentials, DicomStore
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies
from dicom_adapter.dicomweb.transport import Transport
from dicom_adapter.environment import CannotRun
from dicom_adapter.export import messages, notification
from dicom_adapter.export.circuit import Circuit
from dicom_adapter.export.config import ExportConfig, Grouping, Peer, PubSub, Transcode
from dicom_adapter.export.destination import Destination
from dicom_adapter.export.events import Side
from dicom_adapter.export.exporter import Exporter
from dicom_adapter.export.fetch import Budget, Fetcher
from dicom_adapter.export.filter import Filter
from dicom_adapter.export.ledger import Ledger
from dicom_adapter.export.metrics import ExportMetrics
from dicom_adapter.export.native import Native
from dicom_adapter.export.observer import ExportObserver
from dicom_adapter.export.peer import PeerDestination
from dicom_adapter.export.pubsub import PubSubClient, Received
from dicom_adapter.export.sources import PubSubSource, Source
from dicom_adapter.export.state import ExportState
from dicom_adapter.export.studies import Studies
from dicom_adapter.export.sweep import Reconciling, SweepSource
from dicom_adapter.export.web import WebDestination
from dicom_adapter.health import Heartbeat, application
from dicom_adapter.lifecycle import http, stop_signals, wait_for_credentials
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.state import Reason
from dicom_adapter.transform.worker import Transcoder

FLIGHT_BYTES = 256 << 20
_EXIT_MARGIN = 5.0  # seconds of the grace period that are left for the end of the process
_FLUSH_SECONDS = 5.0
_OTHER_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where an exporter runs: what is not in its configuration."""

    mounts: Path
    http_host: str
    http_port: int
    proxies: Proxies = NO_PROXIES
    ledger: str = ""


async def _no_headers() -> Mapping[str, str]:
    return {}


class ExportNode:
    """One exporter. `run` returns the exit status: 0 after a drain, 1 when a second signal cut it off."""

    def __init__(self, config: ExportConfig, surroundings: Surroundings, log: EventLog) -> None:
        self._config = config
        self._where = surroundings
        self._log = log
        self._registry = CollectorRegistry()
        self._exporter: Exporter | None = None
        target = config.destination
        self._target = f"{target.ae_title}@{target.host}:{target.port}" if isinstance(target, Peer) else target.store.url
        self._state = ExportState(
            source=config.source.store.healthcare_path or config.source.store.url,
            destination=self._target,
            waiting=lambda: self._exporter.outstanding if self._exporter else 0,
            oldest=self._oldest,
            clock=time.time,
        )
        self._metrics = ExportMetrics(
            self._registry,
            outstanding=lambda: self._exporter.outstanding if self._exporter else 0,
            oldest_age=lambda: max(0.0, time.time() - oldest) if (oldest := self._oldest()) else 0.0,
        )
        self._observer = ExportObserver(self._metrics, self._state, log, peer=self._target)
        self._signals: asyncio.Queue[int] = asyncio.Queue()

    def _oldest(self) -> float | None:
        return self._exporter.oldest if self._exporter else None

    async def run(self) -> int:
        """Works until a signal. Raises CannotRun when the HTTP port is taken."""
        heartbeat = Heartbeat(time.monotonic)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(stop_signals(self._signals))
            stack.callback(lambda: self._log.flush(everything=True))
            app = application(self._state, heartbeat, self._registry)
            await stack.enter_async_context(http(app, self._where.http_host, self._where.http_port))
            background = await stack.enter_async_context(_Background())
            background.start(heartbeat.run())
            background.start(self._flush())
            accesses = self._accesses()
            for access in accesses:
                if not await wait_for_credentials(access, self._config.namespace, self._state, self._log, self._signals):
                    return 0
            source, destination = await self._ends(stack, accesses)
            exporter = self._exporter = self._assemble(source, destination, stack)
            stack.push_async_callback(background.end)  # before any client is closed: what is being asked would take that for an outage
            work = [background.start(source.run()), background.start(exporter.run())]
            for circuit in self._circuits.values():
                background.start(circuit.check())
            self._log.write(Severity.INFO, "Ready", messages.exporting(self._state.name(Side.SOURCE), self._target))
            self._state.become(Reason.READY, messages.exporting(self._state.name(Side.SOURCE), self._target))
            stopped = background.start(self._stopped())
            await asyncio.wait((stopped, *work), return_when=asyncio.FIRST_COMPLETED)
            status = await self._drain(exporter, source, work[1])
            if not stopped.done():  # a mistake of ours: said with its stack, and a new process begins anew
                await asyncio.gather(*work)
            return status

    # -- the parts ---------------------------------------------------------------------------------

    def _accesses(self) -> list[credentials.Access]:
        """Of the source, and of a destination that has its own."""
        target = self._config.destination
        own = target.credentials if not isinstance(target, Peer) else target.tls.credentials if target.tls else None
        shown = [self._config.source.credentials, *([own] if own else ())]
        return [credentials.access(one, self._where.mounts) for one in shown]

    def _tls(self, peer: Peer, accesses: list[credentials.Access]) -> dimse.Tls | None:
        if peer.tls is None:
            return None
        own, usual = accesses[1].tls, ssl.create_default_context()
        return dimse.Tls(lambda: own.context() or usual, peer.tls.name)

    def _client(self, store: DicomStore, access: credentials.Access, spec: Credentials, connections: int) -> DicomwebClient:
        return DicomwebClient(
            store.url,
            headers=access.credentials.headers,
            tls=access.tls.context,
            observer=self._metrics,
            connections=connections,
            user_agent=f"dicom-adapter/{__version__}",
            refused=access.credentials.refused,
            proxies=credentials.proxies(spec, self._where.proxies),
        )

    async def _ends(self, stack: contextlib.AsyncExitStack, accesses: list[credentials.Access]) -> tuple[Source, Destination]:
        config = self._config
        connections = config.delivery.max_concurrent_fetches + _OTHER_CONNECTIONS
        client = self._client(config.source.store, accesses[0], config.source.credentials, connections)
        self._fetcher = Fetcher(await stack.enter_async_context(client), Budget(FLIGHT_BYTES))
        destination: Destination
        if isinstance(config.destination, Peer):
            convert = Native(await stack.enter_async_context(Transcoder())) if config.transcode is Transcode.WHEN_REFUSED else None
            destination = PeerDestination(
                dimse.PeerAddress(config.destination.ae_title, config.destination.host, config.destination.port),
                calling_ae_title=config.calling_ae_title,
                associations=config.delivery.max_associations,
                transcode=convert,
                tls=self._tls(config.destination, accesses),
                opened=self._observer.opened,
            )
        else:
            there = self._client(config.destination.store, accesses[1], config.destination.credentials, connections)
            destination = WebDestination(await stack.enter_async_context(there))
        stack.push_async_callback(destination.close)
        return await self._source(stack, accesses[0]), destination

    async def _source(self, stack: contextlib.AsyncExitStack, access: credentials.Access) -> Source:
        spec, observer = self._config.source, self._observer
        found: PubSubSource | None = None
        if spec.pubsub:
            pubsub = self._pubsub(spec.pubsub, access)
            stack.push_async_callback(pubsub.close)
            found = PubSubSource(pubsub, told=observer.subscription, described=observer.described, expired=observer.expired)
        sweep = spec.poll or spec.reconcile
        if sweep is None:
            assert found  # noqa: S101 -- the document has one of the two
            return found
        try:
            ledger = Ledger(self._where.ledger)
        except sqlite3.Error as error:
            raise CannotRun(messages.no_ledger(self._where.ledger)) from error
        swept = SweepSource(
            self._fetcher, sweep, ledger, told=observer.subscription if found is None else observer.swept, adopts=found is not None
        )
        return swept if found is None else Reconciling(found, swept, ledger, self._instance_of)

    def _read(self, received: Received) -> notification.Notification:
        return notification.read(received.data, received.attributes, self._config.source.store)

    def _instance_of(self, received: Received) -> str:
        try:
            return self._read(received).instance
        except notification.Unreadable:
            return ""

    def _pubsub(self, spec: PubSub, access: credentials.Access) -> PubSubClient:
        transport = Transport(
            spec.url,
            headers=access.credentials.headers if spec.ours else _no_headers,
            refused=access.credentials.refused if spec.ours else None,
            tls=access.tls.context,
            observer=self._metrics,
            connections=8,
            user_agent=f"dicom-adapter/{__version__}",
            proxies=credentials.proxies(self._config.source.credentials, self._where.proxies),
        )
        return PubSubClient(transport, spec.subscription)

    def _assemble(self, source: Source, destination: Destination, stack: contextlib.AsyncExitStack) -> Exporter:
        config, observer = self._config, self._observer
        self._circuits = circuits = {
            Side.SOURCE: Circuit(self._fetcher.probe, lambda trouble: observer.circuit(Side.SOURCE, trouble)),
            Side.DESTINATION: Circuit(destination.probe, lambda trouble: observer.circuit(Side.DESTINATION, trouble)),
        }
        for circuit in circuits.values():
            stack.push_async_callback(circuit.end)

        def studies(parked: Callable[[int], None]) -> Studies:
            return Studies(destination, settle=float(config.settle_seconds), lanes=config.delivery.max_associations, parked=parked)

        return Exporter(
            source,
            self._fetcher,
            destination,
            read=self._read,
            spec=config.delivery,
            studies=studies if config.grouping is Grouping.STUDY else None,
            matches=Filter(config.filter) if config.filter else None,
            circuits=circuits,
            observer=observer,
        )

    # -- start and end -----------------------------------------------------------------------------

    async def _stopped(self) -> None:
        await self._signals.get()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self._log.flush()

    async def _drain(self, exporter: Exporter, source: Source, pulling: asyncio.Task[None]) -> int:
        self._state.become(Reason.DRAINING, "the adapter is shutting down: it finishes the images that are on their way")
        self._log.write(Severity.INFO, "Draining", self._state.message)
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)
        deadline = asyncio.get_running_loop().time() + self._config.termination_grace_period_seconds - 2 * _EXIT_MARGIN
        drained = asyncio.create_task(exporter.drain(deadline))
        second = asyncio.create_task(self._signals.get())
        await asyncio.wait((drained, second), return_when=asyncio.FIRST_COMPLETED)
        cut_off = not drained.done()
        if cut_off:
            drained.cancel()
            await asyncio.gather(drained, return_exceptions=True)
            await exporter.drain(0.0)
        second.cancel()
        rest = await source.give_back()
        self._log.write(Severity.WARNING if cut_off else Severity.INFO, "Drained", messages.drained(rest))
        return int(cut_off)


class _Background:
    """Tasks that run until the end of the block."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> _Background:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def end(self) -> None:
        """Ends all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

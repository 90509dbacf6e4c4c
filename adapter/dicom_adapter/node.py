"""The running adapter: its parts put together, and its life from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from dicom_adapter import __version__, credentials, destinations, dimse, messages, spooler
from dicom_adapter.config import Acknowledge, Config
from dicom_adapter.delivery import assembly
from dicom_adapter.delivery.pipeline import Delivered
from dicom_adapter.delivery.replay import Room
from dicom_adapter.delivery.target import DEFAULT_TARGET, Target
from dicom_adapter.delivery.verdict import Outcome
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies
from dicom_adapter.environment import SPOOL_DIRECTORY, TEMPORARY_DIRECTORY, CannotRun
from dicom_adapter.health import Heartbeat, application
from dicom_adapter.lifecycle import http, stop_signals, wait_for_credentials, why
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.metrics import Metrics
from dicom_adapter.observer import NodeObserver
from dicom_adapter.peers import KnownPeers, dimse_services
from dicom_adapter.probe import Probe
from dicom_adapter.reach import Way
from dicom_adapter.receiving import Door, Receiving
from dicom_adapter.services.asking import Trouble
from dicom_adapter.services.assembly import CONNECTIONS, Reading, Spool, reading
from dicom_adapter.services.query.find import extend, finding
from dicom_adapter.services.store import StoreService
from dicom_adapter.state import NodeState, Reason

_log = logging.getLogger(__name__)
_EXIT_MARGIN = 5.0  # seconds of the grace period that are left for the end of the process
_FLUSH_SECONDS = 5.0
_OTHER_CONNECTIONS = 4  # beside the uploads: the probe, what is looked up after a conflict
_SETTLE_SECONDS = 4.0
Doubt = Callable[[str, bool], None]
"""Hears of a destination, by its name, that an attempt came to nothing, and whether it was told that we may not."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a node runs: what is not in its configuration."""

    mounts: Path
    http_host: str
    http_port: int
    port_flag: str = "spec.port"
    temporary_directory: str = TEMPORARY_DIRECTORY
    proxies: Proxies = NO_PROXIES
    spool_directory: str = ""  # where one is, or may be left over from; AfterSpool has one in any case
    pod_name: str = ""
    orders: str = ""


class Node:
    """One adapter. `run` returns the exit status: 0 after a drain, 1 when a second signal cut it off."""

    def __init__(self, config: Config, surroundings: Surroundings, log: EventLog) -> None:
        self._config = config
        self._where = surroundings
        self._log = log
        self._server: dimse.DimseServer | None = None
        self._registry = CollectorRegistry()
        self._state = NodeState(
            ae_title=config.ae_title, store_url=config.store.url, maximum=config.limits.max_associations, active=self._active
        )
        self._metrics = Metrics(self._registry, active=self._active)
        self._observer = NodeObserver(metrics=self._metrics, log=log, state=self._state, services=config.services)
        self._delivering: assembly.Delivering | None = None
        self._spooler: spooler.Spooler | None = None
        self._others: destinations.Destinations | None = None
        self._room = Room(surroundings.temporary_directory)
        self._signals: asyncio.Queue[int] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._receiving: asyncio.Task[None] | None = None

    def _active(self) -> int:
        return self._server.active if self._server else 0

    async def run(self) -> int:
        """Serves until a signal. Raises CannotRun when a port is taken."""
        heartbeat = Heartbeat(time.monotonic)
        app = application(self._state, heartbeat, self._registry)
        access = credentials.access(self._config.credentials, self._where.mounts)
        with stop_signals(self._signals):
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(self._end_tasks)
                await stack.enter_async_context(http(app, self._where.http_host, self._where.http_port))
                client = await stack.enter_async_context(
                    self._client(access, self._config.delivery.max_concurrent_uploads + _OTHER_CONNECTIONS)
                )
                reader = await stack.enter_async_context(self._client(access, CONNECTIONS))
                self._start(heartbeat.run())
                self._start(self._flush())
                way = Way(client, access, self._config)
                google = self._config.store.healthcare_path is not None
                probe = Probe(way, asks_for_permission=google, state=self._state, log=self._log)
                others = await stack.enter_async_context(self._destinations())
                if not await wait_for_credentials(access, self._config.namespace, self._state, self._log, self._signals):
                    return 0
                delivering = self._deliver(client)
                targets = [delivering.target, *others.targets]
                for target in targets:
                    self._watch(target)

                def doubt(destination: str, refused: bool) -> None:
                    (probe if destination == DEFAULT_TARGET else others.running[destination].probe).doubt(refused=refused)

                spool = await self._start_spool(targets, doubt, stack)
                services = await stack.enter_async_context(reading(self._config, reader, _limits(self._config), self._observer, spool))
                await self._receive(lambda: self._listen(delivering, doubt, services, others))
                stack.push_async_callback(self._end_tasks)  # before any client is closed: what a probe makes of that is no news of a store
                for one in (probe, *others.probes):
                    self._start(one.run())
                await self._signals.get()
                return await self._drain()

    # -- start -------------------------------------------------------------------------------------

    def _client(self, access: credentials.Access, connections: int) -> DicomwebClient:
        return DicomwebClient(
            self._config.store.url,
            headers=access.credentials.headers,
            tls=access.tls.context,
            observer=self._observer,
            connections=connections,
            user_agent=f"dicom-adapter/{__version__}",
            refused=access.credentials.refused,
            proxies=credentials.proxies(self._config.credentials, self._where.proxies),
        )

    @contextlib.asynccontextmanager
    async def _destinations(self) -> AsyncIterator[destinations.Destinations]:
        where = self._where
        surroundings = destinations.Surroundings(where.mounts, self._room, where.proxies, self._observer, self._log)
        async with destinations.running(self._config, surroundings) as found:
            self._state.destinations = found.states
            self._others = found
            yield found

    async def _start_spool(self, targets: Sequence[Target], doubt: Doubt, stack: contextlib.AsyncExitStack) -> Spool:
        """What is in it is delivered before anything is added, and also when nothing will be. Raises CannotRun."""
        config, where = self._config, self._where
        wanted = config.delivery.acknowledge is Acknowledge.AFTER_SPOOL
        directory = where.spool_directory or (SPOOL_DIRECTORY if wanted else "")
        if not directory:
            return Spool()
        self._spooler = spooler.build(
            config,
            spooler.Site(directory, where.pod_name, doubt),
            targets,
            metrics=self._metrics,
            log=self._log,
            state=self._state,
        )
        stack.push_async_callback(self._spooler.uploader.stop)
        await self._spooler.start()
        self._start(self._spooler.watch())
        uploader = self._spooler.uploader
        return Spool(directory, lambda: uploader.oldest(DEFAULT_TARGET))

    async def _receive(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Listens, or heeds the orders of an operator. Raises CannotRun."""
        where = self._where
        if not where.orders:
            await listen()
            return
        receiving = Receiving(Path(where.orders), where.pod_name, Door(listen, self._shut, self._active), self._state, self._log)
        await receiving.begin()
        self._receiving = self._start(receiving.run())

    async def _shut(self) -> None:
        """Ends to receive; the process goes on."""
        server, config = self._server, self._config
        assert server is not None  # noqa: S101 -- it was opened before
        deadline = asyncio.get_running_loop().time() + config.termination_grace_period_seconds
        await server.drain(accept_for=float(config.drain_seconds), deadline=deadline)
        self._server = None

    async def _listen(self, delivering: assembly.Delivering, doubt: Doubt, services: Reading, others: destinations.Destinations) -> None:
        config = self._config
        spooling = self._spooler.uploader.spooling if self._spooler and config.delivery.acknowledge is Acknowledge.AFTER_SPOOL else None

        def report(request: dimse.StoreRequest, delivered: Delivered) -> None:
            self._observer.report(request, delivered)
            for name, outcome in (delivered.outcomes or {DEFAULT_TARGET: delivered.verdict.outcome}).items():
                if spooling is None and outcome not in (Outcome.STORED, Outcome.INSTANCE_REFUSED):
                    doubt(name, outcome is Outcome.DESTINATION_UNAVAILABLE)

        def failed(found: Trouble) -> None:
            doubt(DEFAULT_TARGET, found.denied)

        service = StoreService(others.way(delivering, spooling), report)
        find = finding(config, services.client, failed)
        peers = KnownPeers(config)
        server = dimse.DimseServer(
            ae_titles=(config.ae_title, *config.accepted_ae_titles),
            handlers=services.handlers(store=service, find=find).only(dimse_services(config.services)),
            limits=_limits(config),
            observer=self._observer,
            access=peers.access,
            permit=peers.permit,
            extend=extend,
        )
        try:
            await server.start("", config.port)
        except OSError as error:
            raise CannotRun(messages.cannot_listen(self._where.port_flag, config.port, why(error))) from error
        self._server = server
        text = messages.listening(config.ae_title, server.port, config.store.url)
        self._state.become(Reason.READY, text)
        self._log.write(Severity.INFO, "Ready", text)

    def _deliver(self, client: DicomwebClient) -> assembly.Delivering:
        self._delivering = found = assembly.assemble(self._config.delivery, client, room=self._room, observer=self._observer)
        return found

    def _watch(self, target: Target) -> None:
        gate, governor = target.gate, target.gate.governor
        self._metrics.watch_delivery(
            target.name,
            permits=lambda: governor.permits,
            active=lambda: governor.active,
            waiting=lambda: gate.waiting,
            circuit_open=lambda: float(governor.open),
            requests_per_second_limit=lambda: governor.rate,
        )

    # -- end ---------------------------------------------------------------------------------------

    async def _drain(self) -> int:
        """PS3.8 knows no release by the acceptor: associations end by their requestors, or when the time is over."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
        config = self._config
        text = messages.draining(self._active())
        self._state.become(Reason.DRAINING, "the adapter is shutting down: it finishes the associations that are open")
        self._log.write(Severity.INFO, "Draining", text)
        deadline = asyncio.get_running_loop().time() + config.termination_grace_period_seconds - _EXIT_MARGIN
        if self._server is not None and not await self._drained(self._server, deadline):
            return 1
        if self._delivering:  # an overwritten image that has to be put back
            await self._delivering.conflicts.settle(_SETTLE_SECONDS)
        if self._others:
            await self._others.settle(_SETTLE_SECONDS)
        if self._spooler:
            await self._spooler.end(deadline)
        self._log.write(Severity.INFO, "Drained", messages.DRAINED)
        return 0

    async def _drained(self, server: dimse.DimseServer, deadline: float) -> bool:
        """Whether the associations ended, or a second signal cut them off."""
        drained = asyncio.create_task(server.drain(accept_for=float(self._config.drain_seconds), deadline=deadline))
        second = asyncio.create_task(self._signals.get())
        await asyncio.wait((drained, second), return_when=asyncio.FIRST_COMPLETED)
        if second.done() and not drained.done():
            self._log.write(Severity.WARNING, "Aborted", messages.cut_off(server.active))
            drained.cancel()
            server.abort()
            await asyncio.gather(drained, return_exceptions=True)
            return False
        second.cancel()
        await drained
        await server.wait_closed()
        return True

    def _start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        task.add_done_callback(_tell_of_failure)
        self._tasks.add(task)
        return task

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self._log.flush()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._log.flush(everything=True)


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    """A task that runs for ever has ended by a mistake of ours: what it kept up to date stands still from now on."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a background task failed: metrics go on, /status may be old; restart the adapter", exc_info=error)


def _limits(config: Config) -> dimse.Limits:
    limits = config.limits
    return dimse.Limits(
        max_associations=limits.max_associations,
        max_associations_per_peer=limits.max_associations_per_peer,
        max_pdu_bytes=limits.max_pdu_bytes,
        association_timeout=float(limits.association_timeout_seconds),
        dimse_timeout=float(limits.dimse_timeout_seconds),
        idle_timeout=float(limits.idle_timeout_seconds),
    )

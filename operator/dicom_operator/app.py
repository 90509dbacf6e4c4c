"""One operator process: what is started, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dicom_operator import __version__, api, health, messages
from dicom_operator.api import Key
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.cluster import KubeCluster
from dicom_operator.apiserver.connection import connect
from dicom_operator.apiserver.leases import KubeLease
from dicom_operator.apiserver.resync import Resync, Watches
from dicom_operator.apiserver.transport import Transport
from dicom_operator.apiserver.watch import Intake, build_registry, watch
from dicom_operator.config import Config
from dicom_operator.errors import ApiError, ApiForbidden, ApiNotFound, ApiUnauthorized, ApiUnavailable, StartupError
from dicom_operator.events import Recorder
from dicom_operator.leader import Alone, Elector
from dicom_operator.metrics import Metrics
from dicom_operator.probe import Prober
from dicom_operator.reconcile import Reconciler, Tools
from dicom_operator.work import Work
from dicom_operator.workqueue import WorkQueue

UNREACHABLE_SECONDS = 2.0
KOPF_SECONDS = 5.0
"""How long kopf may take to end its watches; then they are cancelled, which loses nothing."""
RESOLVED_SECONDS = 60.0


async def run(config: Config, environment: Mapping[str, str], log: logging.Logger) -> None:
    """Runs until SIGTERM or SIGINT; raises StartupError, or whatever ended a part that must not end."""
    stop = asyncio.Event()
    _take_signals(stop)
    connection = await connect(environment, time.monotonic)
    metrics = Metrics()
    queue: WorkQueue[Key] = WorkQueue(random=random.random)
    watches = Watches()
    cache = Cache()
    transport = Transport(connection, metrics.requested)
    elector = _elector(config, transport, log)
    cluster = KubeCluster(transport, elector.holds)
    resync = Resync(cluster, cache, watches, config.namespaces, queue.add, log)
    prober = Prober(lambda: cache.all(api.POD), queue.add, config.probe_seconds, time.monotonic, changes=lambda: cache.changes(api.POD))
    recorder = Recorder(cluster, config.pod_name, _utc, log)
    tools = Tools(
        cluster, cache, config, recorder, metrics, prober.reports, NameResolver().is_public, _utc, time.monotonic, random.random, log
    )
    state = health.Health(lambda: queue.stalled_for, lambda: watches.deaf)
    metrics.watch_queue(lambda: queue.depth, lambda: queue.oldest_age, lambda: queue.in_flight, lambda: queue.retries)

    def told(resource: api.Resource) -> None:
        watches.told(resource)
        metrics.watched(resource.plural, time.time())

    registry = build_registry(Intake(cache, queue.add, told), connection)
    runner = await health.serve(config.http_host, config.http_port, state, metrics)
    try:
        if not await _until(stop, _first_listings(cluster, resync, connection.server, log)):
            return
        log.info("dicom-operator %s watches %s at %s", __version__, ", ".join(config.namespaces) or "all namespaces", connection.server)
        state.ready = True
        queue.close()  # until it leads
        work = Work(queue, Reconciler(tools), prober, cache, metrics, config.workers)
        parts = Parts(
            watches=asyncio.create_task(watch(registry, config, stop, lambda: _take_signals(stop)), name="watches"),
            election=asyncio.create_task(elector.run(work.term), name="election"),
            resync=asyncio.create_task(resync.run(config.relist_seconds), name="resync"),
        )
        await _supervise(parts, stop, elector, queue, config)
    finally:
        await runner.cleanup()
        await transport.close()


def _take_signals(stop: asyncio.Event) -> None:
    """Kopf takes them too when it starts, and needs seconds to end: the Lease is given back before."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _elector(config: Config, transport: Transport, log: logging.Logger) -> Elector | Alone:
    if not config.lease:
        return Alone()
    identity = f"{config.pod_name}_{uuid.uuid4().hex[:8]}"  # a container that was restarted is another candidate: no two have one name
    return Elector(KubeLease(transport, config.operator_namespace, config.lease), identity, _utc, log)


async def _first_listings(cluster: KubeCluster, resync: Resync, server: str, log: logging.Logger) -> None:
    """Waits for the API server, checks what we need of it, and fills the cache. One line for each kind of trouble."""
    told = False
    while True:
        try:
            for resource in api.RECONCILED:
                if not await cluster.serves(resource):
                    raise StartupError(messages.crd_missing(resource.qualified))
            await resync.fill()
        except ApiUnavailable as error:
            if not told:
                log.warning("%s", messages.unreachable(server, error.text, UNREACHABLE_SECONDS, answered=error.code > 0))
                told = True
            await asyncio.sleep(UNREACHABLE_SECONDS)
            continue
        except ApiForbidden as error:
            qualified = next((kind.qualified for kind in api.WATCHED if kind.kind == error.kind), error.resource)
            raise StartupError(messages.list_forbidden(qualified, error.namespace)) from error
        except ApiUnauthorized as error:
            raise StartupError(messages.unauthorized(server)) from error
        except ApiNotFound as error:
            raise StartupError(messages.crd_missing(error.resource or api.ADAPTER.qualified)) from error
        except ApiError as error:
            raise StartupError(error.text) from error
        if told:
            log.info("%s", messages.reachable_again(server))
        return


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work ended before the process was told to."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    for one in (task, stopped):
        if not one.done():
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await one
    if task.cancelled():
        return False
    task.result()
    return True


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs at the same time."""

    watches: asyncio.Task[None]
    election: asyncio.Task[None]
    resync: asyncio.Task[None]


async def _supervise(parts: Parts, stop: asyncio.Event, elector: Elector | Alone, queue: WorkQueue[Key], config: Config) -> None:
    """Runs until it is told to end; then lets running reconciles end. Any part that ends by itself ends the process."""
    stopped = asyncio.create_task(stop.wait())
    everything = [parts.watches, parts.election, parts.resync, stopped]
    try:
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for task in everything:
            if task.done():
                task.result()  # raises what ended it
        if not stopped.done() and not parts.watches.done():  # the latter: kopf had the signal
            raise RuntimeError("a part of the operator ended by itself")
        queue.close()
        if elector.leading:  # its term ends with the queue, and it gives the Lease back
            await asyncio.wait([parts.election], timeout=config.close_seconds)
        await asyncio.wait([parts.watches], timeout=KOPF_SECONDS)
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)


@dataclass(slots=True)
class NameResolver:
    """Whether a load balancer's host name leads to a public address; remembered for a minute."""

    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, bool | None]] = field(default_factory=dict)

    async def is_public(self, host: str) -> bool | None:
        """None when the name cannot be resolved."""
        now = self.clock()
        self._known = {name: known for name, known in self._known.items() if now < known[0]}
        if host in self._known:
            return self._known[host][1]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # the latter: a name that no DNS can hold
            answer = None
        else:
            answer = any(ipaddress.ip_address(str(item[4][0]).partition("%")[0]).is_global for item in found)
        self._known[host] = (self.clock() + RESOLVED_SECONDS, answer)
        return answer


def _utc() -> datetime:
    return datetime.now(UTC)

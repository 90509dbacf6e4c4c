"""`spec.destinations` of a running adapter: the way to each, what is known of it, and where arriving instances are sent on.

A destination that is away, or whose Secret is not there, holds up nothing but what is for it: the adapter is ready without it, and /status
says what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from dicom_adapter import __version__, credentials, messages
from dicom_adapter.config import Config, DicomwebDestination, DimseDestination
from dicom_adapter.delivery import assembly
from dicom_adapter.delivery.conflict import Conflicts
from dicom_adapter.delivery.gate import Gate
from dicom_adapter.delivery.governor import Bounds, Governor
from dicom_adapter.delivery.peer import ASSOCIATIONS, PeerTarget
from dicom_adapter.delivery.peer import limits as peer_limits
from dicom_adapter.delivery.pipeline import Pipeline
from dicom_adapter.delivery.replay import Room
from dicom_adapter.delivery.routed import RoutedPipeline, RoutedSpooling
from dicom_adapter.delivery.routing import Router
from dicom_adapter.delivery.several import Several
from dicom_adapter.delivery.spooling import Spooling
from dicom_adapter.delivery.target import DEFAULT_TARGET, Target
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.proxies import Proxies
from dicom_adapter.dicomweb.transport import RequestObserver
from dicom_adapter.dimse import (
    AssociationRejected,
    ContextNotAccepted,
    DimseError,
    PeerAddress,
    Pool,
    PresentationContext,
    connect,
)
from dicom_adapter.logs import EventLog
from dicom_adapter.probe import Probe
from dicom_adapter.reach import Way
from dicom_adapter.services.store import Way as StoreWay
from dicom_adapter.state import DestinationState, StoreReason, StoreState

_VERIFICATION = PresentationContext("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))
_OTHER_CONNECTIONS = 4  # beside the uploads: the probe, what is looked up after a conflict
_IDLE_SECONDS = 5.0  # some nodes serve one association at a time, and others wait
_NOT_THEIR_NAME = {3: StoreReason.UNAUTHORIZED, 7: StoreReason.NOT_FOUND}  # PS3.8 table 9-21: the calling, the called AE title


class Observer(assembly.Observer, RequestObserver, Protocol):
    """Whoever counts and logs."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the configuration does not say."""

    mounts: Path
    room: Room
    proxies: Proxies
    observer: Observer
    log: EventLog


@dataclass(frozen=True, slots=True)
class Running:
    """One destination at work. A DICOM node has no pipeline of its own: instances are whole before they go there."""

    target: Target
    state: DestinationState
    probe: Probe
    pipeline: Pipeline | None = None
    conflicts: Conflicts | None = None


class Destinations:
    """All of them, by their names."""

    def __init__(self, config: Config, running: Mapping[str, Running], where: Surroundings) -> None:
        self._config = config
        self._where = where
        self.running = running

    @property
    def states(self) -> tuple[DestinationState, ...]:
        """What is known of each."""
        return tuple(one.state for one in self.running.values())

    @property
    def probes(self) -> tuple[Probe, ...]:
        """To be run beside the store's."""
        return tuple(one.probe for one in self.running.values())

    @property
    def targets(self) -> tuple[Target, ...]:
        """Where a spool delivers to, beside the store."""
        return tuple(one.target for one in self.running.values())

    def way(self, store: assembly.Delivering, spooling: Spooling | None) -> StoreWay:
        """Where arriving instances go: into the spool if there is one, by their routes if there are some, else straight to the store."""
        if not self._config.routes:
            return spooling or store.pipeline
        router = Router(self._config.routes, self._config.routing)
        if spooling is not None:
            return RoutedSpooling(router, spooling)
        pipelines = {name: one.pipeline for name, one in self.running.items() if one.pipeline}
        several = Several(
            {DEFAULT_TARGET: store.target, **{target.name: target for target in self.targets}},
            assembly.policy(self._config.delivery),
            timeout=float(self._config.delivery.timeout_seconds),
            retried=self._where.observer.retried,
        )
        return RoutedPipeline(router, {DEFAULT_TARGET: store.pipeline, **pipelines}, several, self._where.room)

    async def settle(self, seconds: float) -> None:
        """Waits for what must not be left half done."""
        await asyncio.gather(*(one.conflicts.settle(seconds) for one in self.running.values() if one.conflicts))


@contextlib.asynccontextmanager
async def running(config: Config, where: Surroundings) -> AsyncIterator[Destinations]:
    """The destinations for the time of the block; their probes are to be started."""
    async with contextlib.AsyncExitStack() as stack:
        found: dict[str, Running] = {}
        for index, destination in enumerate(config.destinations):
            if isinstance(destination, DicomwebDestination):
                found[destination.name] = await stack.enter_async_context(_service(destination, index, config, where))
            else:
                found[destination.name] = await stack.enter_async_context(_node(destination, config, where))
        yield Destinations(config, found, where)


@contextlib.asynccontextmanager
async def _service(destination: DicomwebDestination, index: int, config: Config, where: Surroundings) -> AsyncIterator[Running]:
    access = credentials.access(destination.credentials, where.mounts)
    client = DicomwebClient(
        destination.store.url,
        headers=access.credentials.headers,
        tls=access.tls.context,
        observer=where.observer,
        connections=config.delivery.max_concurrent_uploads + _OTHER_CONNECTIONS,
        user_agent=f"dicom-adapter/{__version__}",
        refused=access.credentials.refused,
        proxies=credentials.proxies(destination.credentials, where.proxies),
    )
    async with client:
        name = destination.name
        delivering = assembly.assemble(config.delivery, client, room=where.room, observer=where.observer, name=name)
        state = DestinationState(name, destination.store.url)
        way = Way(client, access, replace(config, store=destination.store, credentials=destination.credentials))
        probe = Probe(
            _Renamed(way, f"spec.destinations[{index}]"),
            asks_for_permission=destination.store.healthcare_path is not None,
            state=state,
            log=where.log,
            name=name,
        )
        yield Running(delivering.target, state, probe, delivering.pipeline, delivering.conflicts)


@contextlib.asynccontextmanager
async def _node(destination: DimseDestination, config: Config, where: Surroundings) -> AsyncIterator[Running]:
    seconds = float(config.delivery.timeout_seconds)
    peer = PeerAddress(destination.ae_title, destination.host, destination.port)
    pool = Pool(calling_ae_title=config.calling, limits=peer_limits(seconds), per_peer=ASSOCIATIONS, idle_seconds=_IDLE_SECONDS)
    bounds = Bounds(ASSOCIATIONS, config.delivery.max_requests_per_minute, seconds)
    gate = Gate(Governor(bounds, now=asyncio.get_running_loop().time))
    state = DestinationState(destination.name, str(peer))
    probe = Probe(_Echo(peer, config.calling), asks_for_permission=False, state=state, log=where.log, name=destination.name)
    try:
        yield Running(PeerTarget(destination.name, peer, pool, gate), state, probe)
    finally:
        await pool.close()


@dataclass(frozen=True, slots=True)
class _Renamed:
    """A way whose sentences name the fields of the destination, not those of the store."""

    way: Way
    field: str

    async def ask(self, *, write: bool) -> StoreState:
        """As the way has it."""
        found = await self.way.ask(write=write)
        message = found.message
        for name in ("dicomStore", "credentials"):
            message = message.replace(f"spec.{name}", f"{self.field}.{name}")
        return found if message == found.message else StoreState(found.reason, message)


@dataclass(frozen=True, slots=True)
class _Echo:
    """Whether a node is there, by C-ECHO; one that accepts the association and does no C-ECHO is there as well."""

    peer: PeerAddress
    calling: str
    seconds: float = 10.0

    async def ask(self, *, write: bool) -> StoreState:
        """One association."""
        reachable = StoreState(StoreReason.REACHABLE, messages.NODE_ANSWERS)
        try:
            async with await connect(
                self.peer, calling_ae_title=self.calling, contexts=[_VERIFICATION], limits=peer_limits(self.seconds)
            ) as association:
                await association.echo()
        except ContextNotAccepted:
            return reachable
        except AssociationRejected as error:
            return StoreState(
                _NOT_THEIR_NAME.get(error.reason, StoreReason.UNREACHABLE) if error.permanent else StoreReason.THROTTLED, str(error)
            )
        except DimseError as error:
            return StoreState(StoreReason.UNREACHABLE, str(error))
        return reachable

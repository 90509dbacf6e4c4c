"""kopf's part: it watches, and every event goes into the cache and wakes its adapter. The only module with kopf's decorators.

Only `on.event` handlers: any other kind would write finalizers or annotations on our objects and on the children.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from dicom_operator import api
from dicom_operator.api import Json, Key, Resource
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.connection import Connection
from dicom_operator.apiserver.resync import keys_of, selector
from dicom_operator.config import Config


@dataclass(frozen=True, slots=True)
class Intake:
    """Where events go."""

    cache: Cache
    enqueue: Callable[[Key], None]
    told: Callable[[Resource], None]

    def take(self, resource: Resource, event: Any) -> None:
        """One watch event; a change of owner wakes the old and the new one."""
        body: Json = event["object"]
        self.told(resource)
        metadata = body["metadata"]
        before = self.cache.get(resource, metadata["namespace"], metadata["name"])
        gone = event["type"] == "DELETED"
        changed = self.cache.remove(resource, body) if gone else self.cache.put(resource, body)
        if not changed:
            return
        for one in (before, body):
            if one is not None and (key := keys_of(resource, one)):
                self.enqueue(key)


def build_registry(intake: Intake, connection: Connection) -> kopf.OperatorRegistry:
    """The handlers of one operator; nothing is registered on import."""
    registry = kopf.OperatorRegistry()
    for resource in api.WATCHED:
        _watch(registry, intake, resource)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection.for_kopf(datetime.datetime.now(datetime.UTC))

    return registry


def _watch(registry: kopf.OperatorRegistry, intake: Intake, resource: Resource) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, id=resource.plural, registry=registry)
    async def handle(event: Any, **_: Any) -> None:
        intake.take(resource, event)


class NoComparison(kopf.DiffBaseStorage):
    """No state of before: kopf copies every object of every event twice to compare it, for kinds of handlers that we have not.

    That was 40 % of the operator's work while adapters are made.
    """

    def build(self, **_: Any) -> Any:
        """What there is to compare."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """What it is compared with."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept on the object."""


class NoProgress(kopf.ProgressStorage):
    """No progress of handlers: ours end at once."""

    def fetch(self, **_: Any) -> Any:
        """Nothing is under way."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept on the object."""

    def purge(self, **_: Any) -> None:
        """Nor removed."""

    def touch(self, **_: Any) -> None:
        """Nor touched."""

    def clear(self, *, essence: Any) -> Any:
        """Nor in what is compared."""
        return essence


def build_settings(config: Config) -> kopf.OperatorSettings:
    """Kopf's settings: no peering, no scanning, timeouts that keep no dead watch alive."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.posting.reporting_component = "dicom-operator"
    settings.posting.reporting_instance = config.pod_name
    settings.posting.event_name_prefix = "dicom-operator-"
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.process.ultimate_exiting_timeout = 25
    settings.persistence.diffbase_storage = NoComparison()
    settings.persistence.progress_storage = NoProgress()
    for resource in api.WATCHED:
        if found := selector(resource):
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = found
    return settings


async def watch(registry: kopf.OperatorRegistry, config: Config, stop: asyncio.Event, started: Callable[[], None]) -> None:
    """Watches until `stop` is set, which may be before it begins; raises when a watch cannot go on.

    `started` is called when kopf has set its signal handlers.
    """
    ready = asyncio.Event()
    tell = asyncio.create_task(_when(ready, started), name="started")
    try:
        await _operate(registry, config, stop, ready)
    finally:
        tell.cancel()


async def _when(event: asyncio.Event, call: Callable[[], None]) -> None:
    await event.wait()
    call()


async def _operate(registry: kopf.OperatorRegistry, config: Config, stop: asyncio.Event, ready: asyncio.Event) -> None:
    await kopf.operator(
        registry=registry,
        settings=build_settings(config),
        identity=Identity(config.pod_name),  # else kopf asks for the user's name, which a numeric user of a container has not
        clusterwide=not config.namespaces,
        namespaces=list(config.namespaces),
        stop_flag=stop,
        ready_flag=ready,
    )

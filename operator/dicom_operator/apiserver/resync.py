"""Listings beside the watches: the first one fills the cache, the later ones find what a watch missed.

kopf does not tell what vanished while a watch was interrupted (after 410 it lists again, and an absence makes no event). So every
kind is listed again and again, answered from the API server's memory, and swept against the cache. The same listing is the canary
for a watch that has gone deaf.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from dicom_operator import api, messages
from dicom_operator.api import Json, Key, Resource
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.errors import ApiError
from dicom_operator.observed.objects import owner_key

DEAF_AFTER = 2
"""Listings in a row that find what a silent watch should have told."""


def selector(resource: Resource) -> str:
    """Which objects of a kind concern us: all that users write, and of the rest what we made."""
    return "" if resource in api.RECONCILED else api.OWNED_SELECTOR


def keys_of(resource: Resource, body: Json) -> Key | None:
    """The adapter or exporter that an object is, or belongs to."""
    if resource in api.RECONCILED:
        return Key.of(resource.kind, body)
    return owner_key(body)


@dataclass(slots=True)
class Watches:
    """All watches: fed by the handlers, judged by the sweep."""

    missed_in_a_row: dict[Resource, int] = field(default_factory=lambda: dict.fromkeys(api.WATCHED, 0))

    def told(self, resource: Resource) -> None:
        """An event arrived."""
        self.missed_in_a_row[resource] = 0

    def swept(self, resource: Resource, *, missed: bool) -> None:
        """A listing was compared with the cache."""
        self.missed_in_a_row[resource] = self.missed_in_a_row[resource] + 1 if missed else 0

    @property
    def deaf(self) -> list[str]:
        """The kinds whose watch is deaf."""
        return [resource.plural for resource, missed in self.missed_in_a_row.items() if missed >= DEAF_AFTER]


class Resync:
    """Lists every kind: once before anything is reconciled, then again and again."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        watches: Watches,
        namespaces: tuple[str, ...],
        enqueue: Callable[[Key], None],
        log: logging.Logger,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._watches = watches
        self._namespaces = namespaces
        self._enqueue = enqueue
        self._log = log

    async def fill(self) -> None:
        """The first listing of every kind, read from etcd; raises the ApiError of the first that fails. It wakes nobody."""
        for resource in api.WATCHED:
            for namespace in self._namespaces or (None,):
                listing = await self._cluster.list(resource, namespace, selector(resource), cached=False)
                self._cache.replace(resource, listing, [namespace] if namespace else ())

    async def run(self, seconds: float) -> None:
        """Sweeps for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.sweep()

    async def _compare(self, resource: Resource, namespace: str | None) -> list[Json]:
        """What a listing tells that the watch had not told.

        Versions are compared first, a fraction of the work: in most minutes there is nothing to tell.
        """
        scope = [namespace] if namespace else []
        if self._cache.agrees(resource, await self._cluster.versions(resource, namespace, selector(resource)), scope):
            return []
        return self._cache.replace(resource, await self._cluster.list(resource, namespace, selector(resource), cached=True), scope)

    async def sweep(self) -> None:
        """One listing of every kind; what the watches had not told wakes its adapter."""
        for resource in api.WATCHED:
            missed = []
            try:
                for namespace in self._namespaces or (None,):
                    missed += await self._compare(resource, namespace)
            except ApiError as error:
                self._log.warning("listing of %s %s failed: %s", resource.plural, messages.where(error.namespace), error.text)
                continue
            self._watches.swept(resource, missed=bool(missed))
            for body in missed:
                if key := keys_of(resource, body):
                    self._enqueue(key)

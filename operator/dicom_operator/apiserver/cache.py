"""What the API server holds, as far as we know: fed by watches, by listings and by the answers to our own writes.

Every source may be late. The resource version decides which is newer (comparable since KEP-5504, and in fact always, with etcd
behind the API server), so a late event or a stale listing never undoes what is known already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dicom_operator.api import INSTANCE_LABEL, Json, Resource

MOST_SHARED = 8192
LONGEST_SHARED = 64

Name = tuple[str, str]
"""Namespace and name."""

Mark = str | tuple[str, str]
"""What objects are found by: the uid of their controller; or namespace and instance, as the labels say."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one resource version."""

    items: list[Json]
    resource_version: int


@dataclass(slots=True)
class _Store:
    objects: dict[Name, Json] = field(default_factory=dict)
    gone: dict[Name, int] = field(default_factory=dict)
    found_by: dict[Mark, set[Name]] = field(default_factory=dict)
    changes: int = 0


class Cache:
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self._stores: dict[Resource, _Store] = {}
        self._strings: dict[str, str] = {}
        """One of each string that many objects have."""

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """An object. It is shared: never change it."""
        return self._store(resource).objects.get((namespace, name))

    def all(self, resource: Resource) -> Iterator[Json]:
        """The objects of a kind."""
        yield from self._store(resource).objects.values()

    def changes(self, resource: Resource) -> int:
        """How often anything of a kind has changed: as long as it is the same, so is what `all` tells."""
        return self._store(resource).changes

    def controlled(self, resource: Resource, uid: str) -> Iterator[Json]:
        """The objects of a kind that something controls. It costs the same however many others there are."""
        return self._found(resource, uid)

    def labelled(self, resource: Resource, namespace: str, instance: str) -> Iterator[Json]:
        """The objects of a kind whose labels say that they are of an instance."""
        return self._found(resource, (namespace, instance))

    def _found(self, resource: Resource, mark: Mark) -> Iterator[Json]:
        store = self._store(resource)
        for name in store.found_by.get(mark, ()):
            yield store.objects[name]

    def put(self, resource: Resource, body: Json) -> bool:
        """An object as a watch, a listing or an answer tells it; False when something newer is known or nothing changed."""
        store, name, version = self._store(resource), _name(body), _version(body)
        known = store.objects.get(name)
        if version <= store.gone.get(name, -1) or (known is not None and version <= _version(known)):
            return False
        store.gone.pop(name, None)
        if known is not None:
            _unmark(store, name, known)
        store.objects[name] = self._lean(_slim(body))
        store.changes += 1
        for mark in _marks(body):
            store.found_by.setdefault(mark, set()).add(name)
        return True

    def remove(self, resource: Resource, body: Json) -> bool:
        """An object that is gone, as of its resource version; False when a newer one is there, or nothing is new."""
        store, name, version = self._store(resource), _name(body), _version(body)
        if name in store.objects:
            return self._drop(store, name, version)
        if version <= store.gone.get(name, -1):
            return False
        store.gone[name] = version  # the answer to the write that made it may still come
        return True

    def forget(self, resource: Resource, namespace: str, name: str) -> None:
        """An object that the API server, asked directly, says is not there."""
        known = self.get(resource, namespace, name)
        if known is not None:
            self._drop(self._store(resource), (namespace, name), _version(known))

    def replace(self, resource: Resource, listing: Listing, namespaces: Iterable[str] = ()) -> list[Json]:
        """A whole listing (of these namespaces, or all): returns what it tells that the watch had not told, old and new objects."""
        store, listed, missed = self._store(resource), set(), []
        for body in listing.items:
            name = _name(body)
            listed.add(name)
            known = store.objects.get(name)
            if self.put(resource, body):
                missed += [body] if known is None else [known, body]
        scope = set(namespaces)
        for name, known in list(store.objects.items()):
            if name not in listed and (not scope or name[0] in scope) and self._drop(store, name, listing.resource_version):
                missed.append(known)
        _let_go(store, listing)
        return missed

    def agrees(self, resource: Resource, listing: Listing, namespaces: Iterable[str] = ()) -> bool:
        """Whether a listing of versions tells nothing new: then it has been heeded as `replace` would have."""
        store, scope = self._store(resource), set(namespaces)
        listed = {_name(body): _version(body) for body in listing.items}
        for name, version in listed.items():
            known = store.objects.get(name)
            if version > (store.gone.get(name, -1) if known is None else _version(known)):
                return False
        for name, known in store.objects.items():
            if name not in listed and (not scope or name[0] in scope) and _version(known) <= listing.resource_version:
                return False
        _let_go(store, listing)
        return True

    def _lean(self, value: Any) -> Any:
        """The same with shared strings: each answer has been parsed into strings of its own, which would be half of what is kept."""
        if isinstance(value, dict):
            return {self._shared(key): self._lean(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._lean(item) for item in value]
        return self._shared(value) if isinstance(value, str) else value

    def _shared(self, text: str) -> str:
        if len(text) > LONGEST_SHARED or len(self._strings) >= MOST_SHARED:
            return self._strings.get(text, text)
        return self._strings.setdefault(text, text)

    def _drop(self, store: _Store, name: Name, version: int) -> bool:
        known = store.objects.get(name)
        if known is None or _version(known) > version:
            return False
        del store.objects[name]
        store.changes += 1
        _unmark(store, name, known)
        store.gone[name] = version
        return True

    def _store(self, resource: Resource) -> _Store:
        return self._stores.setdefault(resource, _Store())


def _let_go(store: _Store, listing: Listing) -> None:
    """What is gone need not be remembered once a listing is newer: no answer or event is as late as that."""
    for name, version in list(store.gone.items()):
        if version <= listing.resource_version:
            del store.gone[name]


def _marks(body: Json) -> Iterator[Mark]:
    metadata = body["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            yield owner["uid"]
    if instance := (metadata.get("labels") or {}).get(INSTANCE_LABEL):
        yield metadata["namespace"], instance


def _unmark(store: _Store, name: Name, body: Json) -> None:
    for mark in _marks(body):
        names = store.found_by[mark]
        names.discard(name)
        if not names:
            del store.found_by[mark]


def _slim(body: Json) -> Json:
    """Without `metadata.managedFields`: half of an object's size, and nothing here reads it."""
    return {**body, "metadata": {key: value for key, value in body["metadata"].items() if key != "managedFields"}}


def _name(body: Json) -> Name:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _version(body: Json) -> int:
    return int(body["metadata"]["resourceVersion"])

"""The cache believes what is newest, whichever way it came; the sweep finds what the watches lost."""

from __future__ import annotations

import itertools
import json
import logging
from typing import Any, cast

import pytest

from dicom_operator.api import ADAPTER, POD, SERVICE, WATCHED, Key, Resource
from dicom_operator.apiserver.cache import MOST_SHARED, Cache, Listing
from dicom_operator.apiserver.cluster import Cluster
from dicom_operator.apiserver.resync import Resync, Watches
from dicom_operator.apiserver.watch import Intake
from dicom_operator.errors import ApiUnavailable


def thing(name: str = "a", version: int = 1, namespace: str = "rad", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name, "resourceVersion": str(version), **metadata}}


def names(cache: Cache, resource: Resource = SERVICE) -> list[str]:
    return sorted(item["metadata"]["name"] for item in cache.all(resource))


def test_what_many_objects_have_in_common_is_kept_once():
    cache = Cache()
    for name in ("a", "b"):
        cache.put(SERVICE, json.loads(json.dumps(thing(name=name, labels={"app.kubernetes.io/name": "dicom-adapter"}))))
    one, other = (found["metadata"]["labels"] for found in cache.all(SERVICE))
    assert one is not other
    assert [id(text) for pair in one.items() for text in pair] == [id(text) for pair in other.items() for text in pair]


def test_strings_are_kept_for_a_bounded_number_of_them():
    cache = Cache()
    for number in range(MOST_SHARED + 10):
        cache.put(SERVICE, thing(name=f"a{number}"))
    assert len(cache._strings) == MOST_SHARED
    assert len(set(names(cache))) == MOST_SHARED + 10


def test_any_order_of_the_same_news_ends_the_same():
    steps = [("put", 1), ("put", 2), ("remove", 3), ("put", 4)]
    for order in itertools.permutations(steps):
        cache = Cache()
        for verb, version in order:
            getattr(cache, verb)(SERVICE, thing(version=version))
        assert [item["metadata"]["resourceVersion"] for item in cache.all(SERVICE)] == ["4"], order


def test_what_is_gone_stays_gone_for_late_news():
    cache = Cache()
    cache.put(SERVICE, thing(version=1))
    assert cache.remove(SERVICE, thing(version=3))
    assert not cache.put(SERVICE, thing(version=2))
    assert cache.replace(SERVICE, Listing([thing(version=2)], 2)) == []
    assert names(cache) == []


def test_a_deletion_that_comes_before_our_own_answer():
    """kopf tells only the last of a burst: created and deleted at once is a deletion of what we have not seen yet."""
    cache = Cache()
    assert cache.remove(SERVICE, thing(version=3))  # news: it wakes the adapter
    assert not cache.remove(SERVICE, thing(version=3))
    assert not cache.put(SERVICE, thing(version=2))
    assert names(cache) == []


def test_the_same_version_is_no_news():
    cache = Cache()
    assert cache.put(SERVICE, thing())
    assert not cache.put(SERVICE, thing())


def test_managed_fields_are_not_kept():
    cache = Cache()
    cache.put(SERVICE, thing(managedFields=[{}]))
    (kept,) = cache.all(SERVICE)
    assert "managedFields" not in kept["metadata"]


def test_a_listing_tells_what_is_new_changed_and_gone():
    cache = Cache()
    for name in ("same", "changed", "gone"):
        cache.put(SERVICE, thing(name))
    missed = cache.replace(SERVICE, Listing([thing("same"), thing("changed", 2), thing("new", 3)], 5))
    assert sorted(item["metadata"]["name"] for item in missed) == ["changed", "changed", "gone", "new"]
    assert names(cache) == ["changed", "new", "same"]


def test_a_stale_listing_undoes_nothing():
    cache = Cache()
    cache.put(SERVICE, thing("a", 10))
    assert cache.replace(SERVICE, Listing([], 5)) == []
    assert names(cache) == ["a"]


def test_a_listing_of_one_namespace_leaves_the_others():
    cache = Cache()
    cache.put(SERVICE, thing("a", namespace="one"))
    cache.put(SERVICE, thing("b", namespace="two"))
    cache.replace(SERVICE, Listing([], 5), ["one"])
    assert names(cache) == ["b"]


def owned(name: str, version: int, uid: str, instance: str) -> dict[str, Any]:
    owners = [{"uid": "somebody"}, {"uid": uid, "controller": True}]
    return thing(name, version, ownerReferences=owners, labels={"app.kubernetes.io/instance": instance})


def test_objects_are_found_by_their_controller_and_by_their_instance():
    cache = Cache()

    def found(uid: str, instance: str, namespace: str = "rad") -> tuple[list[str], list[str]]:
        lists = cache.controlled(SERVICE, uid), cache.labelled(SERVICE, namespace, instance)
        controlled, labelled = (sorted(item["metadata"]["name"] for item in one) for one in lists)
        return controlled, labelled

    cache.put(SERVICE, owned("a", 1, "one", "ct-east"))
    cache.put(SERVICE, owned("b", 2, "one", "ct-east"))
    cache.put(SERVICE, thing("c", 3))
    assert found("one", "ct-east") == (["a", "b"], ["a", "b"])
    assert found("somebody", "ct-east", "other") == ([], [])
    cache.put(SERVICE, owned("a", 4, "two", "mr-west"))  # somebody else controls it now
    assert found("one", "ct-east") == (["b"], ["b"])
    assert found("two", "mr-west") == (["a"], ["a"])
    cache.replace(SERVICE, Listing([owned("a", 4, "two", "mr-west")], 5))
    assert found("one", "ct-east") == ([], [])
    cache.remove(SERVICE, owned("a", 6, "two", "mr-west"))
    assert found("two", "mr-west") == ([], [])


def test_what_was_asked_for_and_is_not_there_is_forgotten():
    cache = Cache()
    cache.put(SERVICE, thing())
    cache.forget(SERVICE, "rad", "a")
    cache.forget(SERVICE, "rad", "never")
    assert names(cache) == []


LABELS = {"app.kubernetes.io/managed-by": "dicom-operator", "app.kubernetes.io/instance": "ct-east"}


class Lists:
    """A cluster that only lists."""

    def __init__(self) -> None:
        self.listings: dict[Any, Listing] = {}
        self.calls: list[tuple[str, str | None, str, bool]] = []
        self.whole: list[str] = []
        self.fails = False

    async def list(self, resource, namespace, selector, *, cached):
        self.whole.append(resource.plural)
        return self.listing(resource, namespace, selector, cached=cached)

    async def versions(self, resource, namespace, selector):
        return self.listing(resource, namespace, selector, cached=True)

    def listing(self, resource: Resource, namespace: str | None, selector: str, *, cached: bool) -> Listing:
        self.calls.append((resource.plural, namespace, selector, cached))
        if self.fails:
            raise ApiUnavailable("gone", namespace=namespace or "")
        return self.listings.get(resource, Listing([], 1))


@pytest.fixture
def parts():
    lists, cache, watches = Lists(), Cache(), Watches()
    woken: list[Key] = []
    resync = Resync(cast(Cluster, lists), cache, watches, (), woken.append, logging.getLogger("test"))
    return lists, cache, watches, woken, resync


async def test_the_first_listing_reads_every_kind_and_wakes_nobody(parts):
    lists, cache, _, woken, resync = parts
    lists.listings[ADAPTER] = Listing([thing("one"), thing("two")], 5)
    await resync.fill()
    assert [call[0] for call in lists.calls] == [resource.plural for resource in WATCHED]
    assert all(not cached for *_, cached in lists.calls)
    selectors = {plural: selector for plural, _, selector, _ in lists.calls}
    assert [selectors.pop(plural) for plural in ("dicomadapters", "dicomexports")] == ["", ""]
    assert set(selectors.values()) == {"app.kubernetes.io/managed-by=dicom-operator,app.kubernetes.io/name=dicom-adapter"}
    assert woken == []  # who begins to lead looks at every adapter
    assert len(list(cache.all(ADAPTER))) == 2


async def test_a_sweep_wakes_the_owner_of_what_vanished(parts):
    lists, cache, _, woken, resync = parts
    cache.put(SERVICE, thing("ct-east", labels=LABELS))
    lists.listings[SERVICE] = Listing([], 9)
    await resync.sweep()
    assert woken == [Key("rad", "ct-east")]
    woken.clear()
    await resync.sweep()
    assert woken == []


async def test_only_kinds_of_which_something_was_missed_are_listed_whole(parts):
    lists, cache, _, woken, resync = parts
    cache.put(SERVICE, thing("ct-east", 3, labels=LABELS))
    cache.put(POD, thing("new", 12, labels=LABELS))  # newer than the listing
    cache.put(POD, thing("old", 2, labels=LABELS))
    cache.remove(POD, thing("old", 4))
    lists.listings[SERVICE] = Listing([thing("ct-east", 3, labels=LABELS)], 9)
    lists.listings[POD] = Listing([thing("old", 2, labels=LABELS)], 3)  # what is gone is remembered against it
    await resync.sweep()
    assert (lists.whole, woken, names(cache, POD)) == ([], [], ["new"])
    for missed in ([thing("ct-east", 4, labels=LABELS)], [thing("ct-east", 4, labels=LABELS), thing("b", 1)], [thing("b", 1)]):
        lists.whole.clear()
        lists.listings[SERVICE] = Listing(missed, 10)
        await resync.sweep()
        assert lists.whole == ["services"]
        assert names(cache) == sorted(item["metadata"]["name"] for item in missed)


def test_what_is_gone_is_forgotten_when_a_listing_is_newer():
    cache = Cache()
    cache.remove(SERVICE, thing("a", 4))
    assert cache.agrees(SERVICE, Listing([], 3))
    assert not cache.put(SERVICE, thing("a", 4))
    assert cache.agrees(SERVICE, Listing([], 4))
    assert cache.put(SERVICE, thing("a", 4))


async def test_a_watch_that_tells_nothing_while_listings_do_is_deaf(parts):
    lists, _, watches, _, resync = parts
    for version in (1, 2):
        assert watches.deaf == []
        lists.listings[SERVICE] = Listing([thing("x", version, labels=LABELS)], version)
        await resync.sweep()
    assert watches.deaf == ["services"]
    watches.told(SERVICE)
    assert watches.deaf == []


async def test_a_watch_that_lost_one_event_is_not_deaf(parts):
    lists, _, watches, _, resync = parts
    for version in (1, 2, 3, 4):
        watches.told(SERVICE)
        lists.listings[SERVICE] = Listing([thing("x", version, labels=LABELS)], version)
        await resync.sweep()
    assert watches.deaf == []


async def test_a_listing_that_fails_is_logged_and_tried_again_later(parts, caplog):
    lists, _, watches, _, resync = parts
    lists.fails = True
    await resync.sweep()
    assert "listing of services in all namespaces failed: gone" in caplog.messages
    assert watches.deaf == []


def test_an_event_goes_into_the_cache_and_wakes_the_old_and_the_new_owner():
    cache = Cache()
    woken: list[Key] = []
    told: list[Resource] = []
    intake = Intake(cache, woken.append, told.append)
    intake.take(POD, {"type": "ADDED", "object": thing("p", 1, labels=LABELS)})
    intake.take(POD, {"type": "MODIFIED", "object": thing("p", 2, labels={**LABELS, "app.kubernetes.io/instance": "other"})})
    intake.take(POD, {"type": "MODIFIED", "object": thing("p", 2, labels=LABELS)})  # the echo of our own write
    intake.take(POD, {"type": "DELETED", "object": thing("p", 3)})
    assert woken == [Key("rad", "ct-east"), Key("rad", "ct-east"), Key("rad", "other"), Key("rad", "other")]
    assert told == [POD] * 4
    assert cache.get(POD, "rad", "p") is None

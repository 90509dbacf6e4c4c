"""The operator sees what was, or not all of what is: old listings, lost and late events, adapters made anew under its hands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.faults.hooks import AtWrite, LoseEvent, Step
from tests.api.faults.oracle import Name, canonical, children, made, wait_right
from tests.api.proxy import WATCHED, Proxy
from tests.api.support import OWNED, Api, Namespace
from tests.support.kubernetes import wait_until

SPEC = "dicomadapters", "ct-east"


@pytest.fixture(autouse=True)
def _mended(proxy: Proxy) -> Iterator[None]:
    forward, drop, delay = proxy.before, proxy.drop, proxy.delay
    yield
    proxy.before, proxy.drop, proxy.delay = forward, drop, delay
    proxy.thaw()


def again(namespace: Namespace) -> None:
    namespace.delete(*SPEC)
    namespace.adapter(port=104, replicas=2)


CHANGES: dict[str, tuple[Step, Step]] = {
    "port": (lambda it: it.adapter(), lambda it: it.patch(*SPEC, {"spec": {"port": 104}})),
    "scale down": (lambda it: it.adapter(replicas=3), lambda it: it.patch(*SPEC, {"spec": {"replicas": 1}})),
    "store": (lambda it: it.adapter(), lambda it: it.patch(*SPEC, {"spec": {"dicomStore": "https://other.example/dicom-web"}})),
    "made anew": (lambda it: it.adapter(), again),
    "deleted": (lambda it: it.adapter(), lambda it: it.delete(*SPEC)),
}


def _end(found: dict[Name, dict[str, Any]], namespace: str) -> tuple[dict[Name, str], dict[Name, Any]]:
    """Which objects there are, and what they say."""
    return {key: one["metadata"]["uid"] for key, one in found.items()}, canonical(found, namespace, "ct-east")


STALE = {"all": WATCHED, "adapters": ("dicomadapters",), "children": OWNED}


@pytest.mark.slow
@pytest.mark.parametrize("kinds", STALE)
def test_restarted_against_an_old_view_it_deletes_nothing_that_lives_and_ends_right(
    kinds: str, fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator
) -> None:
    """The view is that of before the change, of all kinds or of some of them; all changes at once, each in its namespace."""
    places = {name: fresh() for name in CHANGES}
    for name, (before, _) in CHANGES.items():
        before(places[name])
    for namespace in places.values():
        wait_right(namespace)
    proxy.remember()
    for name, (_, change) in CHANGES.items():
        change(places[name])
    for namespace in places.values():
        wait_right(namespace)
        proxy.settle(namespace.name)
    ends = {name: _end(children(namespace, "ct-east"), namespace.name) for name, namespace in places.items()}
    operator.kill()
    proxy.freeze(STALE[kinds])
    since = len(proxy.requests)
    operator.start()
    operator.wait_ready()
    wait_until("all looked at", lambda: operator.metric("dicom_operator_reconcile_total") >= len(CHANGES) - (kinds == "children"))
    proxy.thaw()
    marker = fresh()
    marker.adapter()  # made after the thaw: when it is right, the view is no longer the old one
    for namespace in (marker, *places.values()):
        wait_right(namespace)
        proxy.settle(namespace.name)
    for name, namespace in places.items():
        # What the old view asked for may be written even now: the new one puts it right, and of what is made for an adapter that is
        # gone the garbage collector takes care.
        same = functools.partial(lambda place, end: _end(children(place, "ct-east"), place.name) == end, namespace, ends[name])
        wait_until(f"{name}: the same objects as before", same)
        _, deleted = made(proxy.writes(namespace.name, since))
        assert set(deleted) <= {("poddisruptionbudgets", "ct-east")}  # the one that the old view had called for
    assert operator.http("/healthz") == (200, "ok")


@pytest.mark.slow
def test_any_event_that_is_lost_is_found_by_the_next_listing(
    fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator, long: bool
) -> None:
    def live(places: list[Namespace]) -> None:
        steps: list[Step] = [
            lambda it: it.adapter(),
            lambda it: it.patch(*SPEC, {"spec": {"port": 104, "replicas": 2}}),
            lambda it: it.delete("services", "ct-east"),
            lambda it: it.patch("deployments", "ct-east", {"spec": {"replicas": 7}}),
        ]
        for step in steps:
            for namespace in places:
                step(namespace)
            for namespace in places:
                wait_right(namespace)

    reference = fresh()
    counting = LoseEvent({reference.name: 0})
    proxy.drop = counting.drop
    live([reference])
    events = next(counting.seen[reference.name]) - 1
    places = {number: fresh() for number in range(1, events + 1, 1 if long else 8)}
    losing = LoseEvent({namespace.name: number for number, namespace in places.items()})
    proxy.drop = losing.drop
    live(list(places.values()))
    print(f"each of {len(places)} of {events} events lost, {len(losing.lost)} came")
    assert len(losing.lost) > len(places) / 4  # not all: side by side, several changes of an object are often told as one
    assert operator.http("/healthz") == (200, "ok")


@pytest.mark.slow
def test_late_events_of_some_kinds_change_nothing_but_the_time(
    fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator
) -> None:
    places = [fresh() for _ in range(3)]
    names = {namespace.name for namespace in places}

    def late(path: str, event: dict[str, dict[str, dict[str, str]]]) -> float:
        mine = event["object"]["metadata"].get("namespace") in names
        return 0.1 if mine and path.endswith(("deployments", "dicomadapters")) else 0.0

    proxy.delay = late
    for namespace in places:
        namespace.adapter()
    for port in (104, 2575, 4242):
        for namespace in places:
            namespace.patch(*SPEC, {"spec": {"port": port}})
            namespace.delete("deployments", "ct-east")
    for namespace in places:
        wait_right(namespace)
    assert operator.calm()


@pytest.mark.slow
def test_an_adapter_that_is_made_anew_between_any_two_writes(
    fresh: Callable[[], Namespace], api: Api, proxy: Proxy, operator: ForkedOperator, long: bool
) -> None:
    """At each write of the first reconcile in turn, the adapter is deleted and one of the same name and another spec is made."""
    places = {number: fresh() for number in (range(1, 8) if long else (2, 5))}
    hook = AtWrite(api, {namespace.name: (number, again) for number, namespace in places.items()})
    proxy.before = hook.before
    for namespace in places.values():
        namespace.adapter()
    for namespace in places.values():
        wait_until("made anew", functools.partial(hook.done.__contains__, namespace.name))
    for namespace in places.values():
        wait_right(namespace)
        assert namespace.get(*SPEC)["spec"]["port"] == 104
    assert operator.calm()

"""An API server that answers badly, late or not at all; and credentials that are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.faults.hooks import Fault, Flaky, Gone
from tests.api.faults.oracle import wait_right
from tests.api.proxy import Answer, Lost, Proxy, Request
from tests.api.support import Api, Namespace
from tests.support.kubernetes import wait_until

FAULTS: dict[str, Fault] = {
    "429": lambda _: Answer(429, "slow down", {"Retry-After": "1"}),
    "409": lambda _: Answer(409, "somebody was faster"),
    "500": lambda _: Answer(500, "an error on the server"),
    "503": lambda _: Answer(503, "no leader"),
    "504": lambda _: Answer(504, "etcd timed out"),
    "401": lambda _: Answer(401, "Unauthorized"),
    "not JSON": lambda _: Answer(200, text="<html>a portal</html>"),
    "reset": lambda _: Lost(),
    "black hole": lambda _: 3.0,
    "500 though stored": lambda _: Answer(500, "etcdserver: request timed out"),
    "reset though stored": lambda _: Lost(),
}
STORED = frozenset({"500 though stored", "reset though stored"})


SOME = {("GET", "services", "ct-east"), ("PATCH", "deployments", "ct-east"), ("PATCH", "dicomadapters", "ct-east", "status")}
"""What meets the faults: a read, a write, a status. Each failure doubles the pause before the next try, so more would take hours."""


@pytest.fixture(autouse=True)
def _mended(proxy: Proxy) -> Iterator[None]:
    before, after, seconds = proxy.before, proxy.after, proxy.watch_seconds
    yield
    proxy.before, proxy.after, proxy.watch_seconds = before, after, seconds


@pytest.mark.slow
def test_bad_answers_are_outlived(fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator, long: bool) -> None:
    """Each fault in a namespace of its own, all at once: reads, writes, status and events of every object there meet it."""
    places = {name: fresh() for name in FAULTS}
    hook = Flaky(
        {namespace.name: FAULTS[name] for name, namespace in places.items()},
        times=2 if long else 1,
        kinds=SOME,
        stored_first=frozenset(places[name].name for name in STORED),
    )
    proxy.before, proxy.after = hook.before, hook.after
    for namespace in places.values():
        namespace.adapter()
    for name, namespace in places.items():
        wait_right(namespace, seconds=200)
        proxy.settle(namespace.name)
        met = {kind[1:]: count for kind, count in hook.met.items() if kind[0] == namespace.name}
        assert met.keys() >= SOME
        print(f"{name}: {sum(met.values())} requests met it")
    assert operator.calm()
    assert operator.http("/healthz") == (200, "ok")


@pytest.mark.slow
def test_an_api_server_that_is_in_need_is_left_in_peace(fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator) -> None:
    """Whatever it answers, the operator asks less and less often, and all is well when it answers well."""
    kinds = ("429", "500", "503", "reset", "409")
    places = {name: fresh() for name in kinds}
    hook = Flaky({namespace.name: FAULTS[name] for name, namespace in places.items()}, times=1000)
    since = len(proxy.requests)
    proxy.before = hook.before
    for namespace in places.values():
        namespace.adapter()
    rates = {}
    for name, namespace in places.items():

        def asked(here: str = namespace.name) -> list[Request]:
            return [one for one in proxy.requests[since:] if one.namespace == here]

        wait_until("four tries", lambda asked=asked: len(asked()) >= 4 * 6)  # type: ignore[misc]
        rates[name] = len(asked()) / (asked()[-1].at - asked()[0].at)
    hook.times = 0
    for namespace in places.values():
        wait_right(namespace)
    print({name: f"{rate:.1f} requests a second" for name, rate in rates.items()})
    assert operator.calm()


@pytest.mark.slow
def test_watches_that_are_closed_each_second(fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator) -> None:
    proxy.watch_seconds = 1.0
    operator.kill()  # so that its watches are new
    operator.start()
    operator.wait_ready()
    vandalised(fresh())
    wait_until("every watch has been closed and made anew", lambda: len([one for one in proxy.requests if one.watch]) > 16)
    assert operator.http("/healthz") == (200, "ok")


@pytest.mark.slow
def test_watches_whose_version_is_too_old(fresh: Callable[[], Namespace], proxy: Proxy, operator: ForkedOperator) -> None:
    hook = Gone()
    proxy.before, proxy.watch_seconds = hook.before, 1.0
    operator.kill()
    operator.start()
    operator.wait_ready()
    vandalised(fresh())
    wait_until("all of them told", lambda: hook.told == hook.left)
    vandalised(fresh())
    assert operator.http("/healthz") == (200, "ok")


def vandalised(namespace: Namespace) -> None:
    namespace.adapter()
    wait_right(namespace)
    for plural in ("services", "configmaps", "deployments"):
        namespace.delete(plural, "ct-east")
        wait_right(namespace)


def test_credentials_that_are_refused_for_good_end_the_process(api: Api, proxy: Proxy, tmp_path: str) -> None:
    """Kubernetes starts it again, with new credentials."""
    with Proxy(api) as other:
        operator = ForkedOperator(other.environment(tmp_path))  # type: ignore[arg-type]
        operator.start()
        operator.wait_ready()

        async def refuse(_: Request) -> Answer | None:
            return Answer(401, "Unauthorized")

        other.watch_seconds = 0.5
        other.before = refuse
        other.cut()
        assert operator.wait_exit() == 1

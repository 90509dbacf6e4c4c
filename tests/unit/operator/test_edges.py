"""The thin edges: command line, logs, health, probes, names of load balancers, answers of the API server."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dicom_operator.__main__ import read_config
from dicom_operator.api import POD, SERVICE, Json, Key
from dicom_operator.apiserver.cache import Cache
from dicom_operator.apiserver.transport import _error, _path
from dicom_operator.app import NameResolver
from dicom_operator.errors import ApiConflict, ApiError, ApiForbidden, ApiNotFound, ApiRejected, ApiUnauthorized, ApiUnavailable
from dicom_operator.health import Health
from dicom_operator.logs import configure
from dicom_operator.probe import LONGEST_ANSWER, Prober, parse_report
from tests.support import cloudlogging
from tests.unit.operator.builders import pod


def test_flags_and_environment_become_a_config():
    flags = ["--adapter-image=a:1", "--allowed-image=x/", "--allowed-image=y/", "--namespace=one", "--namespace=two", "--namespace=one"]
    config = read_config(flags, {"POD_NAME": "operator-0", "POD_NAMESPACE": "dicom-system"})
    assert config.allowed_images == ("x/", "y/")
    assert config.namespaces == ("one", "two")
    assert (config.operator_namespace, config.pod_name) == ("dicom-system", "operator-0")
    assert (config.relist_seconds, config.resync_seconds, config.probe_seconds) == (60, 600, 15)


@pytest.mark.parametrize("flags", [[], ["--adapter-image=x", "--relist-seconds=0"], ["--adapter-image=x", "--probe-seconds=soon"]])
def test_wrong_flags_end_with_2_and_one_line(flags, capsys):
    with pytest.raises(SystemExit) as ended:
        read_config(flags, {})
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def restore_logging():
    root = logging.getLogger()
    before = (root.handlers[:], root.level, {name: logging.getLogger(name).level for name in ("kopf", "aiohttp.access", "asyncio")})
    yield
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


def test_json_logs_have_stable_keys(restore_logging):
    stream = io.StringIO()
    log = configure("json", "info", stream)
    log.info("%s", "a\nb", extra={"namespace": "rad", "adapter": "ct-east"})
    log.debug("not shown")
    logging.getLogger("kopf.objects").info("not shown either")
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    entries = [cloudlogging.read(line) for line in stream.getvalue().splitlines()]
    assert [(entry.severity, entry.message) for entry in entries] == [("INFO", "a\nb"), ("ERROR", "failed")]
    assert {key: first[key] for key in ("severity", "message", "namespace", "adapter")} == {
        "severity": "INFO", "message": "a\nb", "namespace": "rad", "adapter": "ct-east",
    }  # fmt: skip
    assert first["time"].endswith("Z")
    assert "ValueError: x" in second["exception"]


def test_text_logs_for_people(restore_logging):
    stream = io.StringIO()
    log = configure("text", "warning", stream)
    log.warning("a", extra={"namespace": "rad", "adapter": "ct-east"})
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("failed")
    assert stream.getvalue().startswith("WARNING rad/ct-east: a\nERROR   failed\nTraceback")


def test_health_names_what_is_wrong():
    stalled, deaf = [0.0], list[str]()
    health = Health(lambda: stalled[0], lambda: deaf)
    assert health.faults() == []
    stalled[0] = 151
    deaf.append("services")
    assert health.faults() == ["the work queue hangs", "the watch is deaf: services"]


CONTEXT: dict[str, Any] = {"verb": "patch", "resource": "services", "namespace": "rad", "kind": "Service", "name": "a"}


def answer(code: int, message: str, retry_after: str | None = None) -> ApiError:
    return _error(code, json.dumps({"message": message}).encode(), retry_after, CONTEXT)


def test_what_the_api_servers_errors_mean():
    rbac = 'services "a" is forbidden: User "u" cannot create resource "services" in API group "" in the namespace "rad"'
    forbidden = answer(403, rbac)
    assert isinstance(forbidden, ApiForbidden)
    assert forbidden.verb == "create"
    quota = 'services "a" is forbidden: exceeded quota: team'
    going = 'services "a" is forbidden: unable to create new content in namespace rad because it is being terminated'
    assert isinstance(answer(403, quota), ApiRejected)
    assert isinstance(answer(403, going), ApiConflict)
    assert isinstance(answer(500, "failed to create typed patch object (rad/a): field not declared in schema"), ApiRejected)
    for code, kind in {
        401: ApiUnauthorized,
        404: ApiNotFound,
        409: ApiConflict,
        422: ApiRejected,
        429: ApiUnavailable,
        503: ApiUnavailable,
    }.items():
        assert type(answer(code, "x")) is kind
    slow = answer(429, "x", "7")
    assert isinstance(slow, ApiUnavailable)
    assert slow.retry_after == 7
    assert _error(502, b"<html>bad gateway", None, CONTEXT).text == "<html>bad gateway"
    assert _error(502, b"", None, CONTEXT).text == "HTTP 502"


def test_paths():
    assert _path(SERVICE, "rad", "a", "status") == "/api/v1/namespaces/rad/services/a/status"
    assert _path(SERVICE, None, "", "") == "/api/v1/services"


async def test_names_of_load_balancers_are_resolved_and_remembered(monkeypatch):
    asked: list[str] = []
    clock = [0.0]

    async def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host == "unknown.example":
            raise OSError("no such name")
        if host.startswith("a" * 64):
            raise UnicodeError("label too long")  # what Python's resolver says of a name that no DNS can hold
        return [(0, 0, 0, "", ("34.1.2.3" if host == "public.example" else "10.1.2.3", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    resolver = NameResolver(lambda: clock[0])
    assert [await resolver.is_public(host) for host in ("public.example", "internal.example", "unknown.example")] == [True, False, None]
    await resolver.is_public("public.example")
    assert len(asked) == 3
    clock[0] = 61
    await resolver.is_public("public.example")
    assert len(asked) == 4
    assert len(resolver._known) == 1  # what is older than a minute is not kept
    assert await resolver.is_public("a" * 64 + ".example") is None


class Page:
    """An adapter's /status."""

    def __init__(self) -> None:
        self.asked = 0
        self.body = b""
        self.status = 200

    async def get(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.body, status=self.status)


def status(reason: str) -> bytes:
    store = {"reason": reason, "message": "m"}
    return json.dumps({"version": 1, "ready": True, "reason": "Ready", "message": "", "store": store}).encode()


async def test_pods_are_asked_in_turn_and_only_news_wakes_the_adapter():
    page = Page()
    app = web.Application()
    app.router.add_get("/status", page.get)
    clock, woken, pods = [0.0], list[Key](), [pod(podIP="127.0.0.1"), pod("ct-east-7c9-new")]
    pods[0]["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "dicom-operator", "app.kubernetes.io/instance": "ct-east"}
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        assert server.port is not None
        prober = Prober(lambda: pods, woken.append, 15, lambda: clock[0], server.port)

        async def tick(seconds: float) -> None:
            clock[0] += seconds
            await prober.tick(session)

        page.status = 503
        await tick(0)
        assert (page.asked, prober.reports, woken) == (1, {"ct-east-7c9-x": None}, [Key("rad", "ct-east")])
        woken.clear()
        page.status, page.body = 200, status("NotProbed")
        await tick(3)  # a pod that has not answered yet is asked again soon
        page.body = status("Reachable")
        await tick(3)  # and so is one that has not asked its store yet
        assert getattr(prober.reports["ct-east-7c9-x"], "store_reason", None) == "Reachable"
        assert woken == [Key("rad", "ct-east")] * 2
        await tick(14)
        assert page.asked == 3
        await tick(1)
        assert (page.asked, len(woken)) == (4, 2)  # the same answer is no news
        page.body = status("Unauthorized")
        await tick(15)
        assert len(woken) == 3
        page.body = b"x" * (LONGEST_ANSWER + 1)
        await tick(15)
        assert (prober.reports, len(woken)) == ({"ct-east-7c9-x": None}, 4)
        prober.forget()
        await tick(1)
        assert (page.asked, len(woken)) == (7, 5)  # another term: what was known before says nothing of now
        pods.clear()
        await tick(1)
        assert (prober._due, prober.reports) == ({}, {})


@pytest.mark.parametrize("answer", [b"[" * 60_000, b"", b"\xff", b"[]", b'{"version": 1}', b'{"store": 1}', status("Reachable")[:-1]])
def test_what_is_no_report(answer):
    """A pod's answer is foreign data: whatever it says, it must not end the operator."""
    assert parse_report(answer) is None


async def test_a_pod_that_ended_is_not_asked():
    """The address of an evicted pod may be another pod's by now."""
    asked: list[str] = []

    class Session:
        def get(self, url: str, **_: Any) -> Any:
            asked.append(url)
            raise aiohttp.ClientError

    prober = Prober(lambda: [pod(podIP="127.0.0.1", phase="Failed"), pod("b", podIP="127.0.0.2")], lambda key: None, 15, lambda: 0.0)
    await prober.tick(cast(aiohttp.ClientSession, Session()))
    assert asked == ["http://127.0.0.2:8080/status"]


async def test_pods_are_gone_through_when_they_have_changed_or_one_is_due():
    clock, looks, cache = [0.0], 0, Cache()

    def pods() -> Iterator[Json]:
        nonlocal looks
        looks += 1
        return cache.all(POD)

    prober = Prober(pods, lambda key: None, 15, lambda: clock[0], port=1, changes=lambda: cache.changes(POD))

    def there(name: str, version: int, **status: str) -> Json:
        found = pod(name, **status)
        return {**found, "metadata": {**found["metadata"], "resourceVersion": str(version)}}

    async with aiohttp.ClientSession() as session:

        async def looked(seconds: float) -> bool:
            before = looks
            clock[0] += seconds
            await prober.tick(session)
            return looks > before

        assert await looked(0)
        assert not await looked(3600)  # there are none
        cache.put(POD, there("a", 1))
        assert await looked(1)
        assert not await looked(3600)  # it has no address
        cache.put(POD, there("a", 2, podIP="::1"))
        assert await looked(1)
        assert prober.reports == {"a": None}
        assert not await looked(1)
        assert await looked(2)  # it has given no answer: again after three seconds
        cache.remove(POD, there("a", 3))
        assert await looked(1)
        assert prober.reports == {}
        assert not await looked(3600)
        prober.forget()
        assert await looked(0)


async def test_a_pod_that_gives_no_answer_is_asked_less_and_less():
    """Nobody answers at the address of a pod behind a NetworkPolicy, for as long as it lives."""
    page = Page()
    page.status = 503
    app = web.Application()
    app.router.add_get("/status", page.get)
    clock, one = [0.0], pod(podIP="127.0.0.1")
    one["metadata"]["resourceVersion"] = "1"
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession() as session:
        assert server.port is not None
        changes = [0]
        prober = Prober(lambda: [one], lambda key: None, 15, lambda: clock[0], server.port, lambda: changes[0])

        async def asked_in(seconds: int) -> list[int]:
            """After how many seconds each, ticking as `run` does."""
            found, last = [], clock[0]
            for _ in range(seconds):
                before = page.asked
                clock[0] += 1
                await prober.tick(session)
                if page.asked > before:
                    found.append(int(clock[0] - last))
                    last = clock[0]
            return found

        def changed(version: str) -> None:
            one["metadata"]["resourceVersion"] = version
            changes[0] += 1

        await prober.tick(session)
        assert await asked_in(225) == [3, 6, 12, 24, 48, 60, 60]
        await asked_in(48)  # the next minute's
        assert await asked_in(20) == []
        changes[0] += 1  # another pod's
        assert await asked_in(10) == []
        changed("2")
        assert await asked_in(22) == [1, 3, 6, 12], "it is not what it was: at once, and from the beginning"
        page.status, page.body = 200, status("Reachable")
        assert await asked_in(24 + 15) == [24, 15]
        page.status = 503
        assert await asked_in(15 + 3 + 6) == [15, 3, 6], "it has answered: from the beginning"
        prober.forget()
        assert await asked_in(10) == [1, 3, 6]


async def test_a_pod_that_cannot_be_reached_has_no_report():
    prober = Prober(lambda: [pod(podIP="::1")], lambda key: None, 15, lambda: 0.0, port=1)
    async with aiohttp.ClientSession() as session:
        await prober.tick(session)
    assert prober.reports == {"ct-east-7c9-x": None}

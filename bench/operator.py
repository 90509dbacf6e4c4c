"""How the operator bears many adapters, beside a plain client that applies the same objects: one API server, one run, one table.

The API server is a real one (etcd, API server and controller manager on loopback), without kubelets: Deployments get their pods, which
never run. The benchmark writes what kubelets and a load balancer would, a second after there is a pod or a Service, all the while, so that
the adapters become Ready.

The plain client creates the adapters and applies their children by server-side apply with as many requests in flight as the operator has
workers: one half before the operator's turn, one after; kubelets and load balancer do for it what they do for the operator. Both sides are
Python and aiohttp over TLS. On another machine only the ratios mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from dicom_operator.api import BY_KIND
from dicom_operator.config import Config
from dicom_operator.model.adapter import parse
from dicom_operator.render.adapter import desired
from tests.api.support import IMAGE, OWNED, PATHS, STORE, Api, OperatorProcess
from tests.support.apiserver import ApiServer
from tests.support.kubernetes import condition

WORKERS = Config(adapter_image=IMAGE).workers
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
PER_ADAPTER = {"serviceaccounts": 1, "configmaps": 1, "deployments": 1, "services": 2, "networkpolicies": 1}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    adapters: int
    found: str
    aim: str
    good: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "yes", False: "NO", None: ""}[self.good]
        return f"{self.what:47} {self.adapters:5} {self.found:>46} {self.aim:>11} {verdict:>4}"


class Client:
    """The API server for one namespace, asynchronously."""

    def __init__(self, session: aiohttp.ClientSession, server: str, namespace: str) -> None:
        self._session = session
        self._server = server
        self.namespace = namespace

    def path(self, plural: str, *rest: str) -> str:
        """The path of a kind, an object or a subresource in the namespace."""
        return "/".join([f"{PATHS[plural]}/namespaces/{self.namespace}/{plural}", *rest])

    async def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request; exits when the API server refuses it."""
        async with self._session.request(method, self._server + path, json=body, headers={"Content-Type": content_type}) as answer:
            found = await answer.json()
            if answer.status == 404 and method == "GET":
                return None
            if answer.status >= 400:
                sys.exit(f"{method} {path}: {found.get('message')}")
            return found

    async def watch(self, plural: str) -> AsyncIterator[Any]:
        """Every object of a kind that is made from now on."""
        query = "?watch=true&timeoutSeconds=3600"
        async with self._session.get(self._server + self.path(plural) + query, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ADDED":
                    yield event["object"]

    async def patch_status(self, plural: str, name: str, status: Any) -> None:
        """What a controller tells of an object, if it is still there."""
        path = self._server + self.path(plural, name, "status")
        async with self._session.patch(path, json={"status": status}, headers={"Content-Type": MERGE}) as answer:
            if answer.status not in (200, 404):
                sys.exit(f"{path}: {await answer.text()}")

    async def count(self, plural: str) -> int:
        """How many objects there are; etcd counts them, and one is sent."""
        found = await self.request("GET", self.path(plural) + "?limit=1")
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    async def has(self, plural: str, number: int) -> bool:
        """Whether there are so many objects."""
        return await self.count(plural) >= number

    async def there(self, path: str) -> bool:
        """Whether an object is there."""
        return await self.request("GET", path) is not None


def adapter(number: int) -> dict[str, Any]:
    """A DicomAdapter as users write them."""
    return {
        "apiVersion": "dicomadapter.io/v1alpha1",
        "kind": "DicomAdapter",
        "metadata": {"name": f"gate-{number}"},
        "spec": {"aeTitle": f"GATE{number}", "port": 2575, "dicomStore": STORE},
    }


async def at_once(workers: int, work: Callable[[int], Awaitable[object]], numbers: Iterable[int]) -> None:
    """Does the work for each number, so many at once."""
    waiting = iter(numbers)

    async def worker() -> None:
        for number in waiting:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(workers)))


async def plain(client: Client, numbers: range) -> float:
    """Seconds that a plain client takes to create adapters and to apply their children."""

    async def make(number: int) -> None:
        body = await client.request("POST", client.path("dicomadapters"), adapter(number))
        for child in desired(parse(body), Config(adapter_image=IMAGE)):
            path = client.path(BY_KIND[child["kind"]].plural, child["metadata"]["name"]) + "?fieldManager=plain&force=true"
            await client.request("PATCH", path, child, APPLY)

    began = time.perf_counter()
    await at_once(WORKERS, make, numbers)
    return time.perf_counter() - began


async def until(probe: Callable[[], Awaitable[bool]], every: float) -> None:
    """Asks until the answer is yes."""
    while True:
        if await probe():
            return
        await asyncio.sleep(every)


async def operated(client: Client, count: int) -> float:
    """Seconds from the first adapter's creation until all children of all of them are there."""
    began = time.perf_counter()
    await at_once(WORKERS, lambda number: client.request("POST", client.path("dicomadapters"), adapter(number)), range(count))
    for plural in reversed(list(PER_ADAPTER)):  # the last that is applied first
        wanted = PER_ADAPTER[plural] * count + (plural == "serviceaccounts") + (plural == "configmaps")  # each namespace has one of its own
        await until(functools.partial(client.has, plural, wanted), 0.05)
    return time.perf_counter() - began


async def quiet(operator: OperatorProcess, seconds: float = 5.0) -> None:
    """Waits until nothing has been written for a while."""
    last, since = await asyncio.to_thread(operator.writes), time.monotonic()
    while time.monotonic() - since < seconds:
        await asyncio.sleep(0.5)
        writes = await asyncio.to_thread(operator.writes)
        if writes != last:
            last, since = writes, time.monotonic()


@asynccontextmanager
async def world(client: Client) -> AsyncIterator[None]:
    """Kubelets and a load balancer: what is made runs, or gets its address, after a second."""
    running = {"name": "adapter", "image": IMAGE, "imageID": "", "ready": True, "started": True, "restartCount": 0}
    tasks = set[asyncio.Task[None]]()

    def pod_status() -> Any:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        kinds = ("Ready", "ContainersReady", "PodScheduled")
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
        states = [{**running, "state": {"running": {"startedAt": now}}}]
        return {"phase": "Running", "conditions": conditions, "containerStatuses": states}

    async def later(plural: str, name: str, status: Callable[[], Any]) -> None:
        await asyncio.sleep(1)
        await client.patch_status(plural, name, status())

    async def follow(plural: str, status: Callable[[], Any], wanted: Callable[[Any], bool]) -> None:
        try:
            async for found in client.watch(plural):
                if wanted(found):
                    task = asyncio.create_task(later(plural, found["metadata"]["name"], status))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        except aiohttp.ClientError as error:
            sys.exit(f"the watch of {plural}: {error}")
        sys.exit(f"the watch of {plural} ended")

    address = {"loadBalancer": {"ingress": [{"ip": "10.10.0.100"}]}}
    followers = [
        asyncio.create_task(follow("pods", pod_status, lambda _: True)),
        asyncio.create_task(follow("services", lambda: address, lambda found: found["spec"]["type"] == "LoadBalancer")),
    ]
    yield
    for task in (*followers, *tasks):
        task.cancel()
    await asyncio.gather(*followers, *tasks, return_exceptions=True)


async def ready(client: Client) -> bool:
    """Whether all adapters are."""
    found = await client.request("GET", client.path("dicomadapters") + "?resourceVersion=0")
    return all(condition(item, "Ready").get("status") == "True" for item in found["items"])


async def repair(client: Client, numbers: Iterable[int]) -> list[float]:
    """Seconds until a deleted Service is there again, one after the other."""
    times = []
    for number in numbers:
        path = client.path("services", f"gate-{number}")
        await client.request("DELETE", path)
        began = time.perf_counter()
        await until(functools.partial(client.there, path), 0.002)
        times.append(time.perf_counter() - began)
    return times


def cpu_seconds(operator: OperatorProcess) -> float:
    """CPU time of the operator so far."""
    assert operator.process is not None
    fields = Path(f"/proc/{operator.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Bench:
    """One API server and the table."""

    def __init__(self, server: ApiServer, minute: float, plain: int) -> None:
        self.server = server
        self.minute = minute
        self.plain = plain
        self.rows: list[Row] = []

    def add(self, what: str, adapters: int, found: str, aim: str = "", good: bool | None = None) -> None:
        """Prints and keeps a line."""
        self.rows.append(Row(what, adapters, found, aim, good))
        print(self.rows[-1], flush=True)

    @asynccontextmanager
    async def client(self, namespace: str) -> AsyncIterator[Client]:
        """A client in a new namespace."""
        api = Api(self.server)
        await asyncio.to_thread(
            api.create, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        )
        connector = aiohttp.TCPConnector(ssl=api.ssl_context, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            client = Client(session, self.server.server, namespace)
            for plural in ("serviceaccounts", "configmaps"):  # the controller manager's own
                await until(functools.partial(client.has, plural, 1), 0.05)
            yield client
        api.close()

    async def scale(self, count: int, *, repairs: int, idle: bool) -> None:
        """All measurements with so many adapters."""
        print(f"... {count} adapters: the plain client", file=sys.stderr, flush=True)
        operator = OperatorProcess(self.server.environment, (f"--namespace=operator-{count}",))
        async with self.client(f"plain-{count}") as other, self.client(f"operator-{count}") as client, world(other), world(client):
            half = min(count, self.plain) // 2
            peer = await plain(other, range(half))
            print(f"... {count} adapters: the operator", file=sys.stderr, flush=True)
            with operator:
                await asyncio.to_thread(operator.wait_ready)
                before = cpu_seconds(operator)
                ours = await operated(client, count)
                used = cpu_seconds(operator) - before
                peer += await plain(other, range(half, 2 * half))  # the other half: what else the machine does hits both alike
                self.add("plain client: created and applied", 2 * half, f"{peer:.1f} s, {peer / 2 / half * 1000:.0f} ms each")
                ratio = ours / count / (peer / 2 / half)
                found = f"{ours:.1f} s, {ours / count * 1000:.0f} ms each = {ratio:.2f}x"
                self.add("operator: created until all children are there", count, found, "1.5x", ratio <= 1.5)
                self.add("operator: CPU for it", count, f"{used:.1f} s, {used / count * 1000:.0f} ms each")
                await until(functools.partial(ready, client), 1.0)
                await quiet(operator)
                self.requests("requests per adapter until Ready", operator, count)
                if repairs:
                    times = sorted(await repair(client, range(min(repairs, count))))
                    median, high = statistics.median(times), times[int(len(times) * 0.99)]
                    found = f"median {median * 1000:.0f} ms, p99 {high * 1000:.0f} ms"
                    self.add("a deleted Service is there again", count, found, "100 ms, 1 s", median < 0.1 and high < 1.0)
                    await quiet(operator)
                if idle:
                    await self.idle(operator, client, count)

    def requests(self, what: str, operator: OperatorProcess, count: int) -> None:
        """The operator's requests by kind, per adapter."""

        def each(verb: str, resource: str = "") -> float:
            labels = {"verb": verb, "resource": resource} if resource else {"verb": verb}
            return operator.metric("dicom_operator_api_requests_total", **labels) / count

        applies = sum(each("patch", plural) for plural in OWNED)
        status, events = each("patch", "dicomadapters/status"), each("create", "events") + each("patch", "events")
        text = f"{applies:.2f} apply {status:.2f} status {events:.2f} event {each('get') + each('list', 'events'):.2f} read"
        self.add(what, count, text, "6, 2 status", applies <= sum(PER_ADAPTER.values()) and status <= 2)

    async def idle(self, operator: OperatorProcess, client: Client, count: int) -> None:
        """A minute in which nothing happens, and a restart."""
        print(f"... {count} adapters: {self.minute:.0f} s of quiet", file=sys.stderr, flush=True)
        writes, used = operator.writes(), cpu_seconds(operator)
        await asyncio.sleep(self.minute)
        share = (cpu_seconds(operator) - used) / self.minute
        written, resident = (operator.writes() - writes).total(), operator.resident_megabytes()
        self.add("writes in a quiet minute", count, f"{written}", "0", written == 0)
        self.add("CPU of a core in a quiet minute", count, f"{share * 100:.1f} %", "2 %", share < 0.02)
        self.add("resident memory", count, f"{resident:.0f} MB", "250 MB", resident < 250)
        await asyncio.to_thread(operator.stop)
        began = time.perf_counter()
        operator.start()
        await asyncio.to_thread(operator.wait_ready)
        ready = time.perf_counter() - began

        async def all_seen() -> bool:
            return await asyncio.to_thread(operator.metric, "dicom_operator_reconcile_total") >= count

        await until(all_seen, 0.1)
        seconds = time.perf_counter() - began
        await quiet(operator)
        found = f"ready {ready:.1f} s, all {seconds:.1f} s"
        self.add("restart: ready, and all adapters looked at", count, found)
        written = operator.writes().total()
        self.add("restart: writes", count, f"{written}", "0", written == 0)


async def measure(server: ApiServer, options: argparse.Namespace) -> None:
    """The whole run."""
    bench = Bench(server, options.minute, options.plain)
    print(Row("", 0, "found", "aim"), flush=True)
    largest = max(options.adapters)
    for count in options.adapters:
        await bench.scale(
            count,
            repairs=options.repairs if count == options.repairs_at or len(options.adapters) == 1 else 0,
            idle=count == largest,
        )
    missed = [row for row in bench.rows if row.good is False]
    print(f"\n{len(missed)} of {sum(row.good is not None for row in bench.rows)} aims missed")


def main() -> None:
    """Starts an API server, measures, prints."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.operator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapters", type=int, nargs="+", default=[100, 500, 1000], help="how many; default 100 500 1000")
    parser.add_argument("--repairs", type=int, default=300, help="Services that are deleted, one after the other; default 300")
    parser.add_argument("--repairs-at", type=int, default=500, metavar="N", help="with how many adapters they are; default 500")
    parser.add_argument("--plain", type=int, default=200, metavar="N", help="adapters that the plain client makes at most; default 200")
    parser.add_argument("--minute", type=float, default=60.0, help="seconds of the quiet minute, with the most adapters; default 60")
    options = parser.parse_args()
    with ApiServer() as server:
        server.install_crds()
        asyncio.run(measure(server, options))


if __name__ == "__main__":
    main()

"""How fast images leave a store for a DICOM node, ours beside the way of who writes it down: one after the other.

The naive exporter pulls one message, searches for the instance, fetches it, opens an association with pynetdicom, sends, releases and
acknowledges, as Google's does for each of its threads. Ours is the process that users run. Both pull from the same Pub/Sub emulator, fetch
CT images of 0.5 MB from the same sink and send them to dcmtk's storescp --fork --ignore. Each part is the median of its rounds; they take
turns. On another machine only the ratios mean something.

Then: how long a message takes from its publication to its end at 20 a second, what an outage of the node costs and how fast what has waited
goes afterwards, and the memory that an image of two gigabytes takes.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import requests
from pynetdicom.association import Association

from bench.load import images, receivers, wado
from bench.load.process import Process, python
from tests.support.orthanc import free_port
from tests.support.pubsub import SUBSCRIPTION, TOPIC, program

AIMS = {0: 10.0, 50: 25.0}
FETCHES = 32
_STUDY = "studies/1.2.3/series/1.2.3.4/instances"


@dataclass(frozen=True, slots=True)
class Bench:
    """What everything stands on: where Pub/Sub, the store and the node are."""

    pubsub: str
    store: str
    node: int
    wado: Process

    def publish(self, numbers: Sequence[int]) -> None:
        """Messages about instances."""
        for start in range(0, len(numbers), 500):
            texts = [f"{_STUDY}/{images.uid(number)}" for number in numbers[start : start + 500]]
            body = {"messages": [{"data": base64.b64encode(text.encode()).decode()} for text in texts]}
            self.call("POST", f"/v1/{TOPIC}:publish", body)

    def call(self, method: str, path: str, body: object) -> Any:
        """To Pub/Sub."""
        request = urllib.request.Request(self.pubsub + path, json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def deliveries(self, numbers: range) -> int:
        """The most that one of these has been delivered; all of them are acknowledged."""
        texts = {f"{_STUDY}/{images.uid(number)}" for number in numbers}
        with urllib.request.urlopen(f"{self.pubsub}/control/state") as response:
            messages = [one for one in json.load(response)["messages"] if base64.b64decode(one["data"] or "").decode() in texts]
        assert len(messages) == len(numbers)
        assert all(one["acks"] for one in messages)
        return max(int(one["deliveries"]) for one in messages)

    def delay(self, milliseconds: int) -> None:
        """How late the store's answers come."""
        self.wado.ask(str(milliseconds))
        self.wado.answer()


@contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """Starts it."""
    with ExitStack() as stack:
        file = images.write(directory, "0.5MB").files[0]
        pubsub = Process([program()])
        stack.callback(pubsub.end)
        address = f"http://{pubsub.answer()}"
        store = Process(python("bench.load.wado", file))
        stack.callback(store.end)
        url = f"http://127.0.0.1:{store.answer()}/dicom-web"
        node, port = receivers.storescp(directory, "")
        stack.callback(node.end)
        found = Bench(address, url, port, store)
        found.call("PUT", f"/v1/{TOPIC}", {})
        found.call("PUT", f"/v1/{SUBSCRIPTION}", {"topic": TOPIC, "ackDeadlineSeconds": 60})
        yield found


# -- the naive exporter ------------------------------------------------------------------------------


def naive(bench: Bench, count: int) -> float:
    """Exports so many images; gives images a second."""
    numbers = _fresh(count)
    bench.publish(numbers)
    began = time.monotonic()
    for _ in numbers:
        (received,) = requests.post(f"{bench.pubsub}/v1/{SUBSCRIPTION}:pull", json={"maxMessages": 1}).json()["receivedMessages"]
        path = base64.b64decode(received["message"]["data"]).decode()
        parent, _, uid = path.rpartition("/")
        requests.get(f"{bench.store}/{parent}?00080018={uid}").json()
        accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        body = requests.get(f"{bench.store}/{path}", headers=accept).content
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = pydicom.dcmread(BytesIO(body[body.index(b"\r\n\r\n") + 4 : body.rindex(b"\r\n--b--")]))
        association = _associate(bench.node)
        assert association.send_c_store(data_set).Status == 0
        association.release()
        requests.post(f"{bench.pubsub}/v1/{SUBSCRIPTION}:acknowledge", json={"ackIds": [received["ackId"]]})
    return count / (time.monotonic() - began)


def _associate(port: int) -> Association:
    from pynetdicom.ae import ApplicationEntity  # the peer of the measurement: stock pynetdicom

    entity = ApplicationEntity("EXPORTADAPTER")
    entity.add_requested_context(images.CT_STORAGE, images.EXPLICIT)
    association = entity.associate("127.0.0.1", port, ae_title="SINK", max_pdu=131072)
    assert association.is_established
    return association


_given = 0


def _fresh(count: int) -> range:
    """Numbers of instances that nobody has seen: an exporter remembers."""
    global _given
    _given += count
    return range(_given - count + 1, _given + 1)


# -- ours --------------------------------------------------------------------------------------------


class Ours:
    """A running exporter."""

    def __init__(self, bench: Bench, directory: Path, node: int = 0) -> None:
        self._bench = bench
        self._port = free_port()
        document = {
            "source": {
                "dicomStore": bench.store,
                "pubsub": {"subscription": SUBSCRIPTION, "endpoint": bench.pubsub, "allowInsecure": True},
            },
            "destination": {"peer": {"aeTitle": "SINK", "host": "127.0.0.1", "port": node or bench.node}},
            "delivery": {"maxConcurrentFetches": FETCHES},
        }
        file = directory / "export.json"
        file.write_text(json.dumps(document))
        arguments = ("export", f"--config={file}", f"--http_port={self._port}", "--http_host=127.0.0.1")
        self.process = Process(python("dicom_adapter", *arguments), quiet=True)
        self.until(lambda: self.status()["destination"]["reason"] == "Reachable")

    def status(self) -> Any:
        """/status."""
        return json.loads(self._get("/status"))

    def exported(self) -> int:
        """Images so far."""
        return int(self.status()["exported"])

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}") as response:
            return str(response.read().decode())

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for it."""
        while True:
            try:
                if condition():
                    return
            except OSError:
                assert self.process.running()
            time.sleep(0.01)

    def within(self) -> list[tuple[float, int]]:
        """How many messages came to their end within so many seconds."""
        found = re.findall(r'dicom_export_duration_seconds_bucket\{le="([^"]+)"\} (\S+)', self._get("/metrics"))
        return [(float(bound), int(float(count))) for bound, count in found]

    def export(self, numbers: range) -> float:
        """Exports these; gives images a second."""
        before = self.exported()
        self._bench.publish(numbers)
        began = time.monotonic()
        self.until(lambda: self.exported() - before >= len(numbers))
        return len(numbers) / (time.monotonic() - began)

    def paced(self, numbers: range, rate: float) -> None:
        """The same at a steady rate."""
        before = self.exported()
        for number in numbers:
            self._bench.publish([number])
            time.sleep(1 / rate)
        self.until(lambda: self.exported() - before >= len(numbers))


class Door:
    """What is left of a node that is down: connections are closed at once, and counted. A context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.knocks = 0

    def __enter__(self) -> Door:
        while True:
            try:
                self._socket = socket.create_server(("127.0.0.1", self._port))
                break
            except OSError:  # the node's children have been killed and are not gone yet
                time.sleep(0.01)
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()
        return self

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.knocks += 1
                connection.close()

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


def outage(bench: Bench, directory: Path, count: int, seconds: float) -> str:
    """The node goes, so many messages come, and after a while it is back: beside as many that come while it is there, before and after."""
    node, port = receivers.storescp(directory, "")
    ours = Ours(bench, directory, port)
    try:
        ours.export(_fresh(100))
        usual = [ours.export(_fresh(count))]
        before = ours.exported()
        node.end()
        numbers = _fresh(count)
        with Door(port) as door:
            bench.publish(numbers)
            time.sleep(seconds)
        node, _ = receivers.storescp(directory, "", port)
        ours.until(lambda: ours.exported() > before)
        first, began = ours.exported(), time.monotonic()
        ours.until(lambda: ours.exported() - before >= count)
        rate = (count - (first - before)) / (time.monotonic() - began)
        usual.append(ours.export(_fresh(count)))
        ours.process.drain()
        most = bench.deliveries(numbers)
        return (
            f"node down for {seconds:.0f} s, {count:,} messages: {door.knocks / seconds:.2f} connections a second (aim: 2 at most), "
            f"each message delivered {most} times at most, drained at {rate / statistics.mean(usual):.0%} of the rate before and after it "
            "(aim 80 %)"
        )
    finally:
        ours.process.end()
        node.end()


def main(arguments: Sequence[str]) -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(prog="bench.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each cell (default: %(default)s)")
    parser.add_argument("--images", type=int, default=1000, help="that ours exports in a round (default: %(default)s)")
    parser.add_argument("--outage", type=float, default=60, metavar="SECONDS", help="for which the node is down (default: %(default)s)")
    parser.add_argument("--backlog", type=int, default=10_000, help="messages that come meanwhile (default: %(default)s)")
    options = parser.parse_args(arguments)
    reached = True
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {FETCHES} fetches, 2 associations", flush=True)
    with tempfile.TemporaryDirectory() as temporary, bench(Path(temporary)) as found:
        ours = Ours(found, Path(temporary))
        try:
            print(f"{'store':>8} {'naive/s':>8} {'ours/s':>8} {'ratio':>7} {'aim':>5}")
            for milliseconds, aim in AIMS.items():
                found.delay(milliseconds)
                rates: dict[str, list[float]] = {"naive": [], "ours": []}
                for _ in range(options.rounds):
                    ours.process.drain()
                    rates["naive"].append(naive(found, 20))
                    ours = Ours(found, Path(temporary))
                    ours.export(_fresh(20))
                    rates["ours"].append(ours.export(_fresh(options.images)))
                slow, fast = (statistics.median(rates[name]) for name in ("naive", "ours"))
                reached &= fast / slow >= aim
                print(f"{milliseconds:>5} ms {slow:>8.1f} {fast:>8.1f} {fast / slow:>7.1f} {aim:>5g}", flush=True)
            print(f"peak resident size of ours: {ours.process.peak_bytes() / 1e6:.0f} MB (aim 150)", flush=True)
            ours.process.drain()
            ours = Ours(found, Path(temporary))
            ours.paced(_fresh(400), 20)
            buckets = ours.within()
            share = next(count for bound, count in buckets if bound == 0.5) / buckets[-1][1]
            print(f"20 messages a second, store 50 ms: {share:.1%} at their end within 0.5 s (aim 99 %)", flush=True)
            found.delay(0)
            ours.process.drain()
            print(outage(found, Path(temporary), options.backlog, options.outage), flush=True)
            ours = Ours(found, Path(temporary))
            before = ours.process.peak_bytes()
            found.publish([10**14])
            exported = ours.exported()
            ours.until(lambda: ours.exported() > exported)
            grown = (ours.process.peak_bytes() - before) / 1e6
            print(f"an image of {wado.LARGE_BYTES >> 30} GiB: {grown:+.0f} MB of resident size (aim 64)", flush=True)
        finally:
            ours.process.end()
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

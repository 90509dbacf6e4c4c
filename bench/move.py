"""C-MOVE, C-GET and storage commitment from a DICOMweb archive: the adapter beside stock pynetdicom with `requests`, in one run.

    python -m bench.move [--count 1000] [--size 500000] [--latency 0 50] [--rounds 3]

The archive answers each request after so many milliseconds. The peer fetches an instance, sends it, and fetches the next one, over one
association and one session: what one writes first. The aim is ten times its speed with 50 ms, five times with none. Source, sink and
requestor cost next to nothing; each is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvloop
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bench.load import images, receivers
from bench.load.archive import STUDY
from bench.load.process import Process, python
from dicom_adapter.dimse import (
    DimseServer,
    Extras,
    Handlers,
    Limits,
    NormalizedRequest,
    PeerAddress,
    PresentationContext,
    Response,
    RoleProposal,
    Status,
    StoreRequest,
    connect,
)
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_adapter.dimse.transport import ReceiveBuffer
from dicom_adapter.services.datasets import encode
from tests.adapter.dimse.serving import Recorder
from tests.support.orthanc import free_port

AIMS = {0: 5.0, 50: 10.0}


def adapter(directory: Path, url: str, sink: int, reports: int) -> tuple[Process, int]:
    """The adapter as users run it, and its port."""
    port = free_port()
    peers = [{"aeTitle": "SINK", "host": "127.0.0.1", "port": sink}, {"aeTitle": "BENCH", "host": "127.0.0.1", "port": reports}]
    file = directory / "dicomadapter.json"
    spec = {"aeTitle": "GATE", "port": port, "dicomStore": url, "peers": peers}
    named = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomAdapter", "metadata": {"name": "bench", "namespace": "bench"}}
    file.write_text(json.dumps({**named, "spec": spec}))
    arguments = ("import", f"--config={file}", f"--mounts_directory={directory}", f"--http_port={free_port()}", "--http_host=127.0.0.1")
    return receivers.listening(Process(python("dicom_adapter", *arguments), quiet=True), port)


def study() -> bytes:
    """The identifier of the archive's study."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", STUDY
    return encode(identifier, images.EXPLICIT)


async def move(port: int, count: int) -> float:
    """Seconds of a C-MOVE."""
    contexts = [PresentationContext(STUDY_ROOT_MOVE, (images.EXPLICIT,))]
    async with await connect(PeerAddress("GATE", "127.0.0.1", port), calling_ae_title="BENCH", contexts=contexts) as association:
        began = time.monotonic()
        async for response in association.move(STUDY_ROOT_MOVE, study(), "SINK"):
            last = response
        return _seconds(began, last, count)


async def get(port: int, count: int) -> float:
    """Seconds of a C-GET."""

    async def store(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        return Status(0)

    contexts = [PresentationContext(uid, (images.EXPLICIT,)) for uid in (STUDY_ROOT_GET, images.CT_STORAGE)]
    extras = Extras(roles={images.CT_STORAGE: RoleProposal(scu=False, scp=True)})
    gate = PeerAddress("GATE", "127.0.0.1", port)
    handlers, buffer = Handlers(store=store), ReceiveBuffer(1 << 18)
    async with await connect(
        gate, calling_ae_title="BENCH", contexts=contexts, handlers=handlers, extras=extras, buffer=buffer
    ) as association:
        began = time.monotonic()
        async for response in association.get(STUDY_ROOT_GET, study()):
            last = response
        return _seconds(began, last, count)


def _seconds(began: float, last: Response, count: int) -> float:
    ended = time.monotonic()
    if last.status.code or last.sub_operations is None or last.sub_operations.completed != count:
        raise SystemExit(f"not everything was sent: {last}")
    return ended - began


async def commit(port: int, reports: int, count: int) -> float:
    """Seconds from the N-ACTION to its report."""
    told = asyncio.Event()

    async def report(request: NormalizedRequest) -> Response:
        if request.type_id == 1:
            told.set()
        return Response(Status(0))

    server = DimseServer(ae_titles=["BENCH"], handlers=Handlers(n_event_report=report), limits=Limits(), observer=Recorder())
    await server.start("127.0.0.1", reports)
    information = Dataset()
    information.TransactionUID, information.ReferencedSOPSequence = "2.25.9", Sequence([_reference(number) for number in range(count)])
    contexts = [PresentationContext(STORAGE_COMMITMENT, (images.EXPLICIT,))]
    async with await connect(PeerAddress("GATE", "127.0.0.1", port), calling_ae_title="BENCH", contexts=contexts) as association:
        began = time.monotonic()
        await association.n_action(STORAGE_COMMITMENT, "1.2.840.10008.1.20.1.1", 1, encode(information, images.EXPLICIT))
        await asyncio.wait_for(told.wait(), 120)
        seconds = time.monotonic() - began
    server.abort()
    await server.wait_closed()
    return seconds


def _reference(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = images.CT_STORAGE, images.uid(number)
    return item


def sequential(url: str, sink: int) -> float:
    """Seconds of the peer."""
    command = [str(word) for word in python("bench.load.fetcher", url, str(sink))]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    return float(found.stdout)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.move", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--size", type=int, default=500_000)
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 50], metavar="MS")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count = options.count
    print(f"{count} images of {options.size} bytes; {os.cpu_count()} cores, Python {platform.python_version()}")
    source, sink = Process(python("bench.load.archive", str(count), str(options.size))), Process(python("bench.load.scp"))
    reports = free_port()
    try:
        url, sink_port = f"http://127.0.0.1:{source.answer()}/dicom-web", int(sink.answer())
        with tempfile.TemporaryDirectory() as directory:
            ours, port = adapter(Path(directory), url, sink_port, reports)
            try:
                _table(options, source, url, sink_port, ours, port)
                source.ask("requests")
                source.answer()
                seconds = uvloop.run(commit(port, reports, count))
                source.ask("requests")
                print(f"\ncommitment of {count} instances: {source.answer()} requests, {seconds:.2f} s")
            finally:
                ours.end()
    finally:
        source.end()
        sink.end()


def _table(options: argparse.Namespace, source: Process, url: str, sink: int, ours: Process, port: int) -> None:
    runs: dict[str, Callable[[int, int], Coroutine[None, None, float]]] = {"C-MOVE": move, "C-GET": get}
    print("\n| | pynetdicom + requests | ours | images/s | ratio | aim | peak RSS |\n| --- | --- | --- | --- | --- | --- | --- |")
    for milliseconds in options.latency:
        source.ask(str(milliseconds))
        source.answer()
        seconds: dict[str, list[float]] = {name: [] for name in ("peer", *runs)}
        for _ in range(options.rounds):
            seconds["peer"].append(sequential(url, sink))
            for name, run in runs.items():
                seconds[name].append(uvloop.run(run(port, options.count)))
        peer = statistics.median(seconds["peer"])
        for name in runs:
            own = statistics.median(seconds[name])
            rss = ours.peak_bytes() >> 20
            cells = (f"{name}, {milliseconds} ms", f"{peer:.2f} s", f"{own:.2f} s", f"{options.count / own:.0f}", f"{peer / own:.1f}")
            print(f"| {' | '.join(cells)} | {AIMS.get(milliseconds, 5.0):.0f} | {rss} MB |")


if __name__ == "__main__":
    main()

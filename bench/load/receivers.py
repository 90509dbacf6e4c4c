"""Who receives: our engine and its peers, each in a process of its own.

    python -m bench.load.receivers ours|stock|relay [URL]

serves one of those that are Python, and prints its port.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.load.process import SYSTEM_PATH, Process, python
from tests.support.orthanc import free_port

MAXIMUM_LENGTH = 131072

Start = Callable[[Path, str], tuple[Process, int]]
"""Starts a receiver, with a directory of its own and the URL of a store, and returns it with its port."""


def ours(_: Path, __: str) -> tuple[Process, int]:
    """The engine on uvloop, its handler reads the data set and drops it."""
    return _announced("ours")


def adapter(directory: Path, url: str) -> tuple[Process, int]:
    """The adapter as users run it: configuration file, logs, metrics, probe."""
    return configured(directory, url, free_port(), {})


def configured(directory: Path, url: str, http_port: int, spec: dict[str, Any], *flags: str) -> tuple[Process, int]:
    """The same, with more in its `spec` and further flags; `http_port` is for its metrics."""
    port = free_port()
    document = {
        "apiVersion": "dicomadapter.io/v1alpha1",
        "kind": "DicomAdapter",
        "metadata": {"name": "bench", "namespace": "bench"},
        "spec": {"aeTitle": "SINK", "port": port, "dicomStore": url, **spec},
    }
    file = directory / "dicomadapter.json"
    file.write_text(json.dumps(document))
    arguments = (
        "import",
        f"--config={file}",
        f"--mounts_directory={directory}",
        f"--http_port={http_port}",
        "--http_host=127.0.0.1",
        *flags,
    )
    return listening(Process(python("dicom_adapter", *arguments), quiet=True), port)


def stock(_: Path, __: str) -> tuple[Process, int]:
    """Stock pynetdicom, its PDU length raised to ours."""
    return _announced("stock")


def relay(_: Path, url: str) -> tuple[Process, int]:
    """Stock pynetdicom, its PDU length raised to ours, and a `requests` session per association."""
    return _announced("relay", url)


def storescp(directory: Path, _: str, port: int = 0) -> tuple[Process, int]:
    """The storescp of dcmtk: a process per association, what it receives is ignored."""
    port = port or free_port()
    words = (program("storescp"), "--fork", "--ignore", "--max-pdu", str(MAXIMUM_LENGTH), "--output-directory", directory, str(port))
    return listening(Process(words, quiet=True), port)


def orthanc(directory: Path, _: str) -> tuple[Process, int]:
    """Orthanc: it stores what it receives, in files and an SQLite index."""
    port = free_port()
    configuration = {
        "StorageDirectory": str(directory / "storage"),
        "HttpServerEnabled": False,
        "DicomAet": "SINK",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": MAXIMUM_LENGTH,
        "DicomThreadsCount": 16,
    }
    file = directory / "orthanc.json"
    file.write_text(json.dumps(configuration))
    return listening(Process((program("Orthanc"), file), quiet=True), port)


def program(name: str) -> str:
    """Where a program is; pynetdicom's scripts of the same names in the virtual environment are not meant."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise SystemExit(f"{name} is missing: make setup")
    return found


def _announced(*arguments: str) -> tuple[Process, int]:
    process = Process(python("bench.load.receivers", *arguments))
    return process, int(process.answer())


def listening(process: Process, port: int) -> tuple[Process, int]:
    """Wait until it listens. It is not connected to: some count that as an association."""
    wanted = f":{port:04X} "
    while not any(line.split()[1].endswith(wanted.strip()) and line.split()[3] == "0A" for line in _sockets()):
        if not process.running():
            raise SystemExit("a receiver did not start")
        time.sleep(0.02)
    return process, port


def _sockets() -> list[str]:
    return [line for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]]


# In the receiver's process


async def _engine() -> None:
    from dicom_adapter.allocator import keep_freed_memory
    from dicom_adapter.dimse import DimseServer, Handlers, Limits, Status, StoreRequest
    from tests.support.sink import Silent

    keep_freed_memory()  # as the adapter does

    async def sink(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        return Status(0)

    limits = Limits(max_pdu_bytes=MAXIMUM_LENGTH)
    server = DimseServer(ae_titles=["SINK"], handlers=Handlers(store=sink), limits=limits, observer=Silent())
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()


def _stock(store: Callable[[Any], int]) -> None:
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    node = AE("SINK")
    node.maximum_pdu_size = MAXIMUM_LENGTH
    node.maximum_associations = 32
    node.supported_contexts = AllStoragePresentationContexts
    server = node.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    assert server.socket is not None
    print(server.socket.getsockname()[1], flush=True)
    while True:
        time.sleep(3600)


def _relay(url: str) -> Callable[[Any], int]:
    """A handler as people write it: the file is encoded anew and posted, over a connection that is kept."""
    import threading

    import requests

    local = threading.local()

    def store(event: Any) -> int:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        body = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + event.encoded_dataset() + b"\r\n--frontier--\r\n"
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=frontier', "Accept": "application/dicom+json"}
        answer = local.session.post(f"{url}/studies", data=body, headers=headers, timeout=60)
        return 0x0000 if answer.ok and "00081199" in answer.json() else 0xA700

    return store


def main() -> None:
    """Serve until killed."""
    match sys.argv[1:]:
        case ["ours"]:
            import uvloop

            uvloop.run(_engine())
        case ["stock"]:
            _stock(lambda _: 0x0000)
        case ["relay", url]:
            _stock(_relay(url))


if __name__ == "__main__":
    main()

"""Who sends: our engine and its peers.

    python -m bench.load.senders ours|stock PORT FILE...

For each line `N M` on its standard input it sends M instances over each of N associations at once, then says `sent`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.load.images import CT_STORAGE, EXPLICIT, Images, uid
from bench.load.process import ENVIRONMENT, Process, python, resident_peak
from bench.load.receivers import MAXIMUM_LENGTH, listening, program
from tests.support.orthanc import free_port

PIECE = 1 << 18


class Worker:
    """One of our own programs: one process, however many associations."""

    def __init__(self, kind: str, port: int, sample: Images) -> None:
        self.process = Process(python("bench.load.senders", kind, str(port), *sample.files))

    def send(self, associations: int, count: int) -> float:
        """Send `count` instances over each association; return the CPU seconds that it took."""
        used = self.process.cpu_seconds()
        self.process.ask(f"{associations} {count}")
        self.process.answer()
        return self.process.cpu_seconds() - used

    def peak_bytes(self) -> int:
        """Peak resident size."""
        return self.process.peak_bytes()

    def end(self) -> None:
        """End it."""
        self.process.end()


class Dcmsend:
    """A dcmsend of dcmtk for each association; its CPU seconds count from its start."""

    def __init__(self, directory: Path, port: int, sample: Images) -> None:
        self._command = [program("dcmsend"), "--no-uid-checks", "--max-pdu", str(MAXIMUM_LENGTH), "-aec", "SINK", "127.0.0.1", str(port)]
        self._list = directory / "dcmsend.txt"
        self._sample = sample
        self._peak = 0

    def send(self, associations: int, count: int) -> float:
        """Send `count` instances over each association; return the CPU seconds that it took."""
        self._list.write_text("\n".join(str(file) for file in itertools.islice(itertools.cycle(self._sample.files), count)))
        started = [subprocess.Popen([*self._command, f"@{self._list}"], env=ENVIRONMENT) for _ in range(associations)]
        peaks = dict.fromkeys((process.pid for process in started), 0)
        used = 0.0
        while running := [process for process in started if process.returncode is None]:
            for process in running:
                peaks[process.pid] = max(peaks[process.pid], resident_peak(process.pid))
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    used += usage.ru_utime + usage.ru_stime
            time.sleep(0.02)
        if any(process.returncode for process in started):
            raise SystemExit("dcmsend failed")
        self._peak = max(self._peak, sum(peaks.values()))
        return used

    def peak_bytes(self) -> int:
        """Peak resident size of all of them."""
        return self._peak

    def end(self) -> None:
        """Nothing runs between two rounds."""


class Orthanc:
    """Orthanc, told to send what it has stored; each round is all of the sample, whatever is asked for."""

    def __init__(self, directory: Path, port: int, sample: Images) -> None:
        self._port = free_port()
        configuration = {
            "StorageDirectory": str(directory / "storage"),
            "HttpPort": self._port,
            "DicomServerEnabled": False,
            "DicomModalities": {"SINK": ["SINK", "127.0.0.1", port]},
            "MaximumPduLength": MAXIMUM_LENGTH,
            "TcpNoDelay": True,
        }
        file = directory / "orthanc.json"
        file.write_text(json.dumps(configuration))
        self._process, _ = listening(Process((program("Orthanc"), file), quiet=True), self._port)
        self._names = [self._post("/instances", image.read_bytes())["ID"] for image in sample.files]

    def _post(self, path: str, body: bytes) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", data=body, timeout=300) as response:
            return json.loads(response.read())

    def send(self, associations: int, _: int) -> float:
        """Send all it has over each association; return the CPU seconds that it took."""
        used = self._process.cpu_seconds()
        order = json.dumps({"Resources": self._names, "Synchronous": True}).encode()
        with ThreadPoolExecutor(associations) as pool:
            list(pool.map(lambda _: self._post("/modalities/SINK/store", order), range(associations)))
        return self._process.cpu_seconds() - used

    def peak_bytes(self) -> int:
        """Peak resident size."""
        return self._process.peak_bytes()

    def end(self) -> None:
        """End it."""
        self._process.end()


# In the sender's process


async def _ours(port: int, files: Sequence[Path]) -> None:
    from dicom_adapter.allocator import keep_freed_memory
    from dicom_adapter.dimse import Limits, PeerAddress, PresentationContext, SopInstance, connect

    keep_freed_memory()  # as the adapter does
    peer, contexts = PeerAddress("SINK", "127.0.0.1", port), [PresentationContext(CT_STORAGE, (EXPLICIT,))]

    async def pieces(file: Path) -> AsyncIterator[bytes]:
        with file.open("rb") as opened:
            head = opened.read(144)
            opened.seek(int.from_bytes(head[140:144], "little"), os.SEEK_CUR)
            while piece := opened.read(PIECE):
                yield piece

    async def send(count: int) -> None:
        limits = Limits(max_pdu_bytes=MAXIMUM_LENGTH)
        async with await connect(peer, calling_ae_title="BENCH", contexts=contexts, limits=limits) as association:
            for number, file in itertools.islice(itertools.cycle(enumerate(files)), count):
                status = await association.store(SopInstance(CT_STORAGE, uid(number), EXPLICIT, pieces(file)))
                if status.code:
                    raise SystemExit(f"not stored: {status}")

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        associations, count = map(int, line.split())
        await asyncio.gather(*(send(count) for _ in range(associations)))
        print("sent", flush=True)


def _stock(port: int, files: Sequence[Path]) -> None:
    """Stock pynetdicom, its PDU length raised to ours, a thread per association."""
    from pynetdicom import AE

    def send(count: int) -> None:
        node = AE("BENCH")
        node.maximum_pdu_size = MAXIMUM_LENGTH
        node.add_requested_context(CT_STORAGE, EXPLICIT)
        association = node.associate("127.0.0.1", port, ae_title="SINK", max_pdu=MAXIMUM_LENGTH)
        for file in itertools.islice(itertools.cycle(files), count):
            if association.send_c_store(file).Status:
                raise SystemExit("not stored")
        association.release()

    for associations, count in _orders():
        threads = [threading.Thread(target=send, args=(count,)) for _ in range(associations)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("sent", flush=True)


def _orders() -> Iterator[tuple[int, int]]:
    for line in sys.stdin:
        associations, count = map(int, line.split())
        yield associations, count


def main() -> None:
    """Serve rounds until standard input ends."""
    kind, port, *files = sys.argv[1:]
    paths = [Path(file) for file in files]
    if kind == "ours":
        import uvloop

        uvloop.run(_ours(int(port), paths))
    else:
        _stock(int(port), paths)


if __name__ == "__main__":
    main()

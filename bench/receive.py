"""How fast C-STORE is received into a null sink: our engine and stock pynetdicom, one run, one table.

    python bench/receive.py [--files 400] [--bytes 524288] [--rounds 5] [--associations 1 4]

The sender is dcmtk's dcmsend with TCP_NODELAY=1 (without it Nagle's algorithm costs every sender 40 ms an image, on any receiver). The
receivers take turns, so that what else the machine does hits all alike; the first round of each is not counted.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def serve_ours(*, fast_loop: bool) -> None:
    """Serve with the engine, until killed."""
    from dicom_adapter.dimse import DimseServer, Handlers, Limits, Status, StoreRequest

    async def sink(request: StoreRequest) -> Status:
        async for _ in request.body:
            pass
        return Status(0)

    class Silent:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: None

    async def serve() -> None:
        server = DimseServer(ae_titles=["SINK"], handlers=Handlers(store=sink), limits=Limits(), observer=Silent())
        await server.start("127.0.0.1", 0)
        print(server.port, flush=True)
        await server.wait_closed()

    if fast_loop:
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())


def serve_stock() -> None:
    """Serve with stock pynetdicom, its PDU length raised to ours, until killed."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    node = AE("SINK")
    node.maximum_pdu_size = 131072
    node.supported_contexts = AllStoragePresentationContexts
    server = node.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    assert server is not None and server.socket is not None  # noqa: PT018
    print(server.socket.getsockname()[1], flush=True)
    while True:
        time.sleep(3600)


def write_files(directory: Path, count: int, size: int) -> None:
    """Write CT images of `size` bytes of pixel data each."""
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import generate_uid

    image = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for number in range(count):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PixelData = os.urandom(size & ~1)
        image.save_as(directory / f"{number:05}.dcm")


class Receiver:
    """A receiver in a process of its own."""

    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.rates: dict[int, list[float]] = {}
        self.cpu: dict[int, list[float]] = {}

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak_megabytes(self) -> float:
        """Peak resident size."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def round(self, directory: Path, files: int, size: int, associations: int) -> None:
        """Send all files over each of `associations` and note rate and CPU seconds per GB."""
        program = shutil.which("dcmsend", path="/usr/local/bin:/usr/bin:/bin")
        if program is None:
            sys.exit("dcmtk's dcmsend is missing: apt-get install dcmtk")
        command = [program, "-aec", "SINK", "127.0.0.1", str(self.port), "--scan-directories", str(directory)]
        used, began = self.cpu_seconds(), time.perf_counter()
        senders = [subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"}) for _ in range(associations)]
        if any(sender.wait() for sender in senders):
            sys.exit("dcmsend failed")
        seconds = time.perf_counter() - began
        self.rates.setdefault(associations, []).append(files * associations / seconds)
        self.cpu.setdefault(associations, []).append((self.cpu_seconds() - used) / (files * associations * size / 1e9))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=["ours", "ours, uvloop", "stock pynetdicom"], help=argparse.SUPPRESS)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--bytes", type=int, default=524288)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    if options.serve == "stock pynetdicom":
        serve_stock()
    elif options.serve:
        serve_ours(fast_loop=options.serve.endswith("uvloop"))
    else:
        compare(options.files, options.bytes, options.rounds, options.associations)


def compare(files: int, size: int, rounds: int, associations: list[int]) -> None:
    """Let the receivers take turns."""
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory), files, size)
        receivers = {kind: Receiver(kind) for kind in ("ours", "ours, uvloop", "stock pynetdicom")}
        try:
            for number in associations:
                for _ in range(rounds + 1):
                    for receiver in receivers.values():
                        receiver.round(Path(directory), files, size, number)
            print(f"{files} images of {size} bytes per association, dcmsend with TCP_NODELAY=1, median of {rounds} rounds\n")
            print(f"{'receiver':18} {'associations':>12} {'images/s':>9} {'of stock':>9} {'CPU s/GB':>9} {'peak MB':>8}")
            for number in associations:
                stock = statistics.median(receivers["stock pynetdicom"].rates[number][1:])
                for kind, receiver in receivers.items():
                    rate, cpu = statistics.median(receiver.rates[number][1:]), statistics.median(receiver.cpu[number][1:])
                    print(f"{kind:18} {number:12} {rate:9.0f} {rate / stock:8.1f}x {cpu:9.2f} {receiver.peak_megabytes():8.0f}")
        finally:
            for receiver in receivers.values():
                receiver.process.kill()
                receiver.process.wait()


if __name__ == "__main__":
    main()

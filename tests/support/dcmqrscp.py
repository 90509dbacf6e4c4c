"""dcmtk's own archive, dcmqrscp, on a free loopback port: files of a directory of its own, indexed before it starts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.support.orthanc import free_port

TITLE = "DCMTK"


class Dcmqrscp:
    """A running archive with these Part 10 files; ends with the `with` block. It knows `peers`: AE title -> port."""

    def __init__(self, contents: Iterable[bytes], peers: Mapping[str, int] | None = None) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="dcmqrscp-")
        self._process: subprocess.Popen[bytes] | None = None
        root = Path(self._directory.name)
        (root / "index").mkdir()
        (root / "files").mkdir()
        files = []
        for number, content in enumerate(contents):
            files.append(str(root / "files" / f"{number:05}.dcm"))
            Path(files[-1]).write_bytes(content)
        subprocess.run(["dcmqridx", str(root / "index"), *files], check=True, capture_output=True, timeout=60)
        hosts = [f"{title.lower()} = ({title}, 127.0.0.1, {port})" for title, port in (peers or {}).items()]
        lines = [f"NetworkTCPPort = {self.port}", "MaxPDUSize = 131072", "MaxAssociations = 16"]
        lines += ["HostTable BEGIN", *hosts, "HostTable END", "VendorTable BEGIN", "VendorTable END"]
        lines += ["AETable BEGIN", f"{TITLE} {root / 'index'} R (10000, 1024mb) ANY", "AETable END", ""]
        self._configuration = root / "dcmqrscp.cfg"
        self._configuration.write_text("\n".join(lines))

    def __enter__(self) -> Self:
        environment = {**os.environ, "TCP_NODELAY": "1"}
        command = ["dcmqrscp", "-c", str(self._configuration)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dcmqrscp does not listen: {self._process.poll()}")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(60)
        self._directory.cleanup()

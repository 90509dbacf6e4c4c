"""Orthanc with its DICOMweb plugin, as Debian packages it, on free loopback ports with a storage of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


_FIRST = 10_000 + 5_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4)
_ports = itertools.cycle(range(_FIRST, _FIRST + 5_000))
for _ in range(random.randrange(5_000)):
    next(_ports)


def free_port() -> int:
    """A loopback port that was free a moment ago, and that nobody is given meanwhile.

    It is none of those that Linux gives to connections (from 32768), nor one of another process of this run, nor one that was given here
    a moment ago, perhaps to a program that has not opened it yet.
    """
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable")


class Orthanc:
    """A running Orthanc; ends with the `with` block. With `dicom` it is a DICOM node too, which knows `peers`: AE title -> port.

    `encoding` is its DefaultEncoding: what it answers in. Its own default, Latin1, loses what is beyond that.
    """

    def __init__(self, *, dicom: bool = False, peers: Mapping[str, int] | None = None, encoding: str = "Latin1") -> None:
        self._encoding = encoding
        self.http_port = free_port()
        self.dicom_port = free_port()
        self._dicom = dicom
        self._peers = peers or {}
        self._directory = tempfile.TemporaryDirectory(prefix="orthanc-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dicomweb_url(self) -> str:
        """Base URL of its DICOMweb service."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def __enter__(self) -> Self:
        directory = Path(self._directory.name)
        configuration = {
            "Name": "test",
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "storage"),
            "HttpServerEnabled": True,
            "HttpPort": self.http_port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": self._dicom,
            "DicomPort": self.dicom_port,
            "DicomModalities": {title: [title, "127.0.0.1", port] for title, port in self._peers.items()},
            "OverwriteInstances": True,
            "DefaultEncoding": self._encoding,
            "Plugins": [_PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        file = directory / "orthanc.json"
        file.write_text(json.dumps(configuration))
        self._log = (directory / "orthanc.log").open("wb")
        self._process = subprocess.Popen(["Orthanc", str(file)], stdout=self._log, stderr=subprocess.STDOUT)
        self._wait(120.0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(60)
        self._log.close()
        self._directory.cleanup()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.get("/studies")
                return
            except (urllib.error.URLError, ConnectionError):
                assert self._process
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(Path(self._directory.name, "orthanc.log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def get(self, path: str) -> Any:
        """A QIDO-RS search below the base URL."""
        with urllib.request.urlopen(self.dicomweb_url + path, timeout=60) as response:
            return json.loads(response.read() or b"[]")

    def instances(self) -> set[str]:
        """The SOP Instance UIDs that it holds."""
        return {item["00080018"]["Value"][0] for item in self.get("/instances?limit=10000")}

    def file(self, sop_instance_uid: str) -> bytes:
        """The Part 10 file of an instance, byte for byte as it was stored."""
        (identifier,) = self._post("/tools/find", json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}).encode())
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/instances/{identifier}/file", timeout=60) as response:
            return bytes(response.read())

    def take(self, part10: bytes) -> str:
        """Stores an instance; returns Orthanc's name for it."""
        return str(self._post("/instances", part10)["ID"])

    def send(self, peer: str, names: Sequence[str]) -> int:
        """Sends instances to a peer over one association; returns how many the peer did not store."""
        return int(
            self._post(f"/modalities/{peer}/store", json.dumps({"Resources": names, "Synchronous": True}).encode())["FailedInstancesCount"]
        )

    def ask(self, path: str, what: Any) -> Any:
        """A POST to its own API, JSON both ways."""
        return self._post(path, json.dumps(what).encode())

    def answer(self, path: str) -> Any:
        """A GET from its own API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=60) as response:
            return json.loads(response.read())

    def _post(self, path: str, body: bytes) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", data=body, timeout=60) as response:
            return json.loads(response.read())

"""Orthanc with its DICOMweb plugin, as Debian packages it, on free loopback ports with a storage of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A running Orthanc; ends with the `with` block."""

    def __init__(self) -> None:
        self.http_port = free_port()
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
            "DicomServerEnabled": False,
            "Plugins": [_PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        file = directory / "orthanc.json"
        file.write_text(json.dumps(configuration))
        self._log = (directory / "orthanc.log").open("wb")
        self._process = subprocess.Popen(["Orthanc", str(file)], stdout=self._log, stderr=subprocess.STDOUT)
        self._wait(30.0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(20)
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
        with urllib.request.urlopen(self.dicomweb_url + path, timeout=10) as response:
            return json.loads(response.read() or b"[]")

    def instances(self) -> set[str]:
        """The SOP Instance UIDs that it holds."""
        return {item["00080018"]["Value"][0] for item in self.get("/instances?limit=10000")}

    def file(self, sop_instance_uid: str) -> bytes:
        """The Part 10 file of an instance, byte for byte as it was stored."""
        root = f"http://127.0.0.1:{self.http_port}"
        query = json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}).encode()
        with urllib.request.urlopen(f"{root}/tools/find", data=query, timeout=10) as response:
            (identifier,) = json.loads(response.read())
        with urllib.request.urlopen(f"{root}/instances/{identifier}/file", timeout=10) as response:
            return bytes(response.read())

"""A real API server for tests that need no pods: etcd, API server and controller manager on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.kubernetes import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]


class ApiServer:
    """A context manager over `python3 -m cluster api`.

    Enter it in the main thread: the server ends with the thread that started it, so that a killed test run leaves nothing behind.
    """

    kubeconfig: Path
    server: str
    audit_log: Path
    kubectl_path: Path

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="apiserver-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        directory = Path(self._temporary.name, "state")
        command = [sys.executable, "-m", "cluster", "api", "--directory", str(directory)]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._temporary.cleanup()
            raise RuntimeError("the API server did not start; its own words are on stderr")
        ready: dict[str, Any] = json.loads(line)
        self.kubeconfig = Path(ready["kubeconfig"])
        self.server = ready["server"]
        self.audit_log = Path(ready["auditLog"])
        self.kubectl_path = Path(ready["kubectl"])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate()
        self._temporary.cleanup()

    def restart(self) -> None:
        """Have the API server killed and started anew; etcd keeps what was stored. It may answer for a moment yet: see `started`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def started(self) -> str:
        """When the API server that answers now was started; "" while none is ready."""
        if self.kubectl("get", "--raw=/readyz", check=False).returncode != 0:
            return ""
        lines = self.kubectl("get", "--raw=/metrics", check=False).stdout.splitlines()
        return next((line.split()[1] for line in lines if line.startswith("process_start_time_seconds ")), "")

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of a process that is to act as the administrator, with kubectl on its PATH."""
        path = f"{self.kubectl_path.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; raises AssertionError with what it said unless it succeeds or check is False."""
        command = [str(self.kubectl_path), *arguments]
        result = subprocess.run(command, env=self.environment, input=input, capture_output=True, text=True, check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: exit status {result.returncode}: {result.stderr.strip()}")
        return result

    def install_crds(self) -> None:
        """Apply crds/ and wait until the resources are served."""
        self.kubectl("apply", "--server-side", f"--filename={REPOSITORY / 'crds'}")
        self.wait_served()

    def wait_served(self, *plurals: str) -> None:
        """Wait until these kinds can be listed, by default all of crds/.

        `kubectl wait --for=condition=Established` fails at once while a CRD has no conditions, and ends before discovery knows the kind.
        """
        names = sorted(plurals or (path.stem for path in (REPOSITORY / "crds").glob("*.yaml")))
        command = ("get", ",".join(names), "--all-namespaces", "--output=name")
        wait_until("the kinds are served", lambda: self.kubectl(*command, check=False).returncode == 0)

    def kubeconfig_for(self, service_account: str, namespace: str) -> Path:
        """Write a client configuration that acts as a service account, to see what its roles let it do."""
        token = self.kubectl("create", "token", service_account, f"--namespace={namespace}").stdout.strip()
        document: dict[str, Any] = json.loads(self.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token}
        path = self.kubeconfig.with_name(f"{namespace}-{service_account}.kubeconfig")
        path.write_text(json.dumps(document))
        return path

    def audited(self) -> Iterator[dict[str, Any]]:
        """The requests that the server has answered, in order, as audit.k8s.io/v1 Events."""
        return whole_lines(self.audit_log)


def whole_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file; one that is just being written is none yet."""
    with log.open() as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            yield json.loads(line)

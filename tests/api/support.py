"""What the tests against a real API server share: a small client, the operator as a process, and pods that only exist on paper.

There is no kubelet and no scheduler here: the controllers make ReplicaSets and pods, and the tests write what a kubelet would write.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import canaries, cloudlogging
from tests.support.apiserver import ApiServer
from tests.support.kubernetes import condition, wait_until
from tests.support.orthanc import free_port

IMAGE = "localhost/dicom-adapter:dev"
STORE = "http://10.10.0.1:8042/dicom-web"
ADAPTERS = "/apis/dicomadapter.io/v1alpha1"
PATHS = {
    "serviceaccounts": "/api/v1",
    "configmaps": "/api/v1",
    "services": "/api/v1",
    "pods": "/api/v1",
    "events": "/api/v1",
    "secrets": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "dicomadapters": ADAPTERS,
    "dicomexports": ADAPTERS,
}
OWNED = ("serviceaccounts", "configmaps", "deployments", "statefulsets", "services", "networkpolicies", "poddisruptionbudgets")
WRITES = ("create", "update", "patch", "delete", "deletecollection")


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Api:
    """The API server over HTTP, as the administrator: kubectl takes 100 ms to start, too long to measure with."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        config = json.loads(server.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.ssl_context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self.ssl_context.load_cert_chain(pair.name)
        self._host = urllib.parse.urlsplit(cluster["server"]).netloc
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request; raises Refused. A kind that is being set up answers 429 for a moment, and is waited for."""
        data = None if body is None else json.dumps(body)
        deadline = time.monotonic() + 60
        while True:
            status, found = self._send(method, path, data, content_type)
            if status != 429 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if status >= 400:
            raise Refused(status, found.get("message", ""))
        return found

    def _send(self, method: str, path: str, data: str | None, content_type: str) -> tuple[int, Any]:
        for attempt in (1, 2):  # a kept connection may have been closed meanwhile
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(self._host, context=self.ssl_context, timeout=60)
            try:
                self._connection.request(method, path, data, {"Content-Type": content_type})
                answer = self._connection.getresponse()
                return answer.status, json.loads(answer.read())
            except (http.client.HTTPException, ConnectionError, ssl.SSLError):
                self._connection.close()
                self._connection = None
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def get(self, path: str) -> Any:
        try:
            return self.request("GET", path)
        except Refused as refusal:
            if refusal.code == 404:
                return None
            raise

    def create(self, path: str, body: Any) -> Any:
        return self.request("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        try:
            self.request("DELETE", path)
        except Refused as refusal:
            if refusal.code != 404:
                raise


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace, for one test."""

    api: Api
    name: str

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        parts = [f"{PATHS[plural]}/namespaces/{self.name}/{plural}", name, subresource]
        return "/".join(part for part in parts if part)

    def get(self, plural: str, name: str) -> Any:
        return self.api.get(self.path(plural, name))

    def all(self, plural: str, selector: str = "") -> list[Any]:
        query = f"?labelSelector={urllib.parse.quote(selector)}" if selector else ""
        return list(self.api.get(self.path(plural) + query)["items"])

    def patch(self, plural: str, name: str, body: Any, subresource: str = "") -> Any:
        return self.api.patch(self.path(plural, name, subresource), body)

    def delete(self, plural: str, name: str) -> None:
        self.api.delete(self.path(plural, name))

    def create(self, plural: str, body: Any) -> Any:
        return self.api.create(self.path(plural), body)

    def scan(self) -> None:
        """Looks for canaries in what the operator has written here: status, events and children."""
        canaries.scan({plural: json.dumps(self.all(plural)) for plural in ("dicomadapters", "dicomexports", "events", *OWNED)})

    def adapter(self, name: str = "ct-east", annotations: Mapping[str, str] | None = None, **spec: Any) -> Any:
        """Creates a DicomAdapter."""
        body = {
            "apiVersion": "dicomadapter.io/v1alpha1",
            "kind": "DicomAdapter",
            "metadata": {"name": name, "annotations": dict(annotations or {})},
            "spec": {"aeTitle": "IMPORTADAPTER", "port": 2575, "dicomStore": STORE, **spec},
        }
        return self.create("dicomadapters", body)

    def export(self, name: str = "to-pacs", **spec: Any) -> Any:
        """Creates a DicomExport."""
        source = {
            "dicomStore": "projects/p/locations/l/datasets/d/dicomStores/s",
            "pubsub": {"subscription": "projects/p/subscriptions/to-pacs"},
        }
        peer = {"aeTitle": "PACS", "host": "10.1.2.3", "port": 104}
        found = {"source": source, "destination": {"peer": peer}, **spec}
        body = {"apiVersion": "dicomadapter.io/v1alpha1", "kind": "DicomExport", "metadata": {"name": name}, "spec": found}
        return self.create("dicomexports", body)

    def change(self, name: str = "ct-east", **spec: Any) -> None:
        """Changes fields of the spec, and waits until the operator has served the change."""
        generation = self.patch("dicomadapters", name, {"spec": spec})["metadata"]["generation"]
        wait_until(f"generation {generation} observed", lambda: self.status(name).get("observedGeneration") == generation)

    def status(self, name: str = "ct-east") -> dict[str, Any]:
        return dict((self.get("dicomadapters", name) or {}).get("status") or {})

    def condition(self, kind: str, name: str = "ct-east") -> dict[str, Any]:
        return condition(self.get("dicomadapters", name) or {}, kind)

    def wait_condition(self, kind: str, reason: str, name: str = "ct-east", seconds: float = 60) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            now = self.condition(kind, name)
            return now if now.get("reason") == reason else None

        return wait_until(f"{kind} {reason}", found, seconds=seconds, every=0.02) or {}

    def wait_for(self, plural: str, name: str, *, not_uid: str = "") -> Any:
        return wait_until(
            f"{plural} {name}",
            lambda: found if (found := self.get(plural, name)) and found["metadata"]["uid"] != not_uid else None,
            every=0.005,
        )

    def events(self, reason: str = "", name: str = "ct-east") -> list[Any]:
        return [
            item
            for item in self.all("events")
            if item["involvedObject"]["kind"] == "DicomAdapter"
            and item["involvedObject"]["name"] == name
            and reason in ("", item["reason"])
        ]

    def pods(self, name: str = "ct-east", count: int = 1) -> list[Any]:
        """The living pods, when there are so many."""
        selector = f"app.kubernetes.io/instance={name}"

        def living() -> list[Any]:
            return [pod for pod in self.all("pods", selector) if "deletionTimestamp" not in pod["metadata"]]

        found: list[Any] = []

        def so_many() -> bool:
            found[:] = living()
            return len(found) == count

        wait_until(f"{count} pods", so_many)
        return found

    def kubelet(self, pod: Any, status: Mapping[str, Any]) -> None:
        """Writes what a kubelet would write."""
        self.patch("pods", pod["metadata"]["name"], {"status": status}, "status")

    def pod_ready(self, pod: Any, address: str = "127.0.0.1") -> None:
        """It runs and is ready, unless it has gone: a rollout takes the old pod away as soon as the new one is."""
        try:
            self._running(pod, address)
        except Refused as refused:
            if refused.code != 404:
                raise

    def _running(self, pod: Any, address: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        container = {"name": "adapter", "image": IMAGE, "imageID": "", "ready": True, "started": True, "restartCount": 0}
        self.kubelet(
            pod,
            {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [
                    {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady", "PodScheduled")
                ],
                "containerStatuses": [{**container, "state": {"running": {"startedAt": now}}}],
            },
        )

    def container_status(self, pod: Any, **status: Any) -> None:
        container = {"name": "adapter", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": {}, **status}
        self.kubelet(pod, {"phase": "Pending", "containerStatuses": [container]})

    def address(self, address: str = "10.10.0.100", name: str = "ct-east") -> None:
        """What a cloud's load-balancer controller does."""
        entry = {"ip": address} if re.fullmatch(r"[0-9.]+|[0-9a-f:]+", address) else {"hostname": address}
        self.wait_for("services", name)
        self.patch("services", name, {"status": {"loadBalancer": {"ingress": [entry]}}}, "status")

    def serve_inside(self, name: str = "ct-east", count: int = 1) -> None:
        """As `serve`, for an adapter without a load balancer."""
        for pod in self.pods(name, count):
            self.pod_ready(pod)
        self.wait_condition("Ready", "Available", name)

    def serve(self, name: str = "ct-east", count: int = 1) -> None:
        """Pods become ready and the Service gets an address: then the adapter is Ready."""
        self.address(name=name)
        self.serve_inside(name, count)


@dataclass
class OperatorProcess:
    """The operator as users run it: a process with arguments and an environment."""

    environment: Mapping[str, str]
    arguments: tuple[str, ...] = ("--relist-seconds=2", "--probe-seconds=1")
    image: str = IMAGE
    process: subprocess.Popen[str] | None = None
    lines: list[str] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None:
                self.scan()
        finally:
            self.stop()

    def start(self) -> None:
        self.port = free_port()
        flags = [f"--adapter-image={self.image}", "--allowed-image=localhost/", f"--http-port={self.port}", "--http-host=127.0.0.1"]
        environment = {**self.environment, "POD_NAME": "operator-0", "POD_NAMESPACE": "dicom-system"}
        beside = self.environment["KUBECONFIG"] or f"{self.environment['HOME']}/none"
        self.log = Path(f"{beside}.operator-{self.port}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicom_operator", *flags, *self.arguments], env=environment, stderr=log, text=True
            )

    def output(self) -> str:
        return self.log.read_text()

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.output().splitlines()]

    def scan(self) -> None:
        """Looks for canaries in all that the operator has told."""
        outputs = {"the operator's log": self.output()}
        if self.process is not None and self.process.poll() is None:
            outputs["the operator's /metrics"] = self.http("/metrics")[1]
        canaries.scan(outputs)
        for line in self.output().splitlines():
            cloudlogging.read(line)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as Kubernetes stops it; returns the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def wait_exit(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=60)

    def wait_ready(self) -> None:
        wait_until("operator ready", lambda: self.http("/readyz")[0] == 200)

    def http(self, path: str) -> tuple[int, str]:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the operator ended with {self.process.returncode}: {self.output()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of a metric over the series that have these labels."""
        total = 0.0
        for line in self.http("/metrics")[1].splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total += float(found[2])
        return total

    def writes(self) -> Counter[tuple[str, str]]:
        """Requests that could change something, by verb and resource, at one moment."""
        found: Counter[tuple[str, str]] = Counter()
        for line in self.http("/metrics")[1].splitlines():
            name, _, rest = line.partition("{")
            labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            if name == "dicom_operator_api_requests_total" and labels["verb"] in WRITES:
                found[labels["verb"], labels["resource"]] += int(float(line.rpartition(" ")[2]))
        return found

    def resident_megabytes(self) -> float:
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

"""Just enough of a client of the API server to know when it is ready."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class ApiClient:
    """Reads with the identity of a client configuration."""

    host: str
    port: int
    context: ssl.SSLContext

    @classmethod
    def from_kubeconfig(cls, path: Path) -> ApiClient:
        """Read a client configuration that render_kubeconfig wrote."""
        document = json.loads(path.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        # The ssl module takes a client's key from files only.
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pem.flush()
            context.load_cert_chain(pem.name)
        server = urlsplit(cluster["server"])
        return cls(server.hostname or "", server.port or 443, context)

    def get(self, path: str) -> bytes | None:
        """Return the body of a 200 answer; None for any other and while nothing answers."""
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=5, context=self.context)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        return self.get(path) is not None

    def node_ready(self, name: str) -> bool:
        """Whether a node says that it is Ready."""
        body = self.get(f"/api/v1/nodes/{name}")
        node: dict[str, Any] = json.loads(body) if body else {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

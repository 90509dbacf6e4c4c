"""The Lease by which the replicas of the operator agree on a leader, as the API server keeps it (coordination.k8s.io)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from dicom_operator.api import LEASE, Json
from dicom_operator.apiserver.transport import Request, Transport
from dicom_operator.errors import ApiNotFound

WATCH_SECONDS = 300


class KubeLease:
    """One Lease over HTTP. Every change says which version it changes, so that of two replicas one gets 409."""

    def __init__(self, transport: Transport, namespace: str, name: str) -> None:
        self._transport = transport
        self._namespace = namespace
        self._name = name

    async def get(self) -> Json | None:
        """The Lease, read from etcd; None when there is none."""
        try:
            return await self._transport.send(Request("get", LEASE, self._namespace, self._name))
        except ApiNotFound:
            return None

    async def create(self, spec: Json) -> Json:
        """Makes the Lease; raises ApiConflict when somebody was faster."""
        body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": self._metadata(), "spec": spec}
        return await self._transport.send(Request("create", LEASE, self._namespace, body=body))

    async def update(self, lease: Json, spec: Json) -> Json:
        """Changes the Lease as it was seen; raises ApiConflict when it is another by now."""
        metadata = {**self._metadata(), "resourceVersion": lease["metadata"]["resourceVersion"], "uid": lease["metadata"]["uid"]}
        body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
        return await self._transport.send(Request("update", LEASE, self._namespace, self._name, body=body))

    async def follow(self, lease: Json) -> AsyncGenerator[Json, None]:
        """The Lease each time it changes after it was seen; ends when it is deleted or cannot be followed from there."""
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": lease["metadata"]["resourceVersion"],
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with aclosing(self._transport.follow(Request("watch", LEASE, self._namespace, query=query))) as events:
            async for event in events:
                if event["type"] not in ("ADDED", "MODIFIED"):
                    return
                yield event["object"]

    def _metadata(self) -> Json:
        return {"name": self._name, "namespace": self._namespace}

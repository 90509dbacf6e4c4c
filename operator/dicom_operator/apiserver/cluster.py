"""The API server as the reconciler needs it. The only module that reads from and writes to it, beside kopf's watches."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dicom_operator import api
from dicom_operator.api import BY_KIND, Json, Resource
from dicom_operator.apiserver.cache import Listing
from dicom_operator.apiserver.transport import JSON, Request, Transport, document
from dicom_operator.errors import ApiConflict, ApiNotFound, NotLeading

APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
ITEMS = b'"items":'
VERSION = ("namespace", "name", "resourceVersion")
METADATA = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Cluster(Protocol):
    """The seam that tests fake."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """An object, read from etcd; None when it is not there."""
        ...

    async def events_about(self, resource: Resource, namespace: str, name: str) -> list[Json]:
        """The events that others have written about an object."""
        ...

    async def list(self, resource: Resource, namespace: str | None, selector: str, *, cached: bool) -> Listing:
        """All objects of a kind; `cached` lets the API server answer from its memory."""
        ...

    async def versions(self, resource: Resource, namespace: str | None, selector: str) -> Listing:
        """Namespace, name and resource version of all objects of a kind, from the API server's memory."""
        ...

    async def apply(self, body: Json) -> Json:
        """Server-side apply; with `metadata.uid` only onto that very object."""
        ...

    async def apply_status(self, body: Json) -> Json:
        """Server-side apply of the status."""
        ...

    async def replace_ports(self, body: Json) -> Json:
        """Replaces the ports of that very Service as it was seen."""
        ...

    async def replace_container_ports(self, body: Json, containers: Sequence[Json]) -> Json:
        """Replaces the ports of these containers in that very workload as it was seen, and nothing else of it."""
        ...

    async def label(self, resource: Resource, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        """Sets labels, and removes those that are None; fine when the object is gone."""
        ...

    async def delete(self, body: Json) -> None:
        """Deletes that very object as it was seen; fine when it is gone or changed, for the watch tells of that."""
        ...

    async def create_event(self, body: Json) -> bool:
        """Creates an event; False when it exists."""
        ...

    async def patch_event(self, namespace: str, name: str, patch: Json) -> None:
        """Counts an event that repeats itself."""
        ...


class KubeCluster:
    """A Cluster over HTTP. Whether it may write is asked before each write: a replica that no longer leads must not."""

    def __init__(self, transport: Transport, may_write: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_write = may_write
        self._last: dict[tuple[Resource, str | None], tuple[bytes, list[Json]]] = {}
        """The digest of the last listing of versions, and what it said."""

    async def serves(self, resource: Resource) -> bool:
        """Whether discovery lists the kind."""
        try:
            found = await self._transport.send(Request("get", resource, path=f"/apis/{resource.group}/{resource.version}"))
        except ApiNotFound:
            return False
        return any(item["name"] == resource.plural for item in found.get("resources") or ())

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """See Cluster."""
        try:
            return await self._transport.send(Request("get", resource, namespace, name))
        except ApiNotFound:
            return None

    async def events_about(self, resource: Resource, namespace: str, name: str) -> list[Json]:
        """See Cluster."""
        query = {"fieldSelector": f"involvedObject.kind={resource.kind},involvedObject.name={name}"}
        found = await self._transport.send(Request("list", api.EVENT, namespace, query=query))
        return list(found.get("items") or ())

    async def list(self, resource: Resource, namespace: str | None, selector: str, *, cached: bool) -> Listing:
        """See Cluster."""
        found = await self._transport.send(Request("list", resource, namespace, query=_query(selector, cached=cached)))
        items = found.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return Listing(items, int(found["metadata"]["resourceVersion"]))

    async def versions(self, resource: Resource, namespace: str | None, selector: str) -> Listing:
        """See Cluster.

        In most minutes nothing has changed but the version of the listing itself, ahead of its items. They are read when they differ
        from those of the last time: to parse them is most of what a quiet minute costs.
        """
        request = Request("list", resource, namespace, query=_query(selector, cached=True), accept=METADATA)
        data = await self._transport.read(request)
        head, mark, items = data.partition(ITEMS)
        digest = hashlib.blake2b(items).digest()
        before, known = self._last.get((resource, namespace), (b"", []))
        if mark and digest == before:
            return Listing(known, int(document(head + ITEMS + b"[]}", request)["metadata"]["resourceVersion"]))
        found = document(data, request)
        short = [{"metadata": {key: item["metadata"][key] for key in VERSION}} for item in found.get("items") or ()]
        self._last[resource, namespace] = digest, short
        return Listing(short, int(found["metadata"]["resourceVersion"]))

    async def apply(self, body: Json) -> Json:
        """See Cluster."""
        return await self._apply(body, "")

    async def apply_status(self, body: Json) -> Json:
        """See Cluster."""
        return await self._apply(body, "status")

    async def replace_ports(self, body: Json) -> Json:
        """See Cluster."""
        metadata = body["metadata"]
        patch = {"metadata": {key: metadata[key] for key in ("uid", "resourceVersion")}, "spec": {"ports": body["spec"]["ports"]}}
        where, query = (metadata["namespace"], metadata["name"]), {"fieldManager": api.FIELD_MANAGER}
        return await self._write(Request("patch", api.SERVICE, *where, query=query, body=patch, content_type=MERGE))

    async def replace_container_ports(self, body: Json, containers: Sequence[Json]) -> Json:
        """See Cluster."""
        metadata, resource = body["metadata"], BY_KIND[body["kind"]]
        ports = [{"name": one["name"], "ports": [{"$patch": "replace"}, *one["ports"]]} for one in containers]
        patch = {
            "metadata": {key: metadata[key] for key in ("uid", "resourceVersion")},
            "spec": {"template": {"spec": {"containers": ports}}},
        }
        where, query = (metadata["namespace"], metadata["name"]), {"fieldManager": api.FIELD_MANAGER}
        return await self._write(Request("patch", resource, *where, query=query, body=patch, content_type=STRATEGIC))

    async def label(self, resource: Resource, namespace: str, name: str, labels: Mapping[str, str | None]) -> None:
        """See Cluster."""
        query, patch = {"fieldManager": api.FIELD_MANAGER}, {"metadata": {"labels": dict(labels)}}
        with contextlib.suppress(ApiNotFound):
            await self._write(Request("patch", resource, namespace, name, query=query, body=patch, content_type=MERGE))

    async def delete(self, body: Json) -> None:
        """See Cluster."""
        metadata, resource = body["metadata"], BY_KIND[body["kind"]]
        preconditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        options = {"propagationPolicy": "Background", "preconditions": preconditions}
        try:
            await self._write(Request("delete", resource, metadata["namespace"], metadata["name"], body=options))
        except (ApiNotFound, ApiConflict):
            return

    async def create_event(self, body: Json) -> bool:
        """See Cluster."""
        try:
            await self._write(Request("create", api.EVENT, body["metadata"]["namespace"], body=body))
        except ApiConflict:
            return False
        return True

    async def patch_event(self, namespace: str, name: str, patch: Json) -> None:
        """See Cluster."""
        await self._write(Request("patch", api.EVENT, namespace, name, body=patch, content_type=MERGE))

    async def _apply(self, body: Json, subresource: str) -> Json:
        metadata, resource = body["metadata"], BY_KIND[body["kind"]]
        query = {"fieldManager": api.FIELD_MANAGER, "force": "true"}
        where = (metadata["namespace"], metadata["name"], subresource)
        return await self._write(Request("patch", resource, *where, query=query, body=body, content_type=APPLY))

    async def _write(self, request: Request) -> Json:
        if not self._may_write():
            raise NotLeading
        return await self._transport.send(request)


def _query(selector: str, *, cached: bool) -> dict[str, str]:
    query = {"resourceVersion": "0"} if cached else {}
    return query | ({"labelSelector": selector} if selector else {})

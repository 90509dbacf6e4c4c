"""The API server as the reconciler needs it. The only module that reads from and writes to it, beside kopf's watches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from dicom_operator import __version__, api
from dicom_operator.api import BY_KIND, Json, Resource
from dicom_operator.cache import Listing
from dicom_operator.connection import Connection
from dicom_operator.errors import ApiConflict, ApiError, ApiForbidden, ApiNotFound, ApiRejected, ApiUnauthorized, ApiUnavailable

TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"

RequestObserver = Callable[[str, str, int], None]
"""Verb, resource, code (0 = no answer)."""

# What the RBAC authorizer says; admission plug-ins also answer 403, in other words.
_RBAC = re.compile(r"cannot (?P<verb>[a-z]+) resource \"(?P<resource>[a-z/]+)\"")


class Cluster(Protocol):
    """The seam that tests fake."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """An object, read from etcd; None when it is not there."""
        ...

    async def list(self, resource: Resource, namespace: str | None, selector: str, *, cached: bool) -> Listing:
        """All objects of a kind; `cached` lets the API server answer from its memory."""
        ...

    async def apply(self, body: Json) -> Json:
        """Server-side apply; with `metadata.uid` only onto that very object."""
        ...

    async def apply_status(self, body: Json) -> Json:
        """Server-side apply of the status."""
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
    """A Cluster over HTTP."""

    def __init__(self, connection: Connection, observe: RequestObserver) -> None:
        self._client = ApiClient(connection.configuration)
        self._client.user_agent = f"dicom-operator/{__version__}"
        self._observe = observe

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def serves(self, resource: Resource) -> bool:
        """Whether discovery lists the kind."""
        try:
            found = await self._request("GET", resource, "get", path=f"/apis/{resource.group}/{resource.version}")
        except ApiNotFound:
            return False
        return any(item["name"] == resource.plural for item in found.get("resources") or ())

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        """See Cluster."""
        try:
            return await self._request("GET", resource, "get", namespace, name)
        except ApiNotFound:
            return None

    async def list(self, resource: Resource, namespace: str | None, selector: str, *, cached: bool) -> Listing:
        """See Cluster."""
        query = {"resourceVersion": "0"} if cached else {}
        if selector:
            query["labelSelector"] = selector
        found = await self._request("GET", resource, "list", namespace, query=query)
        items = found.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return Listing(items, int(found["metadata"]["resourceVersion"]))

    async def apply(self, body: Json) -> Json:
        """See Cluster."""
        return await self._apply(body, "")

    async def apply_status(self, body: Json) -> Json:
        """See Cluster."""
        return await self._apply(body, "status")

    async def delete(self, body: Json) -> None:
        """See Cluster."""
        metadata, resource = body["metadata"], BY_KIND[body["kind"]]
        preconditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        options = {"propagationPolicy": "Background", "preconditions": preconditions}
        try:
            await self._request("DELETE", resource, "delete", metadata["namespace"], metadata["name"], body=options)
        except (ApiNotFound, ApiConflict):
            return

    async def create_event(self, body: Json) -> bool:
        """See Cluster."""
        try:
            await self._request("POST", api.EVENT, "create", body["metadata"]["namespace"], body=body)
        except ApiConflict:
            return False
        return True

    async def patch_event(self, namespace: str, name: str, patch: Json) -> None:
        """See Cluster."""
        await self._request("PATCH", api.EVENT, "patch", namespace, name, body=patch, content_type=MERGE)

    async def _apply(self, body: Json, subresource: str) -> Json:
        metadata, resource = body["metadata"], BY_KIND[body["kind"]]
        query = {"fieldManager": api.FIELD_MANAGER, "force": "true"}
        return await self._request(
            "PATCH", resource, "patch", metadata["namespace"], metadata["name"], subresource, query=query, body=body, content_type=APPLY
        )

    async def _request(
        self,
        method: str,
        resource: Resource,
        verb: str,
        namespace: str | None = None,
        name: str = "",
        subresource: str = "",
        *,
        path: str = "",
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        label = f"{resource.plural}/{subresource}" if subresource else resource.plural
        target = path or _path(resource, namespace, name, subresource)
        url = f"{self._client.configuration.host}{target}{'?' + urlencode(query) if query else ''}"
        headers = {"Accept": "application/json", "Content-Type": content_type, **self._client.default_headers}
        await self._client.update_params_for_auth(headers, None, ["BearerToken"], target, method, body)
        context: dict[str, Any] = {"verb": verb, "resource": label, "namespace": namespace or "", "kind": resource.kind, "name": name}
        try:
            answer = await self._client.call_api(method, url, headers, body, _request_timeout=TIMEOUT)
            data = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._observe(verb, label, 0)
            raise ApiUnavailable(str(error) or type(error).__name__, **context) from error
        self._observe(verb, label, answer.status)
        if answer.status >= 400:
            raise _error(answer.status, data, answer.headers.get("Retry-After"), context)
        try:
            found: Json = json.loads(data)
        except ValueError as error:
            raise ApiUnavailable("the answer is not JSON; is a proxy in the way?", **context, code=answer.status) from error
        return found


def _path(resource: Resource, namespace: str | None, name: str, subresource: str) -> str:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    parts = ["namespaces", namespace] if namespace else []
    parts += [resource.plural, name, subresource]
    return "/".join([root, *(quote(part, safe="") for part in parts if part)])


def _error(code: int, data: bytes, retry_after: str | None, context: dict[str, Any]) -> ApiError:
    try:
        text = str(json.loads(data).get("message") or "")
    except (ValueError, AttributeError):
        text = data[:200].decode(errors="replace")
    context = {**context, "code": code}
    text = text or f"HTTP {code}"
    match code:
        case 401:
            return ApiUnauthorized(text, **context)
        case 403 if "because it is being terminated" in text:
            return ApiConflict(text, **context)  # the namespace goes, and the adapter with it: nothing to tell anybody
        case 403:
            found = _RBAC.search(text)
            if found:
                return ApiForbidden(text, **{**context, "verb": found["verb"], "resource": found["resource"]})
            return ApiRejected(text, **context)
        case 404:
            return ApiNotFound(text, **context)
        case 409:
            return ApiConflict(text, **context)
        case 500 if text.startswith("failed to create typed patch object"):  # a field that the kind does not have
            return ApiRejected(text, **context)
        case 408 | 429 | 500 | 502 | 503 | 504:
            error = ApiUnavailable(text, **context)
            error.retry_after = float(retry_after) if retry_after and retry_after.isdigit() else None
            return error
        case _:
            return ApiRejected(text, **context)

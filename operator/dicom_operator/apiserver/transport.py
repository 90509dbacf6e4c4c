"""HTTP to the API server: one request and its answer as an ApiError or a document, and watches line by line."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from dicom_operator import __version__
from dicom_operator.api import Json, Resource
from dicom_operator.apiserver.connection import Connection
from dicom_operator.errors import ApiConflict, ApiError, ApiForbidden, ApiNotFound, ApiRejected, ApiUnauthorized, ApiUnavailable

JSON = "application/json"
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
UNANSWERED = (aiohttp.ClientError, TimeoutError, OSError)

RequestObserver = Callable[[str, str, int], None]
"""Verb, resource, code (0 = no answer)."""

# What the RBAC authorizer says; admission plug-ins also answer 403, in other words.
_RBAC = re.compile(r"cannot (?P<verb>[a-z]+) resource \"(?P<resource>[a-z/]+)\"")


METHODS = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, in RBAC's words."""

    verb: str
    resource: Resource
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    path: str = ""
    """Instead of the resource's own."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None
    content_type: str = JSON
    accept: str = JSON

    @property
    def label(self) -> str:
        """The resource, for metrics and messages."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    @property
    def context(self) -> dict[str, Any]:
        """What an ApiError tells about it."""
        kind, namespace = self.resource.kind, self.namespace or ""
        return {"verb": self.verb, "resource": self.label, "namespace": namespace, "kind": kind, "name": self.name}


class Transport:
    """The connections of one process."""

    def __init__(self, connection: Connection, observe: RequestObserver) -> None:
        self._client = ApiClient(connection.configuration)
        self._client.user_agent = f"dicom-operator/{__version__}"
        self._observe = observe

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def send(self, request: Request) -> Json:
        """The whole answer of one request; raises an ApiError."""
        return document(await self.read(request), request)

    async def read(self, request: Request) -> bytes:
        """The same, as it came."""
        try:
            answer = await self._open(request, TIMEOUT)
            data: bytes = await answer.read()
        except UNANSWERED as error:
            self._observe(request.verb, request.label, 0)
            raise ApiUnavailable(str(error) or type(error).__name__, **request.context) from error
        self._observe(request.verb, request.label, answer.status)
        if answer.status >= 400:
            raise _error(answer.status, data, answer.headers.get("Retry-After"), request.context)
        return data

    async def follow(self, request: Request) -> AsyncGenerator[Json, None]:
        """The events of a watch, until the API server ends it; raises an ApiError."""
        try:
            answer = await self._open(request, WATCH_TIMEOUT)
            self._observe(request.verb, request.label, answer.status)
            if answer.status >= 400:
                raise _error(answer.status, await answer.read(), answer.headers.get("Retry-After"), request.context)
            stream = answer.response
            try:
                async for line in stream.content:
                    yield json.loads(line)
            finally:
                stream.close()
        except (*UNANSWERED, ValueError) as error:
            raise ApiUnavailable(str(error) or type(error).__name__, **request.context) from error

    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> Any:
        method = METHODS[request.verb]
        target = request.path or _path(request.resource, request.namespace, request.name, request.subresource)
        url = f"{self._client.configuration.host}{target}{'?' + urlencode(request.query) if request.query else ''}"
        headers = {"Accept": request.accept, "Content-Type": request.content_type, **self._client.default_headers}
        await self._client.update_params_for_auth(headers, None, ["BearerToken"], target, method, request.body)
        return await self._client.call_api(method, url, headers, request.body, _request_timeout=limits)


def document(data: bytes, request: Request) -> Json:
    """An answer that must be JSON; raises ApiUnavailable."""
    try:
        found: Json = json.loads(data)
    except ValueError as error:
        raise ApiUnavailable("the answer is not JSON; is a proxy in the way?", **request.context, code=200) from error
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

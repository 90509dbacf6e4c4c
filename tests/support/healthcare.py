"""The DICOMweb part of the Cloud Healthcare API for tests, as strict as the real one, with a script of faults.

https://cloud.google.com/healthcare-api/docs/dicom (conformance), /quotas (limits), /reference/rest (permissions and scopes),
https://cloud.google.com/apis/design/errors (error JSON). A request is judged in the API's order: token, scope, whether the API is switched
on in the project, quota, permission, store, and only then what it asks for.
"""

from __future__ import annotations

import json
import re
import ssl

from aiohttp import web

from tests.support import faults, healthcare_instances, multipart
from tests.support.faults import Reply
from tests.support.google import CLOUD_HEALTHCARE, CLOUD_PLATFORM, GoogleIdentity
from tests.support.healthcare_instances import Instances, InvalidRequest, Refused, Stored
from tests.support.store import FaultStore, Post, google_error

JSON = "application/json; charset=UTF-8"
READ, WRITE, DELETE = (f"healthcare.dicomStores.dicomWeb{what}" for what in ("Read", "Write", "Delete"))
NOT_ENABLED = (
    "Cloud Healthcare API has not been used in project 123456 before or it is disabled. Enable it by visiting "
    "https://console.developers.google.com/apis/api/healthcare.googleapis.com/overview?project=123456 then retry. If you enabled this API "
    "recently, wait a few minutes for the action to propagate to our systems and retry."
)
SCOPES_INSUFFICIENT = "Request had insufficient authentication scopes."
NO_CREDENTIALS = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication "
    "credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
INVALID_CREDENTIALS = NO_CREDENTIALS.replace("is missing required authentication credential", "had invalid authentication credentials")
QUOTA = (
    "Quota exceeded for quota metric 'DICOMweb operations' and limit 'DICOMweb operations per minute per region' of service "
    "'healthcare.googleapis.com' for consumer 'project_number:123456'."
)
MAXIMUM_OTHER_REQUEST = 10 << 20
_PATH = re.compile(r"/v1(?:beta1)?/(projects/([^/]+)/locations/([^/]+)/datasets/([^/]+)/dicomStores/([^/]+))/dicomWeb/(.*)")


def denied(permission: str, resource: str) -> str:
    """The message of IAM. It is the same for a store that does not exist below a dataset or project that the account has no right on."""
    return f"Permission {permission} denied on resource '{resource}' (or it may not exist)."


class HealthcareApi(FaultStore):
    """One DICOM store of one project. `script` acts on the next POSTs and `search_reply`, when it is set, on searches."""

    def __init__(self, identity: GoogleIdentity, *, store: str = "s", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port=port)
        self.identity = identity
        self.path = f"projects/p/locations/europe-west4/datasets/d/dicomStores/{store}"
        self.enabled = True
        self.permissions = {READ, WRITE, DELETE}
        self.quota: int | None = None
        self.instances = Instances()
        self.search_reply: Reply | None = None  # type: ignore[assignment]
        self.bearers: list[str] = []
        self._tls = tls

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The DICOMweb base URL."""
        return f"{self.origin}/v1/{self.path}/dicomWeb"

    def _routes(self, app: web.Application) -> None:
        app.router.add_post("/v1{rest:.*}", self._store)
        app.router.add_route("GET", "/v1{rest:.*}", self._get)
        app.router.add_route("DELETE", "/v1{rest:.*}", self._delete)

    # -- the front door ----------------------------------------------------------------------------

    def _refusal(self, request: web.Request, permission: str) -> Reply | None:
        """Why the request gets no further; None when it does."""
        authorization = request.headers.get("Authorization", "")
        self.bearers.append(authorization)
        match = _PATH.fullmatch(request.path)
        if match is None:
            return Reply(404, "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", "text/html; charset=UTF-8")
        if refusal := self._unknown(authorization):
            return refusal
        if self.quota is not None:
            if self.quota <= 0:
                return _error(429, "RESOURCE_EXHAUSTED", QUOTA)
            self.quota -= 1
        dataset, _, _ = self.path.partition("/dicomStores/")
        if permission not in self.permissions or not match[1].startswith(f"{dataset}/"):
            return _error(403, "PERMISSION_DENIED", denied(permission, match[1]))
        if match[1] != self.path:
            return _error(404, "NOT_FOUND", f"dicomStore not found: {match[1]}")
        return None

    def _unknown(self, authorization: str) -> Reply | None:
        """What is refused whatever is asked for."""
        grant = self.identity.grant(authorization)
        if grant is None:
            realm = 'Bearer realm="https://accounts.google.com/"' + (', error="invalid_token"' if authorization else "")
            reply = _error(401, "UNAUTHENTICATED", INVALID_CREDENTIALS if authorization else NO_CREDENTIALS)
            reply.headers["WWW-Authenticate"] = realm
            return reply
        if not grant.scopes & {CLOUD_HEALTHCARE, CLOUD_PLATFORM}:
            return _error(403, "PERMISSION_DENIED", SCOPES_INSUFFICIENT)
        if not self.enabled:
            return _error(403, "PERMISSION_DENIED", NOT_ENABLED)
        return None

    def _resource(self, request: web.Request) -> list[str]:
        match = _PATH.fullmatch(request.path)
        assert match  # the front door has seen to that
        return match[6].rstrip("/").split("/")

    async def _test_permissions(self, request: web.Request) -> Reply:
        """https://cloud.google.com/healthcare-api/docs/reference/rest: a store that does not exist has none, and that is no error."""
        asked = (await request.json())["permissions"]
        if refusal := self._unknown(request.headers.get("Authorization", "")):
            return refusal
        here = request.path.endswith(f"/{self.path}:testIamPermissions")
        return Reply(200, json.dumps({"permissions": [one for one in asked if here and one in self.permissions]}), JSON)

    # -- STOW-RS -----------------------------------------------------------------------------------

    async def _store(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if request.path.endswith(":testIamPermissions"):
            return await faults.answer(request, await self._test_permissions(request), None)
        post = Post(dict(request.headers), chunked="Content-Length" not in request.headers)
        self.posts.append(post)
        reply = self.script.popleft() if self.script else None
        try:
            if reply and await faults.before_body(request, reply):
                return await faults.answer(request, reply, None)
            body = await self._whole(request, reply)
            if reply is None or _acts(reply):
                outcome = self._refusal(request, WRITE) or self._stow(request, post, body)
                if reply:  # what the store did is true, but its answer meets the fault
                    outcome.delay, outcome.instead = reply.delay, reply.instead
            else:
                outcome = reply
            if outcome.instead in ("", "half-close", "read slowly"):
                post.answered = outcome.status
            return await faults.answer(request, outcome, None)
        finally:
            self._changed.set()

    async def _whole(self, request: web.Request, reply: Reply | None) -> bytes:
        body = bytearray()
        async for data in request.content.iter_any():
            body += data
            self._changed.set()
            await faults.pause(reply, len(data))
        return bytes(body)

    def _stow(self, request: web.Request, post: Post, body: bytes) -> Reply:
        resource = self._resource(request)
        if resource[0] != "studies" or len(resource) > 2:
            return _error(404, "NOT_FOUND", "unknown DICOMweb path")
        stored: list[Stored] = []
        refused: list[Refused] = []
        try:
            for content in multipart.parts(request.headers.get("Content-Type", ""), body):
                post.part, post.size = content, len(content)
                try:
                    stored.append(self.instances.take(content, "".join(resource[1:])))
                except Refused as error:
                    refused.append(error)
        except multipart.WrongType as error:
            return _error(415, "INVALID_ARGUMENT", str(error))
        except (multipart.NotMultipart, InvalidRequest) as error:
            return _error(400, "INVALID_ARGUMENT", str(error))
        post.complete = True
        post.uid = stored[0].uid if stored else refused[0].uid
        document = healthcare_instances.response(self.url, stored, refused)
        accept = request.headers.get("Accept", "")
        if refused and not stored:
            return Reply(409, healthcare_instances.as_xml(document), "application/dicom+xml")
        if "application/dicom+json" in accept:
            return Reply(202 if refused else 200, json.dumps(document), "application/dicom+json")
        return Reply(202 if refused else 200, healthcare_instances.as_xml(document), "application/dicom+xml")

    # -- QIDO-RS, WADO-RS, DELETE ------------------------------------------------------------------

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if self.search_reply is not None:
            return await faults.answer(request, self.search_reply, None)
        return await faults.answer(request, self._refusal(request, READ) or self._found(request), None)

    def _found(self, request: web.Request) -> Reply:
        *pairs, last = self._resource(request)
        try:
            if last in healthcare_instances.LEVELS and len(pairs) % 2 == 0:
                return self._search_result(request, last, dict(zip(pairs[::2], pairs[1::2], strict=True)))
            metadata = last == "metadata"
            path = [*pairs] if metadata else [*pairs, last]
            instances = self.instances.below(dict(zip(path[::2], path[1::2], strict=True)))
        except (InvalidRequest, ValueError) as error:
            return _error(400, "INVALID_ARGUMENT", str(error))
        if not instances:
            return _error(404, "NOT_FOUND", "the study, series or instance does not exist")
        if metadata:
            return Reply(200, json.dumps([json.loads(one.data_set.to_json()) for one in instances]))
        return _retrieved(request.headers.get("Accept", ""), instances, single="instances" in path)

    def _search_result(self, request: web.Request, level: str, path: dict[str, str]) -> Reply:
        accept = request.headers.get("Accept", "*/*")
        if not any(kind in accept for kind in ("application/dicom+json", "application/json", "*/*")):
            return _error(406, "INVALID_ARGUMENT", f"unsupported Accept: {accept}")
        found = self.instances.search(level, path, request.query.items())
        return Reply(200, json.dumps(found)) if found else Reply(204, b"")

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        refusal = self._refusal(request, DELETE)
        if refusal is None:
            path = self._resource(request)
            instances = self.instances.below(dict(zip(path[::2], path[1::2], strict=False)))
            self.instances.delete(instances)
            refusal = Reply(200, "{}", JSON) if instances else _error(404, "NOT_FOUND", "nothing to delete")
        return await faults.answer(request, refusal, None)


def _acts(reply: Reply) -> bool:
    """Whether the store itself acts and the script only spoils its answer."""
    return reply.keeps or (reply.status == 200 and reply.body is None and reply.instead in ("", "truncate", "half-close", "read slowly"))


def _retrieved(accept: str, instances: list[Stored], *, single: bool) -> Reply:
    """WADO-RS. Only the stored transfer syntax is at hand: what would have to be transcoded is not acceptable."""
    match = re.search(r"transfer-syntax=\"?([0-9.*]+)", accept)
    wanted = match[1] if match else "1.2.840.10008.1.2.1"
    if any(wanted not in ("*", one.transfer_syntax) for one in instances):
        return _error(406, "INVALID_ARGUMENT", f"cannot transcode to {wanted}")
    if accept.startswith("application/dicom") and single:
        return Reply(200, instances[0].content, f"application/dicom; transfer-syntax={instances[0].transfer_syntax}")
    if accept and "multipart/related" not in accept and "*/*" not in accept:
        return _error(406, "INVALID_ARGUMENT", f"unsupported Accept: {accept}")
    body = b"".join(
        b"--b\r\nContent-Type: application/dicom; transfer-syntax=" + one.transfer_syntax.encode() + b"\r\n\r\n" + one.content + b"\r\n"
        for one in instances
    )
    return Reply(200, body + b"--b--\r\n", 'multipart/related; type="application/dicom"; boundary=b')


def _error(code: int, status: str, message: str) -> Reply:
    return Reply(code, google_error(code, status, message), JSON)

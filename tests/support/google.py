"""Google's identity services for tests, so that google-auth runs its real flows against them.

- RFC 7523 and https://developers.google.com/identity/protocols/oauth2/service-account: `/token`
- https://cloud.google.com/compute/docs/metadata: `/computeMetadata/v1/`
- https://cloud.google.com/iam/docs/reference/credentials/rest: `:generateAccessToken`
- https://cloud.google.com/iam/docs/reference/sts/rest: `/v1/token`
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support import faults
from tests.support.faults import Reply

CLOUD_HEALTHCARE = "https://www.googleapis.com/auth/cloud-healthcare"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
NODE_ACCOUNT = "adapter@p.iam.gserviceaccount.com"
KEY_ACCOUNT = "dicom@p.iam.gserviceaccount.com"
_FLAVOR = {"Metadata-Flavor": "Google"}
COMMAND = (
    sys.executable,
    "-c",
    """
import os, sys
from dicom_adapter.cli import main
if iam_url := os.environ.get("TEST_IAM_URL"):
    from google.auth import iam
    iam._IAM_ENDPOINT = iam._IAM_ENDPOINT.replace("https://iamcredentials.googleapis.com", iam_url)
sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr, google_hosts=["127.0.0.1"]))
""",
)
"""The adapter with loopback as Google's host: its tokens go nowhere else."""

_KEY = rsa.generate_private_key(65537, 2048)
_PEM = _KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access token stands for; `expires` is of the identity's clock."""

    email: str
    scopes: frozenset[str]
    expires: float


class _Refused(Exception):
    """An OAuth error (RFC 6749 5.2)."""


class GoogleIdentity:
    """Issues access tokens and knows them again. An async context manager that listens on loopback.

    `asked` has one entry for each request for a token, `script` what to do to the next ones instead of answering, `down` makes all fail.
    """

    def __init__(self, *, life: float = 3600, now: Callable[[], float] = time.time) -> None:
        self.life = life
        self.now = now
        self.node_scopes = frozenset({CLOUD_PLATFORM})
        self.impersonators = {KEY_ACCOUNT, NODE_ACCOUNT}
        self.federated_token = "token-of-the-cluster"
        self.asked: list[str] = []
        self.script: deque[Reply] = deque()
        self.down = False
        self.port = 0
        self._grants: dict[str, Grant] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        await self._runner.cleanup()

    def application(self) -> web.Application:
        """All services on one port; the paths tell them apart."""
        app = web.Application()
        app.router.add_get("/", self._ping)
        app.router.add_post("/token", self._token)
        app.router.add_post("/v1/token", self._exchange)
        app.router.add_post(r"/v1/projects/-/serviceAccounts/{email}:generateAccessToken", self._impersonate)
        app.router.add_get("/computeMetadata/v1/{tail:.*}", self._metadata)
        return app

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def issued(self) -> frozenset[str]:
        """Every token that there has been."""
        return frozenset(self._grants)

    # -- what a user is given ----------------------------------------------------------------------

    def key_file(self, token_uri: str = "", email: str = KEY_ACCOUNT) -> str:
        """A service-account key as `gcloud iam service-accounts keys create` writes it."""
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key_id": "1",
                "private_key": _PEM,
                "client_email": email,
                "client_id": "1",
                "token_uri": token_uri or f"{self.url}/token",
            }
        )

    def impersonation_file(self, target: str, token_uri: str = "") -> str:
        """Application Default Credentials that stand for another account, as gcloud writes them with --impersonate-service-account."""
        return json.dumps(
            {
                "type": "impersonated_service_account",
                "service_account_impersonation_url": _impersonation("https://iamcredentials.googleapis.com", target),
                "source_credentials": json.loads(self.key_file(token_uri)),
                "delegates": [],
            }
        )

    def federation_file(self, subject_token_file: str, target: str = "") -> str:
        """Workload identity federation from a cluster elsewhere (`external_account`), with or without impersonation."""
        document: dict[str, Any] = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/v1/token",
            "credential_source": {"file": subject_token_file},
        }
        if target:
            document["service_account_impersonation_url"] = _impersonation(self.url, target)
        return json.dumps(document)

    def metadata_environment(self) -> dict[str, str]:
        """Makes this the metadata server of a process that finds no other Google credentials."""
        address = f"127.0.0.1:{self.port}"
        return {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address, "CLOUDSDK_CONFIG": "/nonexistent"}

    # -- what a service of Google asks -------------------------------------------------------------

    def grant(self, authorization: str) -> Grant | None:
        """What a request's Authorization stands for; None when it is no token of ours or has expired."""
        kind, _, value = authorization.partition(" ")
        found = self._grants.get(value) if kind == "Bearer" else None
        return found if found and found.expires > self.now() else None

    def issue(self, email: str, scopes: Sequence[str], life: float | None = None) -> str:
        """A new token."""
        value = f"ya29.c.{len(self._grants) + 1}-{base64.urlsafe_b64encode(email.encode()).decode()}"
        self._grants[value] = Grant(email, frozenset(scopes), self.now() + (self.life if life is None else life))
        return value

    def revoke_all(self) -> None:
        """Every token that is out is worth nothing from now on."""
        self._grants = {value: Grant(grant.email, grant.scopes, 0) for value, grant in self._grants.items()}

    # -- the services ------------------------------------------------------------------------------

    async def _unwell(self, request: web.Request, what: str) -> web.StreamResponse | None:
        self.asked.append(what)
        if self.script:
            return await faults.answer(request, self.script.popleft(), None)
        return web.json_response({"error": "internal_failure"}, status=503) if self.down else None

    async def _token(self, request: web.Request) -> web.StreamResponse:
        if bad := await self._unwell(request, "token"):
            return bad
        form = await request.post()
        try:
            if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
                raise _Refused("unsupported_grant_type", "Invalid grant_type")
            claims = self._claims(str(form.get("assertion", "")))
        except _Refused as error:
            return web.json_response({"error": error.args[0], "error_description": error.args[1]}, status=400)
        return self._answer(self.issue(claims["iss"], str(claims["scope"]).split()))

    def _claims(self, assertion: str) -> dict[str, Any]:
        """The claims of a JWT (RFC 7519) that our key has signed; each is checked."""
        try:
            header, body, signature = assertion.split(".")
            claims = dict(json.loads(_decoded(body)))
            algorithm = json.loads(_decoded(header))["alg"]
            _KEY.public_key().verify(_decoded(signature), f"{header}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, KeyError, TypeError, InvalidSignature):
            raise _Refused("invalid_grant", "Invalid JWT Signature.") from None
        now = self.now()
        if algorithm != "RS256" or not str(claims.get("aud", "")).endswith("/token"):
            raise _Refused("invalid_grant", "Invalid JWT: wrong algorithm or audience")
        if not claims["iat"] - 600 <= now < claims["exp"] or claims["exp"] - claims["iat"] > 3600:
            raise _Refused("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe")
        if not claims.get("scope"):
            raise _Refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return claims

    def _answer(self, value: str, scopes: str = "") -> web.Response:
        extra = {"scope": scopes} if scopes else {}
        return web.json_response({"access_token": value, "expires_in": int(self.life), "token_type": "Bearer", **extra})

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        if bad := await self._unwell(request, "exchange"):
            return bad
        form = await request.post()
        wanted = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": self.federated_token,
        }
        wrong = [key for key, value in wanted.items() if form.get(key) != value]
        if wrong:
            return web.json_response({"error": "invalid_request", "error_description": f"wrong {', '.join(wrong)}"}, status=400)
        token = self.issue(KEY_ACCOUNT, str(form["scope"]).split())
        return web.json_response(
            {
                "access_token": token,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": int(self.life),
            }
        )

    async def _impersonate(self, request: web.Request) -> web.StreamResponse:
        if bad := await self._unwell(request, "impersonate"):
            return bad
        source, body = self.grant(request.headers.get("Authorization", "")), await request.json()
        email = request.match_info["email"]
        if source is None:
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not source.scopes & {CLOUD_PLATFORM, "https://www.googleapis.com/auth/iam"}:
            return _error(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        if source.email not in self.impersonators:
            text = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            return _error(403, "PERMISSION_DENIED", text)
        life = float(str(body.get("lifetime", "3600s")).removesuffix("s"))
        token = self.issue(email, body["scope"], min(life, self.life))
        expires = datetime.fromtimestamp(self.now() + min(life, self.life), UTC)
        return web.json_response({"accessToken": token, "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="computeMetadata/\n", headers=_FLAVOR)

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403, text="Missing Metadata-Flavor:Google header.")
        path = request.match_info["tail"]
        if path == "project/project-id":
            return web.Response(text="p", headers=_FLAVOR)
        if path.endswith("/token") and path.startswith("instance/service-accounts/"):
            if bad := await self._unwell(request, "metadata"):
                return bad
            asked = {scope for scope in request.query.get("scopes", "").split(",") if scope}
            scopes = self.node_scopes if CLOUD_PLATFORM not in self.node_scopes or not asked else asked
            answer = self._answer(self.issue(NODE_ACCOUNT, sorted(scopes)))
            answer.headers.update(_FLAVOR)
            return answer
        if path in ("instance/service-accounts/default/", f"instance/service-accounts/{NODE_ACCOUNT}/"):
            account = {"aliases": ["default"], "email": NODE_ACCOUNT, "scopes": sorted(self.node_scopes)}
            return web.json_response(account, headers=_FLAVOR)
        return web.Response(status=404, text="not found", headers=_FLAVOR)

    async def until_asked(self, count: int, seconds: float = 60.0) -> None:
        """Waits for that many requests for tokens."""
        async with asyncio.timeout(seconds):
            while len(self.asked) < count:  # noqa: ASYNC110 -- another process asks
                await asyncio.sleep(0.02)


def _impersonation(origin: str, target: str) -> str:
    return f"{origin}/v1/projects/-/serviceAccounts/{target}:generateAccessToken"


def _error(code: int, status: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, "status": status}}, status=code)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

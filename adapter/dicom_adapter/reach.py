"""The way to the store, step by step: what the probe walks while the adapter runs, and `dicom-adapter check` for whoever asks.

One implementation of the steps and one sentence for each obstacle (`diagnosis`): the condition, the log and the command say the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from dicom_adapter import credentials, diagnosis
from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.config import Config
from dicom_adapter.dicomweb.answers import one_line
from dicom_adapter.dicomweb.client import Answer, DicomwebClient
from dicom_adapter.dicomweb.errors import UNKNOWN_CA, Endpoint, Obstacle, StoreUnreachable, translate, unconnected, unresolved
from dicom_adapter.dicomweb.upload import Question
from dicom_adapter.state import StoreReason, StoreState

WRITE, READ = "healthcare.dicomStores.dicomWebWrite", "healthcare.dicomStores.dicomWebRead"
NOTHING = Question('multipart/related; type="application/dicom"; boundary=nothing', b"--nothing--\r\n")
"""A STOW-RS request without an instance: it has to be allowed before it can be called malformed, and there is nothing in it to store."""


class StepName(StrEnum):
    """The steps, in their order."""

    DNS = "DNS"
    TCP = "TCP"
    TLS = "TLS"
    CREDENTIALS = "credentials"
    LIST = "list"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Step:
    """How one step went. `found` is the state of the store that an obstacle means; one that was not reached has no seconds either."""

    name: StepName
    message: str
    seconds: float | None = None
    found: StoreState | None = None

    @property
    def failed(self) -> bool:
        """Whether the way ends here."""
        return self.found is not None


@dataclass(frozen=True, slots=True)
class _Passed:
    """What a step that is no obstacle tells, and the state of the store as far as it goes."""

    message: str
    state: StoreState = diagnosis.REACHABLE


class Refused(Exception):
    """The store has answered, and not as it should."""

    def __init__(self, state: StoreState) -> None:
        super().__init__(state.message)
        self.state = state


class Way:
    """The way to one store, with the client and the credentials that deliveries use."""

    def __init__(self, client: DicomwebClient, access: credentials.Access, config: Config, *, timeout: float = 10.0) -> None:
        self._client = client
        self._access = access
        self._config = config
        self._timeout = timeout
        url = urlsplit(config.store.url)
        self._secure = url.scheme == "https"
        self._path = url.path.rstrip("/")
        self._endpoint = Endpoint(url.hostname or "", url.port or (443 if self._secure else 80))
        self._proxy = client.proxy
        if self._proxy:
            proxy = urlsplit(self._proxy)
            self._endpoint = Endpoint(proxy.hostname or "", proxy.port or 80)
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, *, write: bool) -> StoreState:
        """What the probe asks: the credentials, a search, and with `write` whether instances would be taken."""
        result = diagnosis.REACHABLE
        for _, take in self._questions(write=write):
            _, found = await self._taken(take)
            if found.reason is not StoreReason.REACHABLE:
                return found
            if found is not diagnosis.REACHABLE:
                result = found  # it says how far that is known
        return result

    async def walk(self) -> AsyncIterator[Step]:
        """Every step with its latency; those behind an obstacle are not taken."""
        stopped = False
        try:
            for name, take in [*self._connecting(), *self._questions(write=True)]:
                if stopped:
                    yield Step(name, "not reached")
                    continue
                started = time.monotonic()
                message, found = await self._taken(take)
                stopped = found.reason is not StoreReason.REACHABLE
                yield Step(name, found.message if stopped else message, time.monotonic() - started, found if stopped else None)
        finally:
            if self._writer:
                self._writer.transport.abort()

    async def _taken(self, take: Callable[[], Awaitable[_Passed]]) -> tuple[str, StoreState]:
        """What a step tells, and what the store is for it."""
        try:
            async with asyncio.timeout(self._timeout):
                passed = await take()
                return passed.message, passed.state
        except TimeoutError:
            return "", diagnosis.of_failure(StoreUnreachable(Obstacle.SILENT, self._known()))
        except StoreUnreachable as error:
            if error.obstacle is Obstacle.TLS and error.detail == UNKNOWN_CA and not self._proxy:
                return "", diagnosis.of_failure(error, issuer=await self._issuer())
            return "", diagnosis.of_failure(error, over_tls=self._config.credentials if self._secure else None)
        except (Missing, Unusable, CredentialsUnavailable) as error:
            return "", StoreState(StoreReason.UNAUTHORIZED, credentials.explain(error, self._config.namespace)[1])
        except Refused as error:
            return error.state.message, error.state

    # -- connecting --------------------------------------------------------------------------------

    def _connecting(self) -> list[tuple[StepName, Callable[[], Awaitable[_Passed]]]]:
        steps = [(StepName.DNS, self._resolve), (StepName.TCP, self._connect)]
        # Through a proxy TLS begins with the first question.
        return [*steps, (StepName.TLS, self._handshake)] if self._secure and not self._proxy else [*steps]

    def _known(self) -> Endpoint:
        return self._endpoint if self._endpoint.address else self._client.endpoint

    async def _resolve(self) -> _Passed:
        host, port = self._endpoint.host, self._endpoint.port
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self._on_the_way(unresolved(error, self._endpoint)) from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        self._endpoint = Endpoint(host, port, addresses[0])
        return _Passed(host if addresses == [host] else f"{host} is {', '.join(addresses[:4])}")

    async def _connect(self) -> _Passed:
        try:
            _, self._writer = await asyncio.open_connection(self._endpoint.host, self._endpoint.port)
        except OSError as error:
            raise self._on_the_way(unconnected(error, self._endpoint)) from error
        address = self._writer.get_extra_info("peername")[0]
        self._endpoint = Endpoint(self._endpoint.host, self._endpoint.port, address)
        return _Passed(f"{self._endpoint}, the proxy" if self._proxy else str(self._endpoint))

    def _on_the_way(self, error: StoreUnreachable) -> StoreUnreachable:
        """What the obstacle is when it is the proxy's."""
        if not self._proxy:
            return error
        return StoreUnreachable(Obstacle.PROXY, self._endpoint, f"the proxy {self._endpoint.host}:{self._endpoint.port} cannot be reached")

    async def _handshake(self) -> _Passed:
        assert self._writer is not None  # noqa: S101 -- _connect comes before
        context = self._access.tls.context() or ssl.create_default_context()
        try:
            await self._writer.start_tls(context, server_hostname=self._endpoint.host)
        except (ssl.SSLError, OSError) as error:
            raise translate(error, self._endpoint) from error
        tls = self._writer.get_extra_info("ssl_object")
        return _Passed(f"{tls.version()}; the certificate is good until {tls.getpeercert()['notAfter']}")

    async def _issuer(self) -> str:
        """Who has signed the store's certificate, as it says itself: read over a connection that carries nothing."""
        from cryptography import x509  # a fifth of a start's time and memory for certificates that are hardly ever bad

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        endpoint = self._endpoint
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
            try:
                certificate = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
                return one_line(certificate.issuer.rfc4514_string())[:100]
            finally:
                writer.transport.abort()
        return ""

    # -- asking ------------------------------------------------------------------------------------

    def _questions(self, *, write: bool) -> list[tuple[StepName, Callable[[], Awaitable[_Passed]]]]:
        steps = [(StepName.CREDENTIALS, self._authenticate), (StepName.LIST, self._search)]
        return [*steps, (StepName.WRITE, self._may_write)] if write else [*steps]

    async def _authenticate(self) -> _Passed:
        await self._access.prepare()
        await self._access.credentials.headers()
        identity = self._access.credentials.identity
        kind = str(self._config.credentials.kind)
        return _Passed(f"{kind}, as {identity}" if identity else kind)

    async def _search(self) -> _Passed:
        answer = await self._client.search()
        found = self._judged(answer)
        return _Passed(f"{answer.status} to a search" if found is diagnosis.REACHABLE else found.message, found)

    async def _may_write(self) -> _Passed:
        path = self._config.store.healthcare_path
        return await self._permitted() if path else await self._tried()

    async def _permitted(self) -> _Passed:
        """https://cloud.google.com/healthcare-api/docs/reference/rest/v1/projects.locations.datasets.dicomStores/testIamPermissions"""
        wanted = Question("application/json", json.dumps({"permissions": [READ, WRITE]}).encode())
        answer = await self._client.ask(f"{self._path.removesuffix('/dicomWeb')}:testIamPermissions", wanted)
        try:
            has = set(json.loads(answer.body).get("permissions", ())) if answer.status == 200 else None
        except (ValueError, AttributeError, TypeError):
            has = None
        if has is None:
            return _Passed(f"not known: {answer.status} to the question which permissions there are")
        if WRITE not in has:
            raise Refused(diagnosis.permission_missing(WRITE, self._access.credentials.identity))
        return _Passed(f"has {WRITE}")

    async def _tried(self) -> _Passed:
        answer = await self._client.ask(f"{self._path}/studies", NOTHING)
        if answer.status in (401, 403, 404, 405, 410, 421, 429) or 300 <= answer.status < 400:
            self._judged(answer)
        if answer.status >= 500:
            return _Passed(f"not known: {answer.status} to a request without an instance")
        return _Passed(f"{answer.status} to a request without an instance: instances would be looked at")

    def _judged(self, answer: Answer) -> StoreState:
        found = diagnosis.of_answer(answer, self._config, self._access.credentials.identity)
        if found.reason is not StoreReason.REACHABLE:
            raise Refused(found)
        return found

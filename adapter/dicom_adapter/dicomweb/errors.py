"""What can go wrong on the way to the store.

    StoreUnreachable          no answer: DNS, TCP, TLS, a proxy, or the connection was lost
      StaleConnection         lost on a connection that had been kept from an earlier request
    BrokenAnswer              an answer to a search or retrieval that is not what was asked for

Their texts are what the sender and the condition show; they name addresses, never what the other side sent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import aiohttp


class Obstacle(StrEnum):
    """What stood in the way."""

    DNS = "DNS"
    REFUSED = "Refused"
    SILENT = "Silent"
    TLS = "TLS"
    LOST = "Lost"
    NETWORK = "Network"
    PROXY = "Proxy"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the request went: the URL's host and port, and the address behind it when it is known."""

    host: str
    port: int
    address: str = ""

    def __str__(self) -> str:
        """`10.4.0.9:443`."""
        address = self.address or self.host
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"


class StoreUnreachable(Exception):
    """The store gave no answer; `detail` is the cause of a TLS or network failure in a few words."""

    def __init__(self, obstacle: Obstacle, endpoint: Endpoint, detail: str = "") -> None:
        super().__init__(obstacle, endpoint, detail)
        self.obstacle = obstacle
        self.endpoint = endpoint
        self.detail = detail

    @property
    def comment(self) -> str:
        """For the sender, in its 64 characters."""
        endpoint, detail = self.endpoint, self.detail
        return {
            Obstacle.DNS: f"Unreachable, DNS: {f'{detail} about {endpoint.host}' if detail else f'{endpoint.host} not found'}",
            Obstacle.REFUSED: f"Unreachable, {endpoint} refused the connection",
            Obstacle.SILENT: f"Unreachable, {endpoint} gives no answer",
            Obstacle.TLS: f"Unreachable, TLS: {detail}",
            Obstacle.LOST: f"Unreachable, {endpoint} closed the connection",
            Obstacle.NETWORK: f"Unreachable, {endpoint}: {detail}",
            Obstacle.PROXY: f"Unreachable, {detail}",
        }[self.obstacle]


class StaleConnection(StoreUnreachable):
    """A kept connection was lost before any answer: perhaps the server was just closing it for idling (RFC 9112 9.6)."""


class BrokenAnswer(Exception):
    """The store answered a search or retrieval with something else than its result; the text says with what, in a few words."""


UNKNOWN_CA = "certificate of an unknown CA"
_VERIFY_CODES = {  # X509_V_ERR_* of OpenSSL's x509_vfy.h
    9: "certificate not yet valid",
    10: "certificate expired",
    18: UNKNOWN_CA,
    19: UNKNOWN_CA,
    20: UNKNOWN_CA,
    21: UNKNOWN_CA,
    62: "certificate for another name",
    64: "certificate for another address",
}


def translate(error: BaseException, endpoint: Endpoint, *, kept: bool = False, proxy: str = "") -> StoreUnreachable:
    """What a failed request of aiohttp means; `kept`: its connection had served another request before; `proxy`: the one it had to take."""
    if proxy and isinstance(error, aiohttp.ClientHttpProxyError):
        return StoreUnreachable(Obstacle.PROXY, endpoint, f"the proxy {_authority(proxy)} answers {error.status}")
    if proxy and isinstance(error, aiohttp.ClientProxyConnectionError):
        return StoreUnreachable(Obstacle.PROXY, endpoint, f"the proxy {_authority(proxy)} cannot be reached")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return StoreUnreachable(Obstacle.TLS, endpoint, _certificate(error.certificate_error))
    if isinstance(error, aiohttp.ClientConnectorSSLError | aiohttp.ClientSSLError | ssl.SSLError):
        return StoreUnreachable(Obstacle.TLS, endpoint, _certificate(getattr(error, "os_error", error)))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return unresolved(error.os_error, endpoint)
    if isinstance(error, aiohttp.ClientConnectorError):
        return unconnected(error.os_error, endpoint)
    if isinstance(error, asyncio.TimeoutError):  # aiohttp's ConnectionTimeoutError among them
        return StoreUnreachable(Obstacle.SILENT, endpoint)
    return (StaleConnection if kept else StoreUnreachable)(Obstacle.LOST, endpoint)


def _authority(url: str) -> str:
    """Host and port of a URL, without a user's name and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _certificate(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, "certificate not accepted")
    return "handshake failed"


def unresolved(error: OSError, endpoint: Endpoint) -> StoreUnreachable:
    """What a failure of getaddrinfo means: the name does not exist, or no server tells."""
    unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), None)
    return StoreUnreachable(Obstacle.DNS, endpoint, "" if unknown else "no answer")


def unconnected(error: OSError, endpoint: Endpoint) -> StoreUnreachable:
    """What a failure to connect means."""
    # asyncio joins the errors of several addresses into one without a number
    text = str(error)
    if isinstance(error, ConnectionRefusedError) or "Errno 111" in text or "Connect call failed" in text:
        return StoreUnreachable(Obstacle.REFUSED, endpoint)
    if isinstance(error, asyncio.TimeoutError):
        return StoreUnreachable(Obstacle.SILENT, endpoint)
    return StoreUnreachable(Obstacle.NETWORK, endpoint, (error.strerror or "connection failed").lower()[:80])

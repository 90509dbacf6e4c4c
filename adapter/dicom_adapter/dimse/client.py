"""The client: `connect` asks a peer for an association, `ClientAssociation` is one (PS3.8 7.1)."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from dicom_adapter.dimse.associate import AssociateAcceptance, AssociateRequest
from dicom_adapter.dimse.association import Connection
from dicom_adapter.dimse.errors import AssociationEnded, PeerUnreachable
from dicom_adapter.dimse.exchange import Exchange
from dicom_adapter.dimse.handlers import Handlers
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_adapter.dimse.proposal import Extras, PresentationContext, encode_request, is_ae_title, propose
from dicom_adapter.dimse.requestor import Proposal, RequestedAssociation
from dicom_adapter.dimse.requests import Requests
from dicom_adapter.dimse.transport import ReceiveBuffer, SocketProtocol

Progress = Callable[[Literal["dns", "tcp"], str], None]

CLIENT_BUFFER_BYTES: Final = 64 * 1024

_ADDRESS: Final = re.compile(r"(?P<title>[^@]+)@(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a DICOM node is: its AE title, and the host and port that it listens on."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `AE@host:port`; an IPv6 address stands in brackets.

        Raises:
            ValueError: it is not of that form.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 1 << 16 or not is_ae_title(found["title"]):
            raise ValueError("write AE@host:port, such as ARCHIVE@pacs.example:11112")
        return cls(found["title"].strip(), found["v6"] or found["host"], int(found["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards a peer (PS3.15 B): `context` is asked for each connection, the certificate is to be for `name`, by default the host."""

    context: Callable[[], ssl.SSLContext]
    name: str = ""


class ClientAssociation(Requests):
    """An association that we have asked for. Leaving its `async with` block releases it, leaving it with an exception aborts it."""

    def __init__(self, association: RequestedAssociation, exchange: Exchange, acceptance: AssociateAcceptance) -> None:
        super().__init__(exchange.negotiated, exchange.invoker)
        self._association = association
        self.acceptance: Final = acceptance

    @property
    def usable(self) -> bool:
        """Whether requests can be sent: the peer has not ended it."""
        return self._association.usable

    @property
    def end(self) -> AssociationEnded:
        """Why it is not usable any more."""
        return self._association.end

    async def release(self) -> None:
        """Release it, when the peer has answered everything. Never raises: a peer that does not agree is aborted."""
        await self._association.release()

    async def abort(self) -> None:
        """Abort it."""
        await self._association.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            await self.release()
        else:
            await self.abort()


async def connect(
    peer: PeerAddress,
    *,
    calling_ae_title: str,
    contexts: Sequence[PresentationContext],
    limits: Limits | None = None,
    handlers: Handlers | None = None,
    extras: Extras | None = None,
    buffer: ReceiveBuffer | None = None,
    progress: Progress | None = None,
    tls: Tls | None = None,
) -> ClientAssociation:
    """Open an association.

    Args:
        peer: whom to call.
        calling_ae_title: who we are.
        contexts: what we would like to do, at most 128 presentation contexts.
        limits: bounds and timeouts.
        handlers: for what the peer asks of us on this association: the C-STORE of a C-GET, the report of a commitment.
        extras: roles, asynchronous operations, extended negotiation, user identity.
        buffer: to be shared by the associations of one event loop.
        progress: hears of the steps on the way: `dns` with the addresses, `tcp` with the address that is connected.
        tls: for a peer that speaks DICOM over TLS.

    Raises:
        DimseError: there is no association; see `errors`.
        ValueError: an AE title or a UID is none, or there are too many contexts.
    """
    limits, extras = limits or Limits(), extras or Extras()
    request = AssociateRequest(
        called_ae_title=peer.ae_title,
        calling_ae_title=calling_ae_title,
        contexts=propose(contexts),
        maximum_length=limits.max_pdu_bytes,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        asynchronous_operations=extras.asynchronous_operations,
        roles=extras.roles,
        extended=extras.extended,
        common_extended=extras.common_extended,
        user_identity=extras.user_identity,
    )
    proposal = Proposal(request, encode_request(request), handlers or Handlers(), limits)
    told = progress or (lambda step, detail: None)
    addresses = await _resolve(peer, limits.connect_timeout)
    told("dns", ", ".join(dict.fromkeys(host for _, (host, _) in addresses)))
    association = await _open(addresses, peer, proposal, buffer or ReceiveBuffer(CLIENT_BUFFER_BYTES), tls)
    told("tcp", association.peer_address)
    exchange = await association.established()
    return ClientAssociation(association, exchange, association.acceptance or AssociateAcceptance())


async def _resolve(peer: PeerAddress, seconds: float) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        async with asyncio.timeout(seconds):
            found = await asyncio.get_running_loop().getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a TimeoutError is an OSError
        raise PeerUnreachable("dns", f"'{peer.host}' cannot be resolved: there is no such name, or the DNS does not answer") from None
    return [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


async def _open(
    addresses: Sequence[tuple[socket.AddressFamily, tuple[str, int]]],
    peer: PeerAddress,
    proposal: Proposal,
    buffer: ReceiveBuffer,
    tls: Tls | None,
) -> RequestedAssociation:
    """Connect to the first of the addresses that answers."""
    loop, seconds = asyncio.get_running_loop(), proposal.limits.connect_timeout
    error = PeerUnreachable("dns", f"'{peer.host}' has no address")
    made: list[RequestedAssociation] = []
    secured: dict[str, Any] = {"ssl": tls.context(), "server_hostname": tls.name or peer.host} if tls else {}

    def begin(connection: Connection, address: str, port: int) -> RequestedAssociation:
        made.append(RequestedAssociation(proposal, connection, address, port))
        return made[-1]

    for family, (host, port) in addresses:
        where, opened = f"{host}:{port}", False
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(lambda: SocketProtocol(begin, buffer), host, port, family=family, **secured)
            opened = True
            return made[-1]
        except TimeoutError:
            error = PeerUnreachable("silent", f"{where} gives no answer for {seconds:g} s: is the host down, or a firewall in the way?")
        except ConnectionRefusedError:
            error = PeerUnreachable("refused", f"{where} refuses the connection: nothing listens on this port")
        except ssl.SSLCertVerificationError as failure:
            error = PeerUnreachable("network", f"the certificate of {where} is not accepted: {failure.verify_message.rstrip('.')}")
        except OSError as failure:
            if tls and isinstance(failure, ssl.SSLError | ConnectionError):
                text = f"{where} and we agree on no TLS: does it speak TLS on this port, and does it want a certificate?"
                error = PeerUnreachable("network", text)
                continue
            error = PeerUnreachable("network", f"{where} cannot be reached: {failure.strerror or type(failure).__name__}")
        finally:
            for association in made[: -1 if opened else None]:
                association.shut_down()
    raise error

"""C-MOVE and C-GET in the test's own process: an archive on loopback, the services in front of it, and the nodes around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from dicom_adapter.auth.tls import StoreTls
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dimse import (
    ClientAssociation,
    DimseServer,
    Extras,
    Handlers,
    Limits,
    PeerAddress,
    Pool,
    PresentationContext,
    QueryRequest,
    Response,
    RoleProposal,
    Status,
    StoreHandler,
    StoreRequest,
    connect,
)
from dicom_adapter.dimse.sopclasses import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_adapter.services.datasets import encode, quietly
from dicom_adapter.services.retrieval.arrival import Memory
from dicom_adapter.services.retrieval.fetching import Source
from dicom_adapter.services.retrieval.get import GetService
from dicom_adapter.services.retrieval.move import MoveService
from dicom_adapter.services.retrieval.retrieval import Tally
from dicom_adapter.services.retrieval.service import RetrieveService
from dicom_adapter.transform.transcode import CannotConvert
from tests.adapter.dimse.nodes import settled
from tests.adapter.dimse.serving import Recorder
from tests.support.rawscu import EXPLICIT, IMPLICIT

MODELS = (STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE, STUDY_ROOT_GET, PATIENT_ROOT_GET)


@dataclass
class Told:
    """What the observer was told."""

    refused: list[tuple[Status, str]] = field(default_factory=list)
    ended: list[tuple[str, Tally, Status]] = field(default_factory=list)

    def retrieval_refused(self, request: QueryRequest, status: Status, text: str) -> None:
        self.refused.append((status, text))

    def retrieved(self, service: str, request: QueryRequest, to: str, tally: Tally, status: Status) -> None:
        self.ended.append((service, tally, status))


class Destination:
    """A node that keeps what it is sent. `statuses`: what it answers, by SOP Instance UID."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.requests: list[StoreRequest] = []
        self.statuses: dict[str, int] = {}
        self.address = PeerAddress("WS1", "127.0.0.1", 1)
        self.delay = 0.0
        self.keeps = True
        self.recorder = Recorder()

    async def store(self, request: StoreRequest) -> Status:
        """The handler of C-STORE."""
        pieces = [piece if self.keeps else b"" async for piece in request.body]
        await asyncio.sleep(self.delay)
        self.requests.append(request)
        self.received[request.sop_instance_uid] = b"".join(pieces)
        return Status(self.statuses.get(request.sop_instance_uid, 0))


@asynccontextmanager
async def destination(store: StoreHandler | None = None) -> AsyncIterator[Destination]:
    """A running destination."""
    found = Destination()
    server = DimseServer(ae_titles=["WS1"], handlers=Handlers(store=store or found.store), limits=Limits(), observer=found.recorder)
    await server.start("127.0.0.1", 0)
    found.address = PeerAddress("WS1", "127.0.0.1", server.port)
    try:
        yield found
    finally:
        server.abort()
        await server.wait_closed()


async def no_conversion(content: bytes, source: str, target: str) -> bytes:
    """What converts nothing."""
    raise CannotConvert("no codec")


class Gateway:
    """A running adapter, as far as retrievals need one."""

    def __init__(self, address: PeerAddress, told: Told, memory: Memory, pool: Pool, recorder: Recorder) -> None:
        self.address, self.told, self.memory, self.pool, self.recorder = address, told, memory, pool, recorder

    @asynccontextmanager
    async def asked(
        self, *, store: StoreHandler | None = None, classes: Mapping[str, Sequence[str]] | None = None, models: Sequence[str] = MODELS
    ) -> AsyncIterator[ClientAssociation]:
        """An association of a workstation. With `store` it takes the instances of a C-GET, of `classes` in their transfer syntaxes."""
        contexts = [PresentationContext(uid, (EXPLICIT, IMPLICIT)) for uid in models]
        contexts += [PresentationContext(uid, (one,)) for uid, syntaxes in (classes or {}).items() for one in syntaxes]
        extras = Extras(roles={uid: RoleProposal(scu=False, scp=True) for uid in classes or {}})
        handlers = Handlers(store=store) if store else None
        async with await connect(self.address, calling_ae_title="CALLER", contexts=contexts, handlers=handlers, extras=extras) as found:
            yield found


@asynccontextmanager
async def gateway(url: str, *peers: PeerAddress, convert=no_conversion, per_peer: int = 4, attempts: int = 3) -> AsyncIterator[Gateway]:
    """Serves C-MOVE to `peers` and C-GET from the archive at `url`. At the end nothing is held and no task is left."""

    class Requests:
        def request_ended(self, method: str, code: str, seconds: float) -> None:
            pass

    async def headers() -> Mapping[str, str]:
        return {}

    told, memory = Told(), Memory()
    client = DicomwebClient(url, headers=headers, tls=StoreTls(None).context, observer=Requests(), connections=32, user_agent="test")
    policy = RetryPolicy(attempts=attempts, initial_delay=0.001, maximum_delay=0.002)
    pool = Pool(calling_ae_title="GATE", per_peer=per_peer)
    shared = RetrieveService(Source(client, policy, time.time), memory, convert, told)
    known = {peer.ae_title: peer for peer in peers}
    handlers = Handlers(move=MoveService(shared, pool, known.get), get=GetService(shared))
    recorder = Recorder()
    server = DimseServer(ae_titles=["GATE"], handlers=handlers, limits=Limits(), observer=recorder)
    await server.start("127.0.0.1", 0)
    try:
        yield Gateway(PeerAddress("GATE", "127.0.0.1", server.port), told, memory, pool, recorder)
    finally:
        server.abort()
        await server.wait_closed()
        await pool.close()
        await client.close()
    await settled()
    assert memory.held == 0
    assert tasks() == []


def tasks() -> list[str]:
    """The tasks of the services that are running."""
    codes = ((task.get_name(), getattr(task.get_coro(), "cr_code", None)) for task in asyncio.all_tasks())  # a generator's end has none
    return [name for name, code in codes if code is not None and "/services/" in code.co_filename]


def identifier(level: str = "STUDY", *, syntax: str = EXPLICIT, **keys: str | list[str]) -> bytes:
    """The identifier of a retrieval."""
    with quietly():
        return _identifier(level, syntax, keys)


def _identifier(level: str, syntax: str, keys: Mapping[str, str | list[str]]) -> bytes:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return encode(data_set, syntax)


async def last(responses: AsyncIterator[Response]) -> Response:
    """The last response, when each before it has been seen to be pending."""
    found = None
    async for response in responses:
        assert found is None or found.pending
        found = response
    assert found is not None
    return found

"""The services that read from the store, put together from the configuration."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dicom_adapter.config import Config
from dicom_adapter.delivery.assembly import policy
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dimse import Handlers, Limits, PeerAddress, Pool, StoreHandler
from dicom_adapter.dimse.handlers import FindHandler
from dicom_adapter.services.commitment.existence import Existence
from dicom_adapter.services.commitment.journal import DirectoryJournal, NoJournal
from dicom_adapter.services.commitment.reports import ReportObserver, Reports, Surroundings
from dicom_adapter.services.commitment.service import CommitmentObserver, CommitmentService
from dicom_adapter.services.retrieval.arrival import Memory
from dicom_adapter.services.retrieval.fetching import Source
from dicom_adapter.services.retrieval.get import GetService
from dicom_adapter.services.retrieval.move import MoveService
from dicom_adapter.services.retrieval.service import RetrieveObserver, RetrieveService
from dicom_adapter.transform.worker import Transcoder

COMMITMENTS: Final = ".commitments"
"""The directory inside a spool for commitments that wait for their report: no destination has such a name."""

CONNECTIONS: Final = 64
"""To the store, for reading: a slow receiver of large images keeps its own, and must not keep an upload from its turn."""

IDLE_SECONDS: Final = 1.0
"""A workstation may take one association at a time: it is not kept from others by one that nobody uses."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The handlers of C-MOVE, C-GET and storage commitment, and the client that they share with C-FIND."""

    client: DicomwebClient
    move: MoveService
    get: GetService
    commitment: CommitmentService

    def handlers(self, *, store: StoreHandler, find: FindHandler) -> Handlers:
        """These and the other two."""
        return Handlers(store=store, find=find, move=self.move, get=self.get, n_action=self.commitment)


@dataclass(frozen=True, slots=True)
class Spool:
    """Where one is, if there is one, and since when (time.time()) its oldest instance waits, if one does."""

    directory: str = ""
    oldest: Callable[[], float | None] = lambda: None


class Observer(RetrieveObserver, CommitmentObserver, ReportObserver, Protocol):
    """Whoever counts and logs."""


def lookup(config: Config) -> Callable[[str], PeerAddress | None]:
    """Where a peer of the configuration listens."""
    addresses = {peer.ae_title: PeerAddress(peer.ae_title, peer.host, peer.port) for peer in config.peers if peer.host}
    return addresses.get


@asynccontextmanager
async def reading(config: Config, client: DicomwebClient, limits: Limits, observer: Observer, spool: Spool) -> AsyncIterator[Reading]:
    """Their parts live inside the block."""
    pool = Pool(calling_ae_title=config.calling, limits=limits, idle_seconds=IDLE_SECONDS)
    async with Transcoder() as transcoder:
        shared = RetrieveService(Source(client, policy(config.delivery), time.time), Memory(), transcoder.convert, observer)
        known = lookup(config)
        where = Surroundings(config.ae_title, config.calling, limits, known, time.time, oldest_spooled=spool.oldest)
        journal = DirectoryJournal(Path(spool.directory, COMMITMENTS)) if spool.directory else NoJournal()
        reports = Reports(Existence(client), journal, where, observer)
        await reports.start()
        try:
            commitment = CommitmentService(reports, known, time.time, observer)
            yield Reading(client, MoveService(shared, pool, known), GetService(shared), commitment)
        finally:
            await reports.stop()
            await pool.close()

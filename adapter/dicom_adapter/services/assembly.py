"""The services that read from the store, put together from the configuration."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dicom_adapter.config import Config
from dicom_adapter.delivery.retry import RetryPolicy
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dimse import Limits, PeerAddress, Pool
from dicom_adapter.services.arrival import Memory
from dicom_adapter.services.fetching import Source
from dicom_adapter.services.get import GetService
from dicom_adapter.services.move import MoveService
from dicom_adapter.services.retrieve import RetrieveObserver, RetrieveService
from dicom_adapter.transform.worker import Transcoder

CONNECTIONS = 64
"""To the store, for reading: a slow receiver of large images keeps its own, and must not keep an upload from its turn."""

IDLE_SECONDS = 1.0
"""A workstation may take one association at a time: it is not kept from others by one that nobody uses."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The handlers of C-MOVE and C-GET, and the client that they share with C-FIND."""

    client: DicomwebClient
    move: MoveService
    get: GetService


def lookup(config: Config) -> Callable[[str], PeerAddress | None]:
    """Where a peer of the configuration listens."""
    addresses = {peer.ae_title: PeerAddress(peer.ae_title, peer.host, peer.port) for peer in config.peers if peer.host}
    return addresses.get


@asynccontextmanager
async def reading(config: Config, client: DicomwebClient, limits: Limits, observer: RetrieveObserver) -> AsyncIterator[Reading]:
    """Their parts live inside the block."""
    retry = config.delivery.retry
    policy = RetryPolicy(
        attempts=retry.max_attempts,
        initial_delay=retry.initial_delay_milliseconds / 1000,
        maximum_delay=retry.max_delay_milliseconds / 1000,
        status_codes=retry.status_codes,
    )
    pool = Pool(calling_ae_title=config.calling, limits=limits, idle_seconds=IDLE_SECONDS)
    async with Transcoder() as transcoder:
        shared = RetrieveService(Source(client, policy, time.time), Memory(), transcoder.convert, observer)
        try:
            yield Reading(client, MoveService(shared, pool, lookup(config)), GetService(shared))
        finally:
            await pool.close()

"""C-STORE without a network: what the store service makes of odd requests and of credentials that are gone."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from dicom_adapter.auth.mounted import Missing, Mounted
from dicom_adapter.auth.tls import StoreTls
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.config import Delivery
from dicom_adapter.delivery import assembly
from dicom_adapter.delivery.pipeline import Delivered, Pipeline
from dicom_adapter.delivery.replay import Room
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dimse import DataSetInterrupted, Peer, Status, StoreRequest
from dicom_adapter.services.store import StoreService
from tests.support.store import FaultStore


class Nobody:
    def request_ended(self, method: str, code: str, seconds: float) -> None: ...


class Silent:
    """An observer of the delivery."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def pipeline(adapter: DicomwebClient) -> Pipeline:
    return assembly.assemble(Delivery(timeout_seconds=5), adapter, room=Room(tempfile.gettempdir()), observer=Silent()).pipeline


def request(*pieces: bytes, interrupted: bool = False) -> StoreRequest:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if interrupted:
            raise DataSetInterrupted("gone")

    return StoreRequest(Peer("CT1", "GATE", "10.1.2.3", 1), 1, 1, "1.2", "1.2.3", "1.2.840.10008.1.2.1", body())


def client(url: str, failure: Exception | None = None) -> DicomwebClient:
    async def headers() -> Mapping[str, str]:
        if failure:
            raise failure
        return {}

    return DicomwebClient(url, headers=headers, tls=StoreTls(None).context, observer=Nobody(), connections=1, user_agent="test")


async def outcome(asked: StoreRequest, failure: Exception | None = None) -> tuple[Status, list[Delivered]]:
    reports: list[Delivered] = []
    async with FaultStore() as store, client(store.url, failure) as adapter:
        service = StoreService(pipeline(adapter), lambda _, delivered: reports.append(delivered))
        status = await service(asked)
        assert len(store.posts) == (1 if status.code == 0 else 0)
    return status, reports


async def test_an_instance_is_stored_and_reported() -> None:
    status, (report,) = await outcome(request(b"data"))
    assert status == Status(0)
    assert (report.attempts, report.verdict.http_status) == (1, 200)


async def test_a_data_set_without_bytes_is_none() -> None:
    assert await outcome(request()) == (Status(0xC000, "Mandatory data set missing"), [])


async def test_an_interrupted_data_set_reaches_the_engine_as_it_came() -> None:
    with pytest.raises(DataSetInterrupted):
        await outcome(request(b"data", interrupted=True))


GONE = Missing(Mounted("Secret", "gcs-key", "key.json", Path("/x")), [])


@pytest.mark.parametrize(
    ("failure", "comment"),
    [
        (GONE, "Secret 'gcs-key' is not usable"),
        (CredentialsUnavailable("Google gave no token (RefreshError: x)"), "Google gave no token (RefreshError: x)"),
    ],
)
async def test_without_credentials_the_store_is_not_asked(failure: Exception, comment: str) -> None:
    status, (report,) = await outcome(request(b"data"), failure)
    assert status == Status(0xA700, comment)
    assert report.verdict.text == comment


async def test_an_instance_resent_by_another_ae_over_another_association_is_the_same_byte_for_byte() -> None:
    async with FaultStore() as store, client(store.url) as adapter:
        service = StoreService(pipeline(adapter), lambda *_: None)
        first, second = request(b"da", b"ta"), request(b"data")
        second.peer, second.association_id, second.message_id = Peer("ARCHIVE", "GATE2", "10.9.9.9", 2), 2, 7
        assert [await service(first), await service(second)] == [Status(0)] * 2
        assert store.posts[0].part == store.posts[1].part

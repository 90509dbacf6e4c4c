"""The delivery in the test's own process: an assembled pipeline in front of a store on loopback, and whatever it tells its observer."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from dicom_adapter.auth.tls import StoreTls
from dicom_adapter.config import Delivery, OnConflict, Retry
from dicom_adapter.delivery import assembly
from dicom_adapter.delivery.assembly import Delivering
from dicom_adapter.delivery.pipeline import Delivered
from dicom_adapter.delivery.pipeline import Instance as Arriving
from dicom_adapter.delivery.replay import Room
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dimse import DataSetInterrupted
from dicom_adapter.part10 import FileMeta
from tests.support.dicom import Instance


class Credentials(Protocol):
    """What the client asks of credentials."""

    async def headers(self) -> Mapping[str, str]: ...

    async def refused(self, headers: Mapping[str, str]) -> bool: ...


class Token:
    """A bearer token, or none."""

    def __init__(self, value: str = "") -> None:
        self._value = value

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    async def refused(self, _: Mapping[str, str]) -> bool:
        return False


QUICK = Retry(initial_delay_milliseconds=10, max_delay_milliseconds=20)
ONCE = Retry(max_attempts=1)


class Observer:
    """Keeps what the delivery and its client tell."""

    def __init__(self) -> None:
        self.retries: list[str] = []
        self.conflicts: list[str] = []
        self.lines: list[tuple[str, str, bool]] = []
        self.rates: list[float] = []
        self.requests: list[tuple[str, str]] = []

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        self.requests.append((method, code))

    def retried(self, reason: str) -> None:
        self.retries.append(reason)

    def waited(self, seconds: float) -> None: ...

    def conflict(self, action: str) -> None:
        self.conflicts.append(action)

    def overwriting(self, sop_instance_uid: str, message: str, *, lost: bool = False) -> None:
        self.lines.append((sop_instance_uid, message, lost))

    def throttled(self, destination: str, rate: float) -> None:
        self.rates.append(rate)


class Sender:
    """Gives instances to a pipeline as the store service does."""

    def __init__(self, delivering: Delivering, observer: Observer) -> None:
        self.delivering = delivering
        self.observer = observer

    async def send(self, one: Instance, *, piece: int = 100_000, leaves_at: int | None = None) -> Delivered:
        """One instance, in pieces; `leaves_at`: the sender breaks off there."""
        meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, "1.2.3", "TEST")

        async def body() -> AsyncIterator[bytes]:
            for start in range(0, len(one.data_set), piece):
                if leaves_at is not None and start >= leaves_at:
                    raise DataSetInterrupted
                yield one.data_set[start : start + piece]

        return await self.delivering.pipeline.deliver(Arriving(meta, body()))


@asynccontextmanager
async def delivering(
    url: str,
    *,
    credentials: Credentials | None = None,
    on_conflict: OnConflict = OnConflict.FAIL,
    retry: Retry = QUICK,
    seconds: int = 10,
) -> AsyncIterator[Sender]:
    """A pipeline to this store."""
    observer, known = Observer(), credentials or Token()
    async with DicomwebClient(
        url, headers=known.headers, refused=known.refused, tls=StoreTls(None).context, observer=observer, connections=36, user_agent="test"
    ) as client:
        spec = Delivery(seconds, on_conflict, retry)
        found = assembly.assemble(spec, client, room=Room(tempfile.gettempdir()), observer=observer)
        yield Sender(found, observer)
        await found.conflicts.settle(seconds)  # what is longer at it never ends


def other(one: Instance) -> Instance:
    """The same instance with other content."""
    return Instance(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set.replace(b"Test^Image", b"Test^Other"))

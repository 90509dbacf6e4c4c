"""How the handlers of one association are run."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from dicom_adapter.dimse import AssociationLost, GetRequest, Handlers, Limits, Response, Status, SubOperations
from dicom_adapter.dimse.body import DataSetStream
from dicom_adapter.dimse.commands import Command
from dicom_adapter.dimse.operation import Operation
from dicom_adapter.dimse.services import INTERNAL_ERROR, Services
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_GET
from dicom_adapter.dimse.status import CANCELLED, PENDING


async def test_a_cancel_while_a_response_goes_out_is_heard_by_the_handler() -> None:
    """Closed instead, it could not bring to its end what must not be broken off: the C-STORE of a C-GET."""
    ends: list[str] = []
    sending = asyncio.Event()

    async def handler() -> AsyncGenerator[Response, None]:
        try:
            while True:
                yield Response(Status(PENDING), sub_operations=SubOperations(2, 1, 0, 0))
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            ends.append("cancelled")
            await asyncio.sleep(0)
            ends.append("brought to its end")
        yield Response(Status(CANCELLED))

    async def pending(operation: Any, response: Response) -> None:
        sending.set()
        await asyncio.Event().wait()

    operation: Any = SimpleNamespace(numbers=None)
    services = Services.__new__(Services)
    performing = asyncio.create_task(services._stream(operation, handler(), pending))
    await sending.wait()
    performing.cancel()
    assert await performing == Response(Status(CANCELLED))
    assert ends == ["cancelled", "brought to its end"]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_handler_that_hears_of_the_end_before_its_cancellation_has_not_failed(
    ended: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is left to answer. The end of another association, as in a C-MOVE, is a failure as any."""

    async def get(request: GetRequest) -> AsyncGenerator[Response, None]:
        raise AssociationLost("the peer closed the connection without a release")
        yield Response(Status(PENDING))  # a generator

    async def pending(operation: Operation, response: Response) -> None:
        raise AssertionError("nothing to send")

    context = SimpleNamespace(transfer_syntax="1.2.840.10008.1.2.1")
    negotiated: Any = SimpleNamespace(peer=None, association_id=1, contexts={1: context}, extended={})
    sender: Any = SimpleNamespace(ended=ended)
    services = Services(Handlers(get=get), negotiated, Limits(), sender)
    body = DataSetStream(lambda: None)
    body.feed(b"", last=True)
    operation = Operation(1, Command(0x10, 1, True, STUDY_ROOT_GET), body, 0.0)
    answer = await services.perform(operation, pending)
    assert answer == (None if ended else Response(Status(0xC000, INTERNAL_ERROR)))
    assert [record.message for record in caplog.records] == ([] if ended else ["a C-GET handler failed"])

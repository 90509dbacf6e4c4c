"""How the handlers of one association are run."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

from dicom_adapter.dimse import Response, Status, SubOperations
from dicom_adapter.dimse.services import Services
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

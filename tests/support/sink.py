"""The engine alone in a process, behind it a store that checks what comes and keeps nothing; with a window into the process.

An instance proves itself: its SOP Instance UID holds the CRC-32 of its data set (`instance_uid`), and what differs is refused with A900.
"""

import asyncio
import json
import sys
import zlib
from collections.abc import Callable

from dicom_adapter.dimse import DimseServer, Handlers, Limits, Status, StoreRequest


def instance_uid(number: int, data: bytes) -> str:
    """The SOP Instance UID for `data`; `number` makes it one of many."""
    return f"2.25.{number}.{zlib.crc32(data)}"


async def check(request: StoreRequest) -> Status:
    """Success for what came whole."""
    crc = 0
    async for chunk in request.body:
        crc = zlib.crc32(chunk, crc)
    return Status(0 if request.sop_instance_uid.rsplit(".", 1)[1] == str(crc) else 0xA900)


class Silent:
    """An observer that hears nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


async def serve(limits: Limits) -> None:
    """Print the port, then serve until killed."""
    server = DimseServer(ae_titles=["GATE"], handlers=Handlers(store=check), limits=limits, observer=Silent())
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import gc

    import uvloop

    from tests.support import window

    window.open_window()
    gc.freeze()
    uvloop.run(serve(Limits(**json.loads(sys.argv[1]))))

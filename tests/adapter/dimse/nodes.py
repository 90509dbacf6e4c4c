"""Both sides of the engine on one event loop, and peers that are none: for tests of the client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from dicom_adapter.dimse import AssociationSummary, DimseServer, Handlers, Limits, PeerAddress, PresentationContext
from dicom_adapter.dimse.sopclasses import STORAGE_COMMITMENT, STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from tests.adapter.dimse.serving import Recorder
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION

CONTEXTS = [
    PresentationContext(VERIFICATION, (IMPLICIT,)),
    PresentationContext(CT_STORAGE, (EXPLICIT,)),
    PresentationContext(STUDY_ROOT_FIND, (EXPLICIT, IMPLICIT)),
    PresentationContext(STUDY_ROOT_GET, (EXPLICIT,)),
    PresentationContext(STUDY_ROOT_MOVE, (EXPLICIT,)),
    PresentationContext(STORAGE_COMMITMENT, (EXPLICIT,)),
]


class Node:
    """A running server."""

    def __init__(self, server: DimseServer, recorder: Recorder) -> None:
        self.server, self.recorder = server, recorder

    @property
    def address(self) -> PeerAddress:
        return PeerAddress("GATE", "127.0.0.1", self.server.port)

    async def ended(self, number: int = 0) -> AssociationSummary:
        """What the server says of the association that ended as number `number`."""
        await until(lambda: len(self.recorder.ended) > number)
        return self.recorder.ended[number]


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` is true."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- what is waited for is on the other side of a socket
            await asyncio.sleep(0.005)


@asynccontextmanager
async def node(handlers: Handlers | None = None, limits: Limits | None = None, **others: Any) -> AsyncIterator[Node]:
    """Serve on a free loopback port of this loop; at the end nothing may be left of either side: no connection, no task."""
    before = asyncio.all_tasks()
    recorder = Recorder()
    server = DimseServer(ae_titles=["GATE"], handlers=handlers or Handlers(), limits=limits or Limits(), observer=recorder, **others)
    await server.start("127.0.0.1", 0)
    try:
        yield Node(server, recorder)
    finally:
        server.abort()
        async with asyncio.timeout(60):
            await server.wait_closed()
    await until(lambda: asyncio.all_tasks() == before)


@asynccontextmanager
async def impostor(play: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[PeerAddress]:
    """Something that listens and does what `play` does with each connection, then closes it."""
    playing: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        playing.add(task)
        try:
            await play(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            playing.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield PeerAddress("GATE", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tuple(playing):
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        await settled()


async def settled() -> None:
    """Let what was scheduled happen: callbacks of closed transports, tasks on their last step."""
    for _ in range(5):
        await asyncio.sleep(0)


async def read_pdu(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    header = await reader.readexactly(6)
    return header[0], await reader.readexactly(int.from_bytes(header[2:], "big"))

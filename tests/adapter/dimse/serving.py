"""A DimseServer in a thread of its own, and an observer that remembers: tests talk to it as any peer does."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from dicom_adapter.dimse import (
    Access,
    AssociationSummary,
    DimseServer,
    Extend,
    Handlers,
    Limits,
    Peer,
    Permit,
    Rejection,
    Status,
    StoreHandler,
    StoreRequest,
)

Result = TypeVar("Result")
PATIENCE = 60.0


def eventually(condition: Callable[[], Result], patience: float = PATIENCE) -> Result:
    """Wait until `condition` is true and return what it returned."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
    return result


class Recorder:
    """An observer."""

    def __init__(self) -> None:
        self.accepted: list[tuple[int, Peer]] = []
        self.rejected: list[tuple[Peer, Rejection]] = []
        self.ended: list[AssociationSummary] = []
        self.refused: list[tuple[Peer, str, str]] = []
        self.withheld: list[tuple[Peer, str, str]] = []
        self.operations: list[tuple[str, Peer, Status, float, str | None]] = []
        self.foreign: list[str] = []
        self.bytes = 0

    def association_accepted(self, association_id: int, peer: Peer) -> None:
        self.accepted.append((association_id, peer))

    def association_rejected(self, peer: Peer, rejection: Rejection) -> None:
        self.rejected.append((peer, rejection))

    def association_ended(self, summary: AssociationSummary) -> None:
        self.ended.append(summary)

    def context_refused(self, peer: Peer, abstract_syntax_uid: str, name: str, *, withheld: bool) -> None:
        (self.withheld if withheld else self.refused).append((peer, abstract_syntax_uid, name))

    def operation_ended(self, service: str, peer: Peer, status: Status, seconds: float, sop_instance_uid: str | None) -> None:
        self.operations.append((service, peer, status, seconds, sop_instance_uid))

    def no_dicom(self, address: str) -> None:
        self.foreign.append(address)

    def bytes_received(self, count: int) -> None:
        self.bytes += count

    def end(self, number: int = 0) -> AssociationSummary:
        eventually(lambda: len(self.ended) > number)
        return self.ended[number]


class Keeper:
    """A C-STORE handler that keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[StoreRequest] = []
        self.stored: dict[str, bytes] = {}

    async def __call__(self, request: StoreRequest) -> Status:
        self.requests.append(request)
        self.stored[request.sop_instance_uid] = b"".join([chunk async for chunk in request.body])
        return Status(0)


class Serving:
    """A running server."""

    def __init__(self, server: DimseServer, recorder: Recorder, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.recorder, self.loop = server, recorder, loop

    @property
    def port(self) -> int:
        return self.server.port

    def call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> "Future[Result]":
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def abort(self) -> None:
        self.loop.call_soon_threadsafe(self.server.abort)


@contextmanager
def serving(
    store: StoreHandler | None = None,
    *,
    titles: tuple[str, ...] = ("GATE",),
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    handlers: Handlers | None = None,
    access: Access | None = None,
    extend: Extend | None = None,
    permit: Permit | None = None,
    port: int = 0,
    **limits: Any,
) -> Iterator[Serving]:
    """Serve on loopback, on a free port if none is given; at the end nothing may be left: no connection, no task."""
    loop = new_loop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    recorder = Recorder()

    async def make() -> DimseServer:
        server = DimseServer(
            ae_titles=titles,
            handlers=handlers or Handlers(store=store),
            limits=Limits(**limits),
            observer=recorder,
            access=access,
            extend=extend,
            permit=permit,
        )
        await server.start("127.0.0.1", port)
        return server

    server = asyncio.run_coroutine_threadsafe(make(), loop).result(PATIENCE)

    async def end() -> list[str]:
        server.abort()
        await asyncio.wait_for(server.wait_closed(), 60)
        await asyncio.sleep(0)
        return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    try:
        yield Serving(server, recorder, loop)
    finally:
        left = asyncio.run_coroutine_threadsafe(end(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert not left
    assert not errors
    assert server.active == 0
    assert len(recorder.ended) == len(recorder.accepted)

"""A TCP relay in front of a store, for what happens to connections: gone for a while, ended after so many requests, reset when used again.

It knows no HTTP. A request begins where the client speaks after the server has spoken, or first: nobody pipelines here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

from tests.support.orthanc import free_port

_PIECE = 1 << 16


class Relay:
    """An async context manager that listens on loopback. `ends` is asked at the beginning of each request (its number on its connection)
    whether the connection ends there, with a reset and without a word to the server. With `tls` it is reached over TLS alone."""

    def __init__(self, target: int, *, ends: Callable[[int], bool] = lambda _: False, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.port = 0
        self.ended = 0
        self._ends = ends
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listens, on the same port as before."""
        self.port = self.port or free_port()  # none that a connection may have taken when it listens again
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_PIECE, ssl=self._tls)

    async def down(self) -> None:
        """Refuses connections and resets those that are open, wherever they are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task, writer in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections[task] = writer
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self.target, limit=_PIECE)
            try:
                await self._pass_on(reader, writer, there, to_there)
            finally:
                to_there.transport.abort()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamReader, to_there: asyncio.StreamWriter
    ) -> None:
        answered = True
        requests = 0

        async def back() -> None:
            nonlocal answered
            while data := await there.read(_PIECE):
                answered = True
                writer.write(data)
                await writer.drain()

        backward = asyncio.create_task(back())
        backward.add_done_callback(lambda _: writer.transport.abort())
        try:
            while data := await reader.read(_PIECE):
                if answered:
                    answered = False
                    requests += 1
                    if self._ends(requests):
                        self.ended += 1
                        return
                to_there.write(data)
                await to_there.drain()
        finally:
            backward.cancel()
            await asyncio.gather(backward, return_exceptions=True)

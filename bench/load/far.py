"""A STOW-RS sink that is far away: each answer comes so many milliseconds after the last byte of its request, and a share of them is a 503.

    python -m bench.load.far

Prints its port. A line `MILLISECONDS SHARE` on its standard input sets both.
"""

from __future__ import annotations

import asyncio
import random
import sys

import uvloop

from bench.load.web import Connection

FAILURE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Far:
    """What all connections do."""

    delay = 0.0
    share = 0.0
    chance = random.Random(1)


class FarConnection(Connection):
    """Answers late, and sometimes badly."""

    def _answer(self) -> None:
        if not self._start:  # a search
            super()._answer()
            return
        fails = Far.chance.random() < Far.share
        asyncio.get_running_loop().call_later(Far.delay, self._refuse if fails else self._late)

    def _late(self) -> None:
        if not self._transport.is_closing():
            super()._answer()

    def _refuse(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(FAILURE)
        self._begin()


async def serve(connection: type[FarConnection]) -> None:
    """Print the port, then serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        milliseconds, share = line.split()
        Far.delay, Far.share = int(milliseconds) / 1000, float(share)
        print("set", flush=True)


if __name__ == "__main__":
    uvloop.run(serve(FarConnection))

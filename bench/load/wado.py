"""A DICOMweb store to fetch from that costs next to nothing: any instance is there, and each answer comes so many milliseconds late.

    python -m bench.load.wado FILE

Prints its port; a line on its standard input sets the milliseconds. What is fetched is FILE with another SOP Instance UID, of `images.uid`;
that of LARGE is two gigabytes long.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import uvloop

from bench.load.images import CT_STORAGE, uid

LARGE = uid(10**14)
LARGE_BYTES = 2 << 30
_ZEROS = bytes(1 << 20)


class Store:
    """What all connections give."""

    delay = 0.0
    content = b""


class Connection(asyncio.Protocol):
    """One connection; requests without a body, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing yet."""
        self._transport = cast(asyncio.Transport, transport)
        self._received = b""
        self._writable = asyncio.Event()
        self._writable.set()

    def pause_writing(self) -> None:
        """The reader is slow."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            path, self._received = self._received.split(b" ", 2)[1].decode(), b""
            asyncio.get_running_loop().call_later(Store.delay, self._answer, path)

    def _answer(self, path: str) -> None:
        if self._transport.is_closing():
            return
        wanted = path.rpartition("/")[2]
        if not wanted.startswith("2.25."):  # a search
            self._send("application/dicom+json", json.dumps([{"00080016": {"vr": "UI", "Value": [CT_STORAGE]}}]).encode())
            return
        content = Store.content.replace(uid(0).encode(), wanted.encode())
        head, tail = b"--b\r\nContent-Type: application/dicom\r\n\r\n", b"\r\n--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        if wanted == LARGE:
            self._large = asyncio.ensure_future(self._stream(kind, head + content, tail))
        else:
            self._send(kind, head + content + tail)

    def _send(self, kind: str, body: bytes) -> None:
        self._transport.writelines([self._head(kind, len(body)), body])

    def _head(self, kind: str, length: int) -> bytes:
        return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()

    async def _stream(self, kind: str, content: bytes, tail: bytes) -> None:
        """Trailing padding (FFFC,FFFC) makes it long."""
        padding = b"\xfc\xff\xfc\xffOB\x00\x00" + LARGE_BYTES.to_bytes(4, "little")
        self._transport.write(self._head(kind, len(content) + len(padding) + LARGE_BYTES + len(tail)) + content + padding)
        for _ in range(LARGE_BYTES // len(_ZEROS)):
            await self._writable.wait()
            self._transport.write(_ZEROS)
        self._transport.write(tail)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        Store.delay = int(line) / 1000
        print("set", flush=True)


if __name__ == "__main__":
    Store.content = Path(sys.argv[1]).read_bytes()
    uvloop.run(_serve())

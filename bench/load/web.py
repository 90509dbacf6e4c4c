"""A STOW-RS sink that costs next to nothing: takes any request body, keeps none of it, and answers that the instance is stored.

    python -m bench.load.web

Prints its port. It reads what HTTP/1.1 senders send: Content-Length or chunks, one request after the other on a connection.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

import uvloop

START = 2048
"""So much of a body is looked at, for the SOP Instance UID in its file meta information."""


class Connection(asyncio.BufferedProtocol):
    """One connection. `_left` bytes of the body, or of a chunk, are to come; `_line` holds a head or a chunk's size until it is whole."""

    buffer = memoryview(bytearray(1 << 18))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a request's head."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._begin()

    def _begin(self) -> None:
        self._line, self._ending, self._in_head, self._chunked, self._left = bytearray(), b"\r\n\r\n", True, False, 0
        self._start = bytearray()

    def get_buffer(self, sizehint: int) -> memoryview:
        """All connections read into one buffer: each looks at it before the next reads."""
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes."""
        position = 0
        while position < nbytes:
            if self._left:
                step = min(self._left, nbytes - position)
                if len(self._start) < START:
                    self._start += self.buffer[position : min(position + step, position + START)]
                position += step
                self._left -= step
                if not self._left and not self._chunked:
                    self._answer()
            else:
                had = len(self._line)
                self._line += self.buffer[position : min(position + 4096, nbytes)]
                end = self._line.find(self._ending)
                if end < 0:
                    position += len(self._line) - had
                    continue
                position += end + len(self._ending) - had
                line = bytes(self._line[:end])
                self._line = bytearray()
                self._head(line) if self._in_head else self._chunk(line)

    def _head(self, head: bytes) -> None:
        headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        self._in_head = False
        self._chunked = b"transfer-encoding" in headers
        self._left = int(headers.get(b"content-length", b"0"))
        if self._chunked:
            self._ending = b"\r\n"
        elif not self._left:
            self._answer()

    def _chunk(self, line: bytes) -> None:
        if not line:  # after the last chunk
            self._answer()
        elif size := int(line, 16):
            self._left = size + 2

    def _answer(self) -> None:
        body = self._body()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self._begin()

    def _body(self) -> bytes:
        element = self._start.find(b"\x02\x00\x03\x00UI") + 6  # (0002,0003) Media Storage SOP Instance UID
        length = int.from_bytes(self._start[element : element + 2], "little")
        uid = self._start[element + 2 : element + 2 + length].rstrip(b"\0").decode() if element > 6 else ""
        return json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}).encode()


async def serve() -> None:
    """Print the port, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())

"""A QIDO-RS and WADO-RS source that costs next to nothing: one study of one series, CT images that differ in their UIDs only.

    python -m bench.load.archive COUNT BYTES

Prints its port; a number of milliseconds on its standard input is waited for before every answer from then on, and confirmed with a line;
`requests` is answered with how many requests there were since the last time. It reads what HTTP/1.1 clients send, one request after the
other on a connection, and writes no faster than they read.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

from bench.load import images
from dicom_adapter.part10 import FileMeta

STUDY, SERIES = "2.25.1", "2.25.2"
_BOUNDARY = b"xyz"
_HEAD = b"--" + _BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
_TAIL = b"\r\n--" + _BOUNDARY + b"--\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
_TYPE = b'multipart/related; type="application/dicom"; boundary=' + _BOUNDARY


class Source:
    """The images, and what is asked for."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.delay = 0.0
        self.requests = 0
        self.uids = {images.uid(number): number for number in range(count)}
        self._pixels = os.urandom(size)

    def part(self, number: int) -> tuple[bytes, bytes]:
        """An instance: what is its own, and what all have in common."""
        uid = images.uid(number)
        meta = FileMeta(images.CT_STORAGE, uid, images.EXPLICIT, "2.25.3", "BENCH").encode()
        elements = b"".join(
            (
                _ui(0x0008, 0x0016, images.CT_STORAGE),
                _ui(0x0008, 0x0018, uid),
                _ui(0x0020, 0x000D, STUDY),
                _ui(0x0020, 0x000E, SERIES),
                b"\xe0\x7f\x10\x00OW\x00\x00" + len(self._pixels).to_bytes(4, "little"),
            )
        )
        return meta + elements, self._pixels

    def search(self, query: dict[str, list[str]]) -> bytes:
        """A page of matches."""
        numbers = list(range(self.count))
        if wanted := query.get("SOPInstanceUID"):
            numbers = [self.uids[uid] for uid in wanted[0].split(",") if uid in self.uids]
        start, limit = int(query.get("offset", ["0"])[0]), int(query.get("limit", ["1000"])[0])
        return json.dumps([_match(number) for number in numbers[start : start + limit]]).encode()


def _ui(group: int, element: int, uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return group.to_bytes(2, "little") + element.to_bytes(2, "little") + b"UI" + len(value).to_bytes(2, "little") + value


def _match(number: int) -> dict[str, object]:
    values = {"00080016": images.CT_STORAGE, "00080018": images.uid(number), "0020000D": STUDY, "0020000E": SERIES}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pending = b""
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.set_write_buffer_limits(1 << 20)

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody reads any more."""
        self._room.set()

    def pause_writing(self) -> None:
        """The client is slower."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._room.set()

    def data_received(self, data: bytes) -> None:
        """A request has no body."""
        self._pending += data
        head, found, self._pending = self._pending.partition(b"\r\n\r\n")
        if found:
            self._task = asyncio.get_running_loop().create_task(self._answer(head.split(b" ", 2)[1].decode()))
        else:
            self._pending = head

    async def _answer(self, target: str) -> None:
        source, parts = self._source, urlsplit(target)
        source.requests += 1
        if source.delay:
            await asyncio.sleep(source.delay)
        if parts.path.endswith(("instances", "studies")):
            body = source.search(parse_qs(parts.query)) if parts.path.endswith("instances") else b"[]"
            self._transport.write(_ANSWER % (b"application/dicom+json", len(body)) + body)
            return
        one = re.search(r"/instances/([0-9.]+)$", parts.path)
        numbers = [source.uids[one[1]]] if one else list(range(source.count))
        length = sum(len(_HEAD) + sum(map(len, source.part(numbers[0]))) + 2 for _ in numbers) - 2 + len(_TAIL)
        self._transport.write(_ANSWER % (_TYPE, length))
        for position, number in enumerate(numbers):
            own, common = source.part(number)
            self._transport.write((b"\r\n" if position else b"") + _HEAD + own)
            self._transport.write(common)
            await self._room.wait()
            if self._transport.is_closing():
                return
        self._transport.write(_TAIL)


async def serve(source: Source) -> None:
    """Print the port, then serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(source), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"requests":
            print(source.requests, flush=True)
            source.requests = 0
        else:
            source.delay = float(line) / 1000
            print("ok", flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Source(int(sys.argv[1]), int(sys.argv[2]))))

"""R15: what a hostile DICOMweb server may answer. Each is a documented status within the time-out, and the next good answer works."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.support.adapter import Adapter
from tests.support.dicom import generated
from tests.support.rawscu import RawScu, associate_rq, context, store_rq
from tests.support.store import failed_json, stored_json
from tests.support.vitals import MEGABYTE

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TIMEOUT = 3
ZEROES = bytes(1 << 20)
LATE = "Store took longer than 3 s"


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]).encode() + body


def say(*data: bytes, then: float = 0) -> Act:
    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in data:
            writer.write(one)
            await writer.drain()
        if then:
            await asyncio.sleep(then)

    return act


def for_ever(head: bytes, piece: bytes, *, pause: float = 0.0) -> Act:
    async def act(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return act


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/dicom+json\r\n\r\n"
DEEP = b'{"00081199":{"vr":"SQ","Value":[' * 20_000
BILLION_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]><NativeDicomModel>&j;</NativeDicomModel>"
)
H2_GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8)
STORED, LOST, UNREAD = (0, ""), (0xA700, "Unreachable, STORE closed the connection"), (0, "")
CASES: dict[str, tuple[Act, tuple[int, str]]] = {
    "a gigabyte of JSON": (for_ever(answer(b"", length=1 << 30), b"[" * 65536), UNREAD),
    "an endless chunked body": (for_ever(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"), UNREAD),
    "a gzip bomb": (say(answer(gzip.compress(ZEROES * 100), "Content-Encoding: gzip")), UNREAD),
    "gzip that is none": (say(answer(b"no gzip", "Content-Encoding: gzip")), UNREAD),
    "an encoding that nobody knows": (say(answer(b"x", "Content-Encoding: zstd")), UNREAD),
    "a byte a second, in the body": (for_ever(answer(b"", length=1000), b" ", pause=1), (0xA700, LATE)),
    "a byte a second, in the head": (for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause=1), (0xA700, LATE)),
    "silence": (say(then=30), (0xA700, LATE)),
    "reset": (reset, LOST),
    "the end of the connection": (say(), LOST),
    "half a status line": (say(b"HTTP/1."), LOST),
    "half a head": (say(b"HTTP/1.1 200 OK\r\nContent-Le"), LOST),
    "an HTTP/2 GOAWAY": (say(H2_GOAWAY), LOST),
    "a TLS alert": (say(b"\x15\x03\x03\x00\x02\x02\x28"), LOST),
    "an endless head": (for_ever(b"HTTP/1.1 200 OK\r\n", b"X-Header: y\r\n" * 1000), LOST),
    "a header line of a megabyte": (say(answer(b"", "X: " + "y" * (1 << 20))), LOST),
    "a redirect to itself": (
        say(answer(b"", "Location: /dicom-web/studies", status="307 X")),
        (0xA700, "Http_307, Temporary Redirect, the store redirects; correct dicom"),
    ),
    "a redirect to another host": (
        say(answer(b"", "Location: http://127.0.0.2:1/", status="308 X")),
        (0xA700, "Http_308, Permanent Redirect, the store redirects; correct dicom"),
    ),
    "a redirect to a file": (
        say(answer(b"", "Location: file:///etc/passwd", status="302 X")),
        (0xA700, "Http_302, Found, the store redirects; correct dicomStore"),
    ),
    "HTML": (
        say(answer(b"<html>" + b"x" * 1000, "Content-Type: text/html")),
        (0xA700, "Http_200, a web page, no DICOMweb answer; correct dicomStore"),
    ),
    "an error page": (say(answer(b"<html>secret", status="502 X")), (0xA700, "Http_502, Bad Gateway")),
    "a Content-Length that is too long": (say(answer(b"{}", length=10)), UNREAD),
    "a Content-Length that is too short": (say(answer(b'{"a": 1}', length=2)), LOST),
    "two Content-Lengths": (say(answer(b"{}", "Content-Length: 20")), LOST),
    "a negative Content-Length": (say(answer(b"", length=-1)), LOST),
    "a 429 storm": (say(answer(b"", "Retry-After: 0", status="429 X")), (0xA700, "Http_429, Too Many Requests")),
    "a status of 999": (say(answer(b"", status="999 X")), (0xA700, "Http_999, unknown status")),
    "a switch of protocols": (
        say(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        (0xA700, "Http_101, Switching Protocols"),
    ),
    "an endless interim answer": (for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.01), (0xA700, LATE)),
    "JSON as deep as it gets": (say(answer(DEEP, "Content-Type: application/dicom+json")), UNREAD),
    "a billion laughs": (say(answer(BILLION_LAUGHS, "Content-Type: application/dicom+xml")), UNREAD),
    "a document about another instance": (say(answer(stored_json("9.9").encode())), UNREAD),
    "another instance has failed": (
        say(answer(failed_json("9.9", 0xA900).encode())),
        (0xA900, "The store refused the instance: Failure Reason A900"),
    ),
    "control characters in the error": (
        say(answer(json.dumps({"error": {"status": "X\r\n", "message": "a\x1b[2J\r\n\x00b\\c"}}).encode(), status="400 X")),
        (0xC000, "Http_400, Bad Request, a [2J b?c"),
    ),
}


class HostileServer:
    """Answers searches well, and uploads as it was last told."""

    def __init__(self) -> None:
        self.act: Act | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            await reader.readexactly(int(headers.get(b"content-length", b"0")))
            if head.startswith(b"POST") and self.act and b"boundary=nothing" not in head:  # which is the probe's: it uploads nothing
                await self.act(reader, writer)
            else:
                writer.write(answer(b"" if head.startswith(b"POST") else b"[]", "Connection: close"))
                await writer.drain()
        writer.close()


@asynccontextmanager
async def hostile_server() -> AsyncIterator[HostileServer]:
    found = HostileServer()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


async def test_r15_each_hostile_answer_is_a_documented_status_in_time_and_the_next_good_answer_works() -> None:
    assert len(CASES) >= 30
    spec = {"delivery": {"timeoutSeconds": TIMEOUT, "retry": {"maxAttempts": 1}}, "logLevel": "Debug"}
    one = generated()
    async with hostile_server() as server, Adapter(f"http://127.0.0.1:{server.port}/dicom-web", spec=spec) as adapter:
        where = f"127.0.0.1:{server.port}"
        with RawScu("127.0.0.1", adapter.port, timeout=30) as scu:

            def send() -> tuple[int, str]:
                scu.send_message(1, store_rq(one.sop_class_uid, one.sop_instance_uid), one.data_set)
                response = scu.response()
                return response.status, response.comment

            await asyncio.to_thread(scu.associate, associate_rq("GATE", "CT1", [context(1, one.sop_class_uid, one.transfer_syntax_uid)]))
            assert await asyncio.to_thread(send) == (0, "")
            before = adapter.resident_bytes("VmHWM")
            outcomes = {}
            for name, (act, _) in CASES.items():
                server.act = act
                outcomes[name] = await asyncio.to_thread(send)
                server.act = None
                assert await asyncio.to_thread(send) == (0, ""), name
            scu.release()
            grown = adapter.resident_bytes("VmHWM") - before
        assert outcomes == {name: (status, comment.replace("STORE", where)) for name, (_, (status, comment)) in CASES.items()}
        print(f"{len(CASES)} hostile answers, {grown / MEGABYTE:.1f} MB more at the peak")
        assert grown < 64 * MEGABYTE
    text = "\n".join(str(line) for line in adapter.lines)
    assert not [line for line in adapter.lines if line["severity"] in ("ERROR", "TEXT")], text
    assert "secret" not in text

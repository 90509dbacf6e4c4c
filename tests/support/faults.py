"""A script of what a server does to one HTTP request: what it answers, when, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

TOLD = "application/dicom+json"
MID_BODY = 1024
"""How much of a body a `mid body` fault lets in: less than any image, more than the head of its part."""
_SLOW_PIECE = 64 << 10

Fault = Literal["", "reset", "never answer", "stop reading", "read slowly", "truncate", "garbage", "half-close"]


@dataclass(slots=True)
class Reply:
    """What to answer to one request, or what to do instead.

    `body=None` on a 200 leaves the body to the server: it names the instance as stored. `delay` is waited before the answer, by
    `read slowly` after each 64 KiB; `until` is waited for before it as well. `when` is the moment of `reset` and of answers that do not
    wait for the body. With `keeps` the store has done what it was asked before the fault strikes: only its answer is lost.

    - `reset`: the connection is reset, without an answer
    - `never answer`, `stop reading`: nothing more happens, after or in the body
    - `truncate`: the answer's head, half of its body, then the end of the connection
    - `garbage`: bytes that are no HTTP
    - `half-close`: a whole answer that promises to keep the connection, then the end of our side of it
    """

    status: int = 200
    body: bytes | str | None = None
    content_type: str = TOLD
    delay: float = 0.0
    until: asyncio.Event | None = None
    when: Literal["before body", "mid body", "after body"] = "after body"
    instead: Fault = ""
    headers: dict[str, str] = field(default_factory=dict)
    keeps: bool = False

    @property
    def data(self) -> bytes | None:
        """The body's bytes."""
        return self.body.encode() if isinstance(self.body, str) else self.body


async def before_body(request: web.Request, reply: Reply) -> bool:
    """Does what has to be done before the body is read, or in the middle of it; tells whether the reply is due at once."""
    if reply.when == "mid body":
        await request.content.readexactly(MID_BODY)
    elif reply.instead == "stop reading":
        await request.content.readany()
        await asyncio.Event().wait()
    return reply.when != "after body"


async def pause(reply: Reply | None, read: int) -> None:
    """Called while a body is read: lets a slow reader be slow."""
    if reply and reply.instead == "read slowly":
        await asyncio.sleep(reply.delay * max(1, read // _SLOW_PIECE))


async def answer(request: web.Request, reply: Reply, body: bytes | None) -> web.StreamResponse:
    """Gives the reply, or does what it says instead. `body` is used where the reply has none."""
    if reply.delay and reply.instead != "read slowly":
        await asyncio.sleep(reply.delay)
    if reply.until is not None:
        await reply.until.wait()
    transport = request.transport
    assert transport
    data = reply.data if reply.body is not None else body
    headers = {"Content-Type": reply.content_type, **reply.headers}
    match reply.instead:
        case "reset":
            transport.abort()
            with suppress(ConnectionError):
                await request.content.read()
        case "never answer" | "stop reading":
            await asyncio.Event().wait()
        case "garbage":
            transport.write(b"\x16\x03\x01\x00 this is no HTTP\r\n\r\n")
            transport.close()
        case "truncate":
            half = (data or b"{}")[: len(data or b"{}") // 2]
            head = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {2 * len(half) + 2}", *(f"{k}: {v}" for k, v in headers.items())]
            transport.write("\r\n".join([*head, "", ""]).encode() + half)
            transport.close()
        case "half-close":
            return _HalfClosing(status=reply.status, body=data, headers=headers)
        case _:
            return web.Response(status=reply.status, body=data, headers=headers)
    return web.Response()  # to nobody


class _HalfClosing(web.Response):
    """An answer after which the server's side of the connection ends, while it still reads."""

    async def write_eof(self, data: bytes = b"") -> None:
        request = self._req
        await super().write_eof(data)
        if request is not None and request.transport is not None and request.transport.can_write_eof():
            request.transport.write_eof()

"""multipart/related (RFC 2387, PS3.18 8.6.1.2) both ways: the envelope of a request's instances, and a strict reader of answers.

Both are without I/O. The reader takes bytes as they come and holds back no more than a boundary's length of them; a body is whole only when
its closing boundary has been seen, so that nothing truncated is ever taken for an instance.
"""

from __future__ import annotations

import email.message
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046 5.1.1
_MAXIMUM_HEADERS = 8192


def _new_boundary() -> str:
    return secrets.token_hex(24)  # 192 random bits: no instance holds them, so none has to be searched for them


@dataclass(frozen=True, slots=True)
class Envelope:
    """The bytes before, between and after the parts, and the header that announces them."""

    boundary: str = field(default_factory=_new_boundary)

    @property
    def content_type(self) -> str:
        """The Content-Type of the request."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'

    @property
    def head(self) -> bytes:
        """What precedes the first instance."""
        return f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")

    @property
    def between(self) -> bytes:
        """What stands between two instances."""
        return b"\r\n" + self.head

    @property
    def tail(self) -> bytes:
        """What follows the last instance. Without it a store has nothing: it is sent only when the instances were sent whole."""
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")

    def length(self, instances: Sequence[int]) -> int:
        """The length of the body around instances of these lengths."""
        between = len(self.between) * (len(instances) - 1)
        return len(self.head) + between + sum(instances) + len(self.tail)


class NotMultipart(Exception):
    """What is wrong with an answer's body, in a few words without its bytes."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part begins; its Content-Type."""

    content_type: str


class PartsReader:
    """Takes a multipart/related body apart as it comes. `feed` gives PartBegins and the bytes of the part that is open."""

    def __init__(self, content_type: str) -> None:
        header = email.message.Message()
        header["Content-Type"] = content_type
        boundary = header.get_param("boundary")
        if header.get_content_type() != "multipart/related":
            raise NotMultipart("not multipart/related")
        if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
            raise NotMultipart("no boundary")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._pending = b"\r\n"  # so that the first boundary needs no case of its own (RFC 2046 5.1.1: a preamble may be empty)
        self._state = self._preamble
        self.ended = False

    def feed(self, data: bytes) -> Iterator[PartBegins | bytes]:
        """More of the body. Raises NotMultipart."""
        self._pending += data
        while (found := self._state()) is not None:
            if found != b"":
                yield found

    def finish(self) -> None:
        """The body is over. Raises NotMultipart when the closing boundary has not been seen."""
        if not self.ended:
            raise NotMultipart("it ends before its closing boundary")

    # Each state takes what it can from the pending bytes: None when it needs more, b"" when it only went on to the next state.

    def _preamble(self) -> PartBegins | bytes | None:
        return self._up_to_boundary(keep=False)

    def _content(self) -> PartBegins | bytes | None:
        return self._up_to_boundary(keep=True)

    def _up_to_boundary(self, *, keep: bool) -> bytes | None:
        at = self._pending.find(self._delimiter)
        if at >= 0:
            content, self._pending = self._pending[:at], self._pending[at + len(self._delimiter) :]
            self._state = self._after_boundary
            return content if keep else b""
        safe = len(self._pending) - len(self._delimiter) + 1
        if safe <= 0:
            return None
        content, self._pending = self._pending[:safe], self._pending[safe:]
        return (content if keep else b"") if content else None

    def _after_boundary(self) -> PartBegins | bytes | None:
        if len(self._pending) < 2:
            return None
        if self._pending.startswith(b"--"):
            self.ended = True
            self._state = self._epilogue
            return b""
        line, found, rest = self._pending.partition(b"\r\n")
        if line.strip(b" \t" if found else b" \t\r") or (not found and len(self._pending) > _MAXIMUM_HEADERS):
            raise NotMultipart("a boundary is followed by something else than a line's end")
        if not found:
            return None
        self._pending = b"\r\n" + rest
        self._state = self._headers
        return b""

    def _headers(self) -> PartBegins | bytes | None:
        head, found, rest = self._pending.partition(b"\r\n\r\n")
        if len(head) > _MAXIMUM_HEADERS:
            raise NotMultipart("the headers of a part do not end")
        if not found:
            return None
        self._pending = rest
        self._state = self._content
        headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n") if b":" in line)
        return PartBegins(headers.get(b"content-type", b"").strip().decode("latin-1"))

    def _epilogue(self) -> PartBegins | bytes | None:
        self._pending = b""
        return None

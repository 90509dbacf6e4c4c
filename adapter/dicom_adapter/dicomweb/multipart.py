"""A multipart/related request body with one part (RFC 2387, PS3.18 8.6.1.2.2) around an instance that may still be arriving."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


def _new_boundary() -> str:
    return secrets.token_hex(24)  # 192 random bits: no instance holds them, so none has to be searched for them


@dataclass(frozen=True, slots=True)
class Envelope:
    """The bytes before and after the one part, and the header that announces them."""

    boundary: str = field(default_factory=_new_boundary)

    @property
    def content_type(self) -> str:
        """The Content-Type of the request."""
        return f'multipart/related; type="application/dicom"; boundary={self.boundary}'

    @property
    def head(self) -> bytes:
        """What precedes the instance."""
        return f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")

    @property
    def tail(self) -> bytes:
        """What follows the instance. Without it a store has nothing: it is sent only when the instance was sent whole."""
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")

"""A reader of multipart/related bodies (RFC 2046 5.1, RFC 2387) as strict as the strictest store: nothing is guessed."""

from __future__ import annotations

import email.message
import re

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046 5.1.1: 70 characters, no space at the end
_HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([ -~]*)")


class NotMultipart(ValueError):
    """What is wrong with a body, for the error answer."""


class WrongType(NotMultipart):
    """The request's Content-Type is none that a store takes."""


def boundary(content_type: str) -> str:
    """The boundary that a Content-Type announces."""
    header = email.message.Message()
    header["Content-Type"] = content_type
    if header.get_content_type() != "multipart/related":
        raise WrongType(f"Content-Type is {header.get_content_type()}, not multipart/related")
    if header.get_param("type") != "application/dicom":
        raise WrongType(f"the type parameter is {header.get_param('type')}, not application/dicom")
    found = header.get_param("boundary")
    if not isinstance(found, str) or not _BOUNDARY.fullmatch(found):
        raise WrongType("the boundary parameter is missing or malformed")
    return found


def parts(content_type: str, body: bytes) -> list[bytes]:
    """The contents of the parts, each of type application/dicom. Raises NotMultipart."""
    delimiter = b"--" + boundary(content_type).encode()
    if not body.startswith(delimiter):
        raise NotMultipart("the body does not begin with the boundary")
    found: list[bytes] = []
    rest = body[len(delimiter) :]
    while not rest.startswith(b"--"):
        if not rest.startswith(b"\r\n"):
            raise NotMultipart("a boundary is not followed by CRLF")
        head, blank, rest = rest.partition(b"\r\n\r\n")
        if not blank:
            raise NotMultipart("the headers of a part do not end")
        _check_headers(head)
        content, end, rest = rest.partition(b"\r\n" + delimiter)
        if not end:
            raise NotMultipart("the closing boundary is missing")
        found.append(content)
    if rest not in (b"--", b"--\r\n"):
        raise NotMultipart("there are bytes after the closing boundary")
    if not found:
        raise NotMultipart("the body has no parts")
    return found


def _check_headers(head: bytes) -> None:
    headers: dict[str, str] = {}
    for line in head.split(b"\r\n")[1:]:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise NotMultipart("a part has a malformed header")
        name = match[1].decode().lower()
        if name in headers:
            raise NotMultipart(f"a part has {name} twice")
        headers[name] = match[2].decode().strip()
    if headers.get("content-type", "").partition(";")[0].strip() != "application/dicom":
        raise NotMultipart("a part is not of type application/dicom")

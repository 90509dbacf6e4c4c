"""Targets: what a store answers (PS3.18 10.5.3, PS3.19 A.1), which is read by us and quoted to the sender and in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from dicom_adapter.delivery.verdict import judge
from dicom_adapter.dicomweb import xmlmodel
from dicom_adapter.dicomweb.answers import MAXIMUM_TEXT, problem, store_response
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.multipart import NotMultipart, PartBegins, PartsReader
from dicom_adapter.dimse.status import Status, error_comment
from tests.fuzz.streams import pieces, stream
from tests.support.store import failed_json, google_error, stored_json

UID = "1.2.3"
CODES = (200, 202, 204, 299, 302, 400, 401, 403, 404, 409, 413, 429, 500, 503, 599, 100, 0, 999)
TYPES = ("application/dicom+json", "application/json", "text/plain; charset=utf-8", "text/html", "application/dicom+xml", "", "\xff;=")


def answer(data: bytes) -> None:
    """Any answer is judged; what is said of it is one printable line of bounded length."""
    if len(data) < 3:
        return
    told = Answer(CODES[data[0] % len(CODES)], TYPES[data[1] % len(TYPES)], data[3:], bool(data[2] & 1), bool(data[2] & 2))
    verdict = judge(told, UID)
    status = Status(verdict.status, verdict.comment)
    assert error_comment(status.comment).decode("ascii") == verdict.comment
    assert len(verdict.comment) <= 64
    assert len(verdict.text) <= MAXIMUM_TEXT + 200
    assert verdict.text.isprintable()
    assert problem(told).message.isprintable()
    response = store_response(told)
    if response is not None:
        for reason in (*response.stored.values(), *response.failed.values()):
            assert reason is None or 0 <= reason <= 0xFFFF


XML = """<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
<DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"><Item number="1">
<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3</Value></DicomAttribute>
<DicomAttribute tag="00081197" vr="US"><Value number="1">272</Value></DicomAttribute></Item></DicomAttribute></NativeDicomModel>"""
ENTITIES = '<!DOCTYPE a [<!ENTITY b "cccccccccc"><!ENTITY d "&b;&b;&b;&b;&b;&b;&b;&b;">]><NativeDicomModel>&d;&d;</NativeDicomModel>'


def answer_seeds() -> Iterator[bytes]:
    """What stores say, and what only looks like it."""
    texts = [
        stored_json(UID),
        stored_json(UID, warning=0xB000),
        failed_json(UID, 0x0110),
        failed_json("9.9", None),
        google_error(409, "ALREADY_EXISTS", "instance exists"),
        json.dumps([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "a\nb"}}]),
        json.dumps({"Message": "of Orthanc", "HttpStatus": 400}),
        json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081155": {"Value": [None]}, "00081197": {"Value": ["272 ", 1e300]}}]}}),
        "[" * 3000,
        "<html><body>Sign in</body></html>",
        "plain text\u2028of a proxy",
        XML,
        ENTITIES,
        "",
    ]
    for number, text in enumerate(texts):
        yield bytes((number, number, 0)) + text.encode()


def native_model(data: bytes) -> None:
    """A data set in the shape of the JSON model, or nothing."""
    found = xmlmodel.parse(data)
    assert found is None or isinstance(json.dumps(found), str)


def native_model_seeds() -> Iterator[bytes]:
    """A model, entities, depth."""
    yield XML.encode()
    yield ENTITIES.encode()
    yield XML.encode("utf-16")
    yield b'<NativeDicomModel><DicomAttribute tag="1" vr="SQ">' + b"<Item>" * 70


def comment(data: bytes) -> None:
    """Any text becomes a legal value of VR LO."""
    legal = error_comment(data.decode("utf-8", "surrogateescape"))
    assert len(legal) <= 64
    assert all(0x20 <= byte <= 0x7E and byte != 0x5C for byte in legal)


def comment_seeds() -> Iterator[bytes]:
    """Texts."""
    yield b"Http_404, NOT_FOUND, dicomStore does not exist"
    yield b"two\r\nlines\\" * 9


BOUNDARY = "abc"


def parts(data: bytes) -> None:
    """Parts, or NotMultipart; the same however the body is cut, and no byte that was not in it."""
    whole, cut = _parts([stream(data)]), _parts(pieces(data))
    assert whole == cut
    assert sum(len(content) for _, content in whole[0]) <= len(data)


def _parts(received: Iterable[bytes]) -> tuple[list[tuple[str, bytes]], bool]:
    reader = PartsReader(f'multipart/related; type="application/dicom"; boundary={BOUNDARY}')
    found: list[tuple[str, bytes]] = []
    try:
        for piece in received:
            for event in reader.feed(piece):
                if isinstance(event, PartBegins):
                    found.append((event.content_type, b""))
                else:
                    found[-1] = found[-1][0], found[-1][1] + event
        reader.finish()
    except NotMultipart:
        return [], False  # how much came before it was noticed depends on the cut
    return found, True


def parts_seeds() -> Iterator[bytes]:
    """Bodies of one part and more, with a preamble, with lines that only look like boundaries, cut off."""
    part = b"--abc\r\nContent-Type: application/dicom\r\nContent-Location: x\r\n\r\n" + bytes(20) + b"DICM\r\n--ab\r\n-"
    for body in (
        part + b"\r\n--abc--\r\n",
        b"preamble\r\n" + part + b"\r\n" + part + b"\r\n--abc-- \r\nepilogue",
        b"--abc  \t\r\n\r\n\r\n--abc--",
        part,
        b"--abcd\r\n\r\n",
        b"--abc\r\n" + b"a: b\r\n" * 200,
    ):
        yield b"\0" + body
        yield b"\1\0" + body

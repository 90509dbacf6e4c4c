"""Targets: what a store answers (PS3.18 10.5.3, PS3.19 A.1), which is read by us and quoted to the sender and in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dicom_adapter.delivery.verdict import judge
from dicom_adapter.dicomweb import xmlmodel
from dicom_adapter.dicomweb.answers import MAXIMUM_TEXT, problem, store_response
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dimse.status import Status, error_comment
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

"""Reading what stores say, in JSON and XML, from servers that are not trusted."""

from __future__ import annotations

import json

import pytest

from dicom_adapter.dicomweb import xmlmodel
from dicom_adapter.dicomweb.answers import Problem, StoreResponse, problem, store_response
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.multipart import Envelope
from tests.support.store import StrictPart, failed_json, google_error, stored_json

UID = "1.2.3"
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


def answer(body: bytes | str, status: int = 200, content_type: str = "application/dicom+json", *, truncated: bool = False) -> Answer:
    return Answer(status, content_type, body.encode() if isinstance(body, str) else body, truncated)


def xml(inner: str, root: str = f'NativeDicomModel xmlns="{NAMESPACE}"') -> str:
    return f'<?xml version="1.0"?><{root}>{inner}</{root.split()[0]}>'


def attribute(tag: str, vr: str, inner: str) -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}">{inner}</DicomAttribute>'


UID_XML = attribute("00081155", "UI", f'<Value number="1">{UID}</Value>')
REASON_XML = attribute("00081197", "US", "<Value>272</Value>")
FAILED_XML = attribute("00081198", "SQ", f'<Item number="1">{UID_XML}{REASON_XML}</Item>')
DETAIL_XML = attribute("00091097", "LO", '<Value number="1">exists</Value>')
STORED_XML = attribute("00081199", "SQ", f"<Item>{UID_XML}</Item>")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (stored_json(UID), StoreResponse({UID: None}, {})),
        (stored_json(UID, warning=0xB007), StoreResponse({UID: 0xB007}, {})),
        (failed_json(UID, 0x0110), StoreResponse({}, {UID: 0x0110})),
        (failed_json(UID, None), StoreResponse({}, {UID: None})),
        (failed_json(UID, 272, "no"), StoreResponse({}, {UID: 272}, {UID: "no"})),
        (failed_json(UID, 272, "n\n\x1bo"), StoreResponse({}, {UID: 272}, {UID: "n o"})),
        (f"[{stored_json(UID)}]", StoreResponse({UID: None}, {})),
        ("\ufeff" + stored_json(UID), StoreResponse({UID: None}, {})),
        ("{}", StoreResponse({}, {})),
        ('{"00081190": {"vr": "UR", "Value": ["http://x"]}}', StoreResponse({}, {})),
        ('{"00081198": {"vr": "SQ"}}', StoreResponse({}, {})),
        ('{"00081198": {"vr": "SQ", "Value": [null, 3, {}]}}', StoreResponse({}, {"": None})),
        ('{"00081198": {"Value": [{"00081155": {"Value": ["1.2.3 "]}, "00081197": {"Value": ["272"]}}]}}', StoreResponse({}, {UID: 272})),
        ('{"00081198": {"Value": [{"00081197": {"Value": [1e999]}}]}}', StoreResponse({}, {"": None})),
        ('{"00081198": {"Value": [{"00081197": {"Value": ["x"]}}]}}', StoreResponse({}, {"": None})),
        ('{"00081198": {"Value": [{"00081197": {"Value": [70000]}}]}}', StoreResponse({}, {"": None})),
        ('{"0008119A": {"Value": [{"00081197": {"Value": [272]}}]}}', StoreResponse({}, {"": 272})),
        (xml(FAILED_XML), StoreResponse({}, {UID: 272})),
        (xml(FAILED_XML.replace("</Item>", DETAIL_XML + "</Item>")), StoreResponse({}, {UID: 272}, {UID: "exists"})),
        (xml(STORED_XML), StoreResponse({UID: None}, {})),
        (xml(FAILED_XML, "NativeDicomModel"), StoreResponse({}, {UID: 272})),
        ("", None),
        (" \r\n", None),
        ("null", None),
        ("[]", None),
        ("[{},{}]", None),
        ('"text"', None),
        ("{", None),
        ("[" * 100_000, None),
        (b"\xff\xfe\x00garbage", None),
        ('{"error": {"code": 3}}', None),
        ("<html><body>fine</body></html>", None),
        (xml("", "Other"), None),
        (xml(STORED_XML)[:-3], None),
        (f'<!DOCTYPE x [<!ENTITY a "{UID}">]>' + xml(STORED_XML.replace(UID, "&a;"))[21:], None),
        (xml("<a>" * 70 + "</a>" * 70), None),
        (xml("<a/>" * 100_001), None),
    ],
)
def test_a_store_instances_response(body: bytes | str, expected: StoreResponse | None) -> None:
    assert store_response(answer(body)) == expected


def test_what_was_cut_off_is_not_read() -> None:
    assert store_response(answer(stored_json(UID), truncated=True)) is None


def test_entities_of_a_document_type_are_never_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><NativeDicomModel>&b;</NativeDicomModel>'
    assert xmlmodel.parse(bomb.encode()) is None


@pytest.mark.parametrize(
    ("status", "body", "content_type", "expected"),
    [
        (403, google_error(403, "PERMISSION_DENIED", "no"), "application/json", Problem("PERMISSION_DENIED", "no")),
        (403, f"[{google_error(403, 'PERMISSION_DENIED', 'no')}]", "application/json", Problem("PERMISSION_DENIED", "no")),
        (500, '{"error": {"status": "<script>", "message": 7}}', "", Problem("Internal Server Error", "")),
        (500, '{"error": "text"}', "", Problem("Internal Server Error", "")),
        (404, json.dumps({"HttpStatus": 404, "Message": "Unknown\r\n  resource"}), "", Problem("Not Found", "Unknown resource")),
        (409, failed_json(UID, 1), "", Problem("Conflict", "")),
        (503, "<html>down</html>", "text/html", Problem("Service Unavailable", "")),
        (503, "down\x1b[2J now", "text/plain; charset=utf-8", Problem("Service Unavailable", "down [2J now")),
        (503, "x" * 5000, "text/plain", Problem("Service Unavailable", "x" * 1000)),
        (503, "down", "application/octet-stream", Problem("Service Unavailable", "")),
        (503, "[" * 100_000, "text/html", Problem("Service Unavailable", "")),
        (499, "", "", Problem("unknown status", "")),
    ],
)
def test_an_error_answer(status: int, body: str, content_type: str, expected: Problem) -> None:
    assert problem(answer(body, status, content_type)) == expected


def test_the_multipart_body_is_what_a_strict_parser_takes() -> None:
    envelope = Envelope()
    part = StrictPart(envelope.content_type, keep=True)
    whole = envelope.head + b"\r\n--data--\r\n" + envelope.tail
    for start in range(0, len(whole), 7):
        part.feed(whole[start : start + 7])
    assert part.finish()[0] == b"\r\n--data--\r\n"
    assert Envelope().boundary != envelope.boundary

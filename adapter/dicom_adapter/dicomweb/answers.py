"""What a store says: the Store Instances Response (PS3.18 I.2), Google's error JSON and other servers' texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from dicom_adapter.dicomweb import xmlmodel
from dicom_adapter.dicomweb.client import Answer

_FAILED, _REFERENCED = "00081198", "00081199"
_INSTANCE_UID, _WARNING_REASON, _FAILURE_REASON = "00081155", "00081196", "00081197"
_RETRIEVE_URL, _OTHER_FAILURES = "00081190", "0008119A"
_KNOWN = {_FAILED, _REFERENCED, _RETRIEVE_URL, _OTHER_FAILURES}
_PRIVATE = re.compile(r"[0-9A-F]{3}[13579BDF](?!00[1-9A-F][0-9A-F])[0-9A-F]{4}")  # odd group, and no private creator (PS3.5 7.8.1)
_TEXTS = ("LO", "LT", "SH", "ST", "UC", "UT")
MAXIMUM_TEXT = 1000


@dataclass(frozen=True, slots=True)
class StoreResponse:
    """A Store Instances Response: by instance UID the Warning Reason of what is stored and the Failure Reason of what is not, when told.

    `details`: what the store says in words about a failure, in a private element of the item, as the Healthcare API does (FailureDetail).
    """

    stored: dict[str, int | None]
    failed: dict[str, int | None]
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error answer for people: a word or phrase for the status, and the store's own text when there is one to quote."""

    status: str
    message: str = ""


def store_response(answer: Answer) -> StoreResponse | None:
    """The response in the body, or None when there is none to be read."""
    if answer.truncated or not answer.body.strip():
        return None
    text = answer.body.lstrip(b"\xef\xbb\xbf \t\r\n")
    data_set = xmlmodel.parse(text) if text.startswith(b"<") else _json(text)
    if isinstance(data_set, list):  # PS3.18 F.2: some servers send the data set as an array of one
        data_set = data_set[0] if len(data_set) == 1 else None
    if not isinstance(data_set, dict) or (data_set and not _KNOWN & set(data_set)):
        return None
    stored = _items(data_set, _REFERENCED, _WARNING_REASON)
    failed = _items(data_set, _FAILED, _FAILURE_REASON) | _items(data_set, _OTHER_FAILURES, _FAILURE_REASON)
    return StoreResponse(stored, failed, _details(data_set))


def is_web_page(answer: Answer) -> bool:
    """Whether a web server answers for people: a sign-in page, a proxy, a wrong base URL."""
    start = answer.body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    html = answer.content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    return bool(start) and (html or start.startswith((b"<!doctype html", b"<html")))


def _items(data_set: dict[str, Any], sequence: str, reason: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for item in _values(data_set, sequence):
        if isinstance(item, dict):
            uid = next(iter(_values(item, _INSTANCE_UID)), "")
            found[str(uid).strip(" \0")] = _number(next(iter(_values(item, reason)), None))
    return found


def _details(data_set: dict[str, Any]) -> dict[str, str]:
    """Texts of private elements in failed items. Their group and creator are the store's own affair and no promise of it."""
    found: dict[str, str] = {}
    for sequence in (_FAILED, _OTHER_FAILURES):
        for item in _values(data_set, sequence):
            if not isinstance(item, dict):
                continue
            uid = str(next(iter(_values(item, _INSTANCE_UID)), "")).strip(" \0")
            for tag in sorted(item):
                text = next(iter(_values(item, tag)), None)
                if _PRIVATE.fullmatch(tag) and isinstance(text, str) and item[tag].get("vr") in _TEXTS and uid not in found:
                    found[uid] = one_line(text)
    return found


def _values(data_set: dict[str, Any], tag: str) -> list[Any]:
    element = data_set.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _number(value: object) -> int | None:
    """A US value: a JSON number, or a text as the XML model and some servers have it."""
    try:
        number = int(value) if isinstance(value, int | float) else int(value.strip()) if isinstance(value, str) else -1
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= 0xFFFF else None


def problem(answer: Answer) -> Problem:
    """Status and text of an error answer. HTML is never quoted."""
    phrase = _phrase(answer.status)
    text = answer.body.strip()
    if not text or text.startswith(b"<"):
        return Problem(phrase)
    value = _json(text)
    if isinstance(value, list) and value:
        value = value[0]  # Google's streaming methods wrap the error in an array
    if isinstance(value, dict):
        return _json_problem(value, phrase)
    if value is None and answer.content_type.partition(";")[0].strip().lower() == "text/plain":
        return Problem(phrase, one_line(text.decode("utf-8", "replace")))
    return Problem(phrase)


def _json_problem(value: dict[str, Any], phrase: str) -> Problem:
    error = value.get("error")
    if isinstance(error, dict):  # https://cloud.google.com/apis/design/errors#http_mapping
        status = error.get("status")
        known = isinstance(status, str) and re.fullmatch(r"[A-Z_]{1,40}", status)
        return Problem(str(status) if known else phrase, one_line(error.get("message")))
    for key in ("Message", "message", "errorMessage", "detail"):  # Orthanc, Azure, dcm4chee, RFC 9457
        if isinstance(value.get(key), str):
            return Problem(phrase, one_line(value[key]))
    return Problem(phrase)


def one_line(text: object) -> str:
    """A server's text on one printable line of bounded length."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(character if character.isprintable() else " " for character in text[: 2 * MAXIMUM_TEXT]).split())
    return line[:MAXIMUM_TEXT]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

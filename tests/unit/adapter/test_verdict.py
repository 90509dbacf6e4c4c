"""The verdict table, row by row."""

from __future__ import annotations

import pytest

from dicom_adapter.delivery.verdict import (
    COMMENT_LENGTH,
    TABLE,
    Heard,
    Outcome,
    Verdict,
    comment,
    duplicate,
    judge,
    not_asked,
    other_instance,
    row_of,
    too_late,
    unreachable,
)
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import UNKNOWN_CA, Endpoint, Obstacle, StoreUnreachable
from tests.support.store import failed_json, google_error, stored_json

UID = "1.2.3"
STORED, REFUSED, UNAVAILABLE, TRANSIENT = Outcome.STORED, Outcome.INSTANCE_REFUSED, Outcome.DESTINATION_UNAVAILABLE, Outcome.TRANSIENT


def verdict(status: int, body: str = "", content_type: str = "application/dicom+json", *, early: bool = False) -> Verdict:
    return judge(Answer(status, content_type, body.encode(), early=early), UID)


@pytest.mark.parametrize(
    ("http", "outcome", "status"),
    [
        *((code, UNAVAILABLE, 0x0124) for code in (401, 403)),
        *((code, REFUSED, 0xC000) for code in (400, 409, 413, 415, 422)),
        *((code, TRANSIENT, 0xA700) for code in (408, 425, 429, 500, 501, 502, 503, 504, 507, 599)),
        *((code, UNAVAILABLE, 0xA700) for code in (301, 302, 307, 308, 402, 404, 405, 406, 410, 411, 418, 421, 451)),
    ],
)
def test_without_a_body_the_http_status_decides(http: int, outcome: Outcome, status: int) -> None:
    found = verdict(http)
    assert (found.outcome, found.status, found.http_status) == (outcome, status, http)
    assert found.comment.startswith(f"Http_{http}, ")


def test_every_http_status_has_a_row() -> None:
    assert {code for row in TABLE for code in row.codes} == set(range(100, 600))
    assert verdict(700).status == 0xA700


def test_whatever_comes_of_an_attempt_one_row_applies() -> None:
    assert row_of(Heard(Answer(700, "", b""))) is TABLE[-1]
    assert row_of(Heard()) is TABLE[2]


@pytest.mark.parametrize(
    ("http", "body", "outcome", "status"),
    [
        (200, stored_json(UID), STORED, 0x0000),
        (202, stored_json(UID), STORED, 0x0000),
        (409, stored_json(UID), STORED, 0x0000),
        (200, stored_json(UID, warning=0xB000), STORED, 0xB000),
        (202, stored_json(UID, warning=0xB006), STORED, 0xB006),
        (200, stored_json(UID, warning=0xB007), STORED, 0xB007),
        (200, stored_json(UID, warning=1), STORED, 0xB000),
        (200, failed_json(UID, 0xA700), TRANSIENT, 0xA700),
        (200, failed_json(UID, 0xA7FF), TRANSIENT, 0xA7FF),
        (202, failed_json(UID, 0xA900), REFUSED, 0xA900),
        (409, failed_json(UID, 0xC123), REFUSED, 0xC123),
        (409, failed_json(UID, 0x0122), REFUSED, 0x0122),
        (409, failed_json(UID, 0x0124), UNAVAILABLE, 0x0124),
        (409, failed_json(UID, 0x0110), REFUSED, 0xC000),
        (409, failed_json(UID, 0xB000), REFUSED, 0xC000),
        (409, failed_json(UID, None), REFUSED, 0xC000),
        (409, failed_json("9.9", 0x0110), REFUSED, 0xC000),
        (409, failed_json(UID, 45070), REFUSED, 0xC409),
        (202, failed_json(UID, 45070), REFUSED, 0xC409),
        (409, google_error(409, "ALREADY_EXISTS", "exists"), REFUSED, 0xC409),
        (409, failed_json(UID, 0x0110, "instance already exists with other content"), REFUSED, 0xC409),
        (409, failed_json(UID, 0x0110, "the part is no DICOM file"), REFUSED, 0xC000),
        (202, stored_json("9.9"), TRANSIENT, 0xA700),
        (503, stored_json(UID), TRANSIENT, 0xA700),
    ],
)
def test_membership_beats_the_http_status(http: int, body: str, outcome: Outcome, status: int) -> None:
    found = verdict(http, body)
    assert (found.outcome, found.status) == (outcome, status)


@pytest.mark.parametrize(
    ("http", "body", "remark"),
    [
        (200, "", ""),
        (204, "", ""),
        (201, "\n", ""),
        (200, "garbage", "200 with a body that cannot be read: taken as stored"),
        (200, '{"00081190": {"vr": "UR"}}', "200 with a body that does not name the instance: taken as stored"),
        (200, stored_json("9.9"), "200 with a body that does not name the instance: taken as stored"),
    ],
)
def test_a_success_that_says_nothing_is_taken_as_stored(http: int, body: str, remark: str) -> None:
    found = verdict(http, body)
    assert (found.outcome, found.status, found.comment, found.remark) == (STORED, 0, "", remark)


@pytest.mark.parametrize("body", ["<!DOCTYPE html><title>Sign in</title>", "  <html><body/></html>"])
@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", ""])
@pytest.mark.parametrize("http", [200, 201])
def test_a_web_page_has_stored_nothing(http: int, content_type: str, body: str) -> None:
    found = verdict(http, body, content_type)
    assert (found.outcome, found.status, found.unknown) == (UNAVAILABLE, 0xA700, False)
    assert found.comment == f"Http_{http}, a web page, no DICOMweb answer; correct dicomStore"


def test_the_stores_own_words_about_a_failure_are_the_comment_and_cut_at_a_word() -> None:
    found = verdict(409, failed_json(UID, 0x0110, "StudyInstanceUID differs from that of the series in which the store has this instance"))
    assert found.comment == "StudyInstanceUID differs from that of the series in which the"
    assert found.text == ("409, Failure Reason 0110: StudyInstanceUID differs from that of the series in which the store has this instance")


def test_of_several_instances_only_what_names_one_counts_for_it() -> None:
    body = failed_json("9.9", 0x0110)
    assert judge(Answer(202, "application/dicom+json", body.encode()), UID, alone=False).comment.startswith("Http_202, Accepted")
    assert judge(Answer(202, "application/dicom+json", body.encode()), UID).status == 0xC000


def test_an_early_success_is_none_and_an_early_refusal_counts() -> None:
    assert verdict(200, stored_json(UID), early=True).outcome is TRANSIENT
    assert verdict(413, early=True).status == 0xC000


@pytest.mark.parametrize(
    ("obstacle", "detail", "expected"),
    [
        (Obstacle.DNS, "", "Unreachable, DNS: pacs.example not found"),
        (Obstacle.REFUSED, "", "Unreachable, 10.4.0.9:443 refused the connection"),
        (Obstacle.SILENT, "", "Unreachable, 10.4.0.9:443 gives no answer"),
        (Obstacle.TLS, UNKNOWN_CA, "Unreachable, TLS: certificate of an unknown CA"),
        (Obstacle.LOST, "", "Unreachable, 10.4.0.9:443 closed the connection"),
        (Obstacle.NETWORK, "no route to host", "Unreachable, 10.4.0.9:443: no route to host"),
        (Obstacle.PROXY, "the proxy proxy:3128 answers 407", "Unreachable, the proxy proxy:3128 answers 407"),
    ],
)
def test_no_answer(obstacle: Obstacle, detail: str, expected: str) -> None:
    found = unreachable(StoreUnreachable(obstacle, Endpoint("pacs.example", 443, "10.4.0.9"), detail), sent=True)
    assert found == Verdict(TRANSIENT, 0xA700, expected, expected, unknown=obstacle is Obstacle.LOST, obstacle=obstacle)


def test_an_address_of_ipv6_is_in_brackets() -> None:
    assert str(Endpoint("pacs.example", 443, "2001:db8::1")) == "[2001:db8::1]:443"


def test_too_late_and_no_credentials() -> None:
    assert too_late(20.0, sent=True) == Verdict(
        TRANSIENT, 0xA700, "Store took longer than 20 s", "Store took longer than 20 s", unknown=True
    )
    assert not_asked("Google gave no token") == Verdict(UNAVAILABLE, 0xA700, "Google gave no token", "Google gave no token")


def test_a_proven_duplicate_and_another_instance_than_the_command_says() -> None:
    found = duplicate("instance exists with other content", 409)
    assert (found.status, found.comment) == (0xC409, "Http_409, ALREADY_EXISTS, instance exists with other content")
    assert found.text == "409 ALREADY_EXISTS; spec.delivery.onConflict is Fail"
    assert other_instance().comment == "SOP Instance UID of data set and command differ"


def test_a_comment_is_one_legal_line_of_64_characters() -> None:
    assert comment("a\\b\r\n\tc\x00ü") == "a?b c??"
    assert comment("word " * 40) == ("word " * 13).strip()
    assert comment("x" * 100) == "x" * COMMENT_LENGTH
    assert comment("x" * 64) == "x" * 64
    assert comment("Http_403, PERMISSION_DENIED, " + "word " * 20) == "Http_403, PERMISSION_DENIED, word word word word word word word"

"""The store's verdict on one instance, and the C-STORE status it becomes: one table, read from the top, that the documentation renders.

Membership comes first (PS3.18 10.5.3): an instance named in the Referenced SOP Sequence is stored, one in the Failed SOP Sequence is
refused, whatever the HTTP status says. Then the HTTP status decides, by `HTTP_TABLE`. DIMSE statuses: PS3.4 table B.2-1 and PS3.7 C.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter import messages
from dicom_adapter.dicomweb.answers import Problem, StoreResponse, is_web_page, problem, store_response
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import Obstacle, StoreUnreachable

COMMENT_LENGTH = 64  # Error Comment (0000,0902) is an LO

SUCCESS = 0x0000
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
DUPLICATE = 0xC409
WARNINGS = (0xB000, 0xB006, 0xB007)  # coercion, elements discarded, data set does not match SOP class
_AZURE_DUPLICATE = 45070  # https://learn.microsoft.com/azure/healthcare-apis/dicom/dicom-services-conformance-statement-v2


class Outcome(StrEnum):
    """What a verdict means for the instance."""

    STORED = "Stored"
    INSTANCE_REFUSED = "InstanceRefused"  # the store has judged this instance
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"  # it judged us, or nobody
    TRANSIENT = "Transient"  # one attempt is lost


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome, DIMSE status and Error Comment; for the log the whole text, and whether the store may have the instance all the same."""

    outcome: Outcome
    status: int
    comment: str = ""
    text: str = ""
    http_status: int | None = None
    unknown: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class HttpRow:
    """One row of the table: these HTTP statuses give this outcome and this C-STORE status."""

    statuses: frozenset[int]
    outcome: Outcome
    status: int
    meaning: str


HTTP_TABLE = (
    HttpRow(frozenset({401, 403}), Outcome.DESTINATION_UNAVAILABLE, NOT_AUTHORIZED, "the store does not let the adapter in"),
    HttpRow(frozenset({400, 409, 413, 415, 422}), Outcome.INSTANCE_REFUSED, CANNOT_UNDERSTAND, "the store refuses the instance"),
    HttpRow(frozenset({408, 425, 429, *range(500, 600)}), Outcome.TRANSIENT, OUT_OF_RESOURCES, "the store cannot take it now"),
    # 404, 405, 410, 421, redirects and what no store should answer
    HttpRow(frozenset(range(100, 600)), Outcome.DESTINATION_UNAVAILABLE, OUT_OF_RESOURCES, "the destination is wrong, not the image"),
)
_SUCCESSES = (200, 201, 203, 204)
_READ = (200, 201, 202, 203, 409)  # the answers whose body is a Store Instances Response (PS3.18 table 10.5.3-1)


def judge(answer: Answer, sop_instance_uid: str) -> Verdict:
    """The verdict on the one instance of a request that was answered."""
    if answer.early and answer.status < 300:
        text = "Store answered before it had the whole instance"
        return Verdict(Outcome.TRANSIENT, OUT_OF_RESOURCES, text, text, answer.status)
    response = store_response(answer) if answer.status in _READ and not answer.early else None
    if response is not None and sop_instance_uid in response.stored:
        return _stored(response.stored[sop_instance_uid], answer.status)
    if response is not None and response.failed:
        return _failed(response, sop_instance_uid, answer)
    if answer.status in _SUCCESSES and is_web_page(answer):
        text = f"Http_{answer.status}, a web page, no DICOMweb answer; correct dicomStore"
        return Verdict(Outcome.DESTINATION_UNAVAILABLE, OUT_OF_RESOURCES, comment(text), text, answer.status)
    if answer.status in _SUCCESSES:
        return _taken_as_stored(answer, response)
    if answer.status == 202:
        text = "Http_202, Accepted, the answer does not name the instance"
        return Verdict(Outcome.TRANSIENT, OUT_OF_RESOURCES, text, text, 202, unknown=True)
    return _by_http_status(answer)


def _stored(warning: int | None, http_status: int) -> Verdict:
    if warning is None:
        return Verdict(Outcome.STORED, SUCCESS, http_status=http_status)
    status = warning if warning in WARNINGS else WARNINGS[0]
    return Verdict(Outcome.STORED, status, messages.coerced(status), messages.coerced(status), http_status)


def _failed(response: StoreResponse, sop_instance_uid: str, answer: Answer) -> Verdict:
    # One instance was sent: a failure that carries another UID, or none, is still its own.
    reason = response.failed.get(sop_instance_uid, next(iter(response.failed.values())))
    if reason == _AZURE_DUPLICATE and answer.status == 409:
        return _duplicate(Problem("ALREADY_EXISTS", "the store has another instance with this UID"), answer)
    status, outcome = CANNOT_UNDERSTAND, Outcome.INSTANCE_REFUSED
    if reason is not None and (reason == NOT_AUTHORIZED or reason == 0x0122 or reason >> 8 in (0xA7, 0xA9) or reason >> 12 == 0xC):
        status = reason
        outcome = {NOT_AUTHORIZED: Outcome.DESTINATION_UNAVAILABLE}.get(reason, Outcome.TRANSIENT if reason >> 8 == 0xA7 else outcome)
    told = "no Failure Reason" if reason is None else f"Failure Reason {reason:04X}"
    text = f"The store refused the instance: {told}"
    return Verdict(outcome, status, text, f"{answer.status}, {told}" if outcome is Outcome.INSTANCE_REFUSED else text, answer.status)


def _taken_as_stored(answer: Answer, response: StoreResponse | None) -> Verdict:
    remark = ""
    if response is not None:
        remark = messages.unnamed_answer(answer.status)
    elif answer.body.strip():
        remark = messages.unreadable_answer(answer.status)
    return Verdict(Outcome.STORED, SUCCESS, http_status=answer.status, remark=remark)


def _by_http_status(answer: Answer) -> Verdict:
    told = problem(answer)
    if answer.status == 409 and told.status == "ALREADY_EXISTS":
        return _duplicate(told, answer)
    if 300 <= answer.status < 400:
        told = Problem(told.status, "the store redirects; correct dicomStore")
    row = next((row for row in HTTP_TABLE if answer.status in row.statuses), HTTP_TABLE[-1])
    text = http_text(answer.status, told)
    for_log = _judged(answer.status, told) if row.outcome is Outcome.INSTANCE_REFUSED else text
    return Verdict(row.outcome, row.status, comment(text), for_log, answer.status, unknown=answer.status in (408, 504))


def _duplicate(told: Problem, answer: Answer) -> Verdict:
    return Verdict(
        Outcome.INSTANCE_REFUSED, DUPLICATE, comment(http_text(answer.status, told)), _judged(answer.status, told), answer.status
    )


def _judged(http_status: int, told: Problem) -> str:
    """`400 INVALID_ARGUMENT: <the store's text>`, for the log."""
    return f"{http_status} {told.status}" + (f": {told.message}" if told.message else "")


def unreachable(error: StoreUnreachable, *, sent: bool) -> Verdict:
    """The verdict when there was no answer. `sent`: the store had the whole request, so it may have stored the instance."""
    text = error.comment
    return Verdict(Outcome.TRANSIENT, OUT_OF_RESOURCES, comment(text), text, unknown=sent and error.obstacle is Obstacle.LOST)


def too_late(seconds: float, *, sent: bool) -> Verdict:
    """The verdict when spec.delivery.timeoutSeconds are over."""
    text = messages.took_longer(seconds)
    return Verdict(Outcome.TRANSIENT, OUT_OF_RESOURCES, text, text, unknown=sent)


def no_credentials(text: str) -> Verdict:
    """The verdict when there is nothing to authenticate with; the store was not asked."""
    return Verdict(Outcome.DESTINATION_UNAVAILABLE, OUT_OF_RESOURCES, comment(text), text)


def http_text(http_status: int, told: Problem) -> str:
    """The documented form `Http_403, PERMISSION_DENIED, <message>`."""
    return ", ".join(part for part in (f"Http_{http_status}", told.status, told.message) if part)


def comment(text: str) -> str:
    """An Error Comment: cut at 64 characters, as the guide that people follow shows it; the log has the whole text."""
    legal = "".join(character if " " <= character <= "~" and character != "\\" else "?" for character in " ".join(text.split()))
    return legal[:COMMENT_LENGTH].rstrip()

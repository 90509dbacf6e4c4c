"""The store's verdict on one instance, and the C-STORE status it becomes: one table, read from the top, that the documentation renders.

`TABLE` holds a row for each thing that an attempt may come to; the first row that applies decides. Membership comes before the HTTP status
(PS3.18 10.5.3): an instance named in the Referenced SOP Sequence is stored, one in the Failed SOP Sequence is refused, whatever the code.
DIMSE statuses: PS3.4 table B.2-1 and PS3.7 C.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from dicom_adapter import messages
from dicom_adapter.dicomweb.answers import Problem, StoreResponse, is_web_page, problem, store_response
from dicom_adapter.dicomweb.client import Answer
from dicom_adapter.dicomweb.errors import Obstacle, StoreUnreachable

COMMENT_LENGTH = 64  # Error Comment (0000,0902) is an LO

SUCCESS = 0x0000
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
DUPLICATE = 0xC409
WARNINGS = (0xB000, 0xB006, 0xB007)  # coercion, elements discarded, data set does not match SOP class
SOP_CLASS_NOT_SUPPORTED = 0x0122
_AZURE_DUPLICATE = 45070  # https://learn.microsoft.com/azure/healthcare-apis/dicom/dicom-services-conformance-statement-v2
_SAYS_DUPLICATE = re.compile(r"already[ _]exists", re.IGNORECASE)
_SUCCESSES = (200, 201, 203, 204)
_READ = (200, 201, 202, 203, 409)  # the answers whose body is a Store Instances Response (PS3.18 table 10.5.3-1)


class Outcome(StrEnum):
    """What a verdict means for the instance."""

    STORED = "Stored"
    INSTANCE_REFUSED = "InstanceRefused"  # the store has judged this instance
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"  # it judged us, or nobody
    TRANSIENT = "Transient"  # one attempt is lost


_STORED, _REFUSED = Outcome.STORED, Outcome.INSTANCE_REFUSED
_UNAVAILABLE, _TRANSIENT = Outcome.DESTINATION_UNAVAILABLE, Outcome.TRANSIENT


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome, DIMSE status and Error Comment; for the log the whole text, and whether the store may have the instance all the same.

    `remark`: what the log says of an instance that is stored all the same. `obstacle`: what stood in the way when there was no answer.
    """

    outcome: Outcome
    status: int
    comment: str = ""
    text: str = ""
    http_status: int | None = None
    unknown: bool = False
    remark: str = ""
    obstacle: Obstacle | None = None


@dataclass(frozen=True)
class Heard:
    """What came of one attempt: an answer, or the reason why there is none; `sent`: the store had the whole request."""

    answer: Answer | None = None
    uid: str = ""
    alone: bool = True
    failure: StoreUnreachable | None = None
    sent: bool = False
    over: float | None = None  # spec.delivery.timeoutSeconds, when they are over
    own: str = ""  # a reason of the adapter's own, for which the store was not asked

    def of(self, uid: str) -> Heard:
        """The same for one of several instances in the request. What has been read of the answer is not read again."""
        one = replace(self, uid=uid, alone=False)
        one.__dict__["response"] = self.response  # where cached_property keeps it
        return one

    @property
    def code(self) -> int:
        """The HTTP status, 0 without an answer."""
        return self.answer.status if self.answer else 0

    @cached_property
    def response(self) -> StoreResponse | None:
        """The Store Instances Response in the body, if there is one."""
        return store_response(self.answer) if self.answer and self.code in _READ and not self.answer.early else None

    @cached_property
    def told(self) -> Problem:
        """Status and text of an error answer."""
        return problem(self.answer) if self.answer else Problem("")

    @property
    def is_named_stored(self) -> bool:
        """Named in the Referenced SOP Sequence."""
        return self.response is not None and self.uid in self.response.stored

    @property
    def warning(self) -> int | None:
        """The Warning Reason beside that."""
        return self.response.stored.get(self.uid) if self.response else None

    @property
    def failed_as(self) -> str | None:
        """The UID under which the instance is in the Failed SOP Sequence. Of a request with one instance, what stands there is its own."""
        failed = self.response.failed if self.response else {}
        return self.uid if self.uid in failed else next(iter(failed), None) if self.alone else None

    @property
    def reason(self) -> int | None:
        """The Failure Reason."""
        return self.response.failed.get(self.failed_as or "") if self.response else None

    @property
    def detail(self) -> str:
        """What the store says of the failure in words."""
        return self.response.details.get(self.failed_as or "", "") if self.response else ""

    @property
    def is_duplicate(self) -> bool:
        """Whether the answer itself proves that the store has the instance with other content; a mere 409 does not."""
        if self.failed_as is not None:
            return self.reason == _AZURE_DUPLICATE or _SAYS_DUPLICATE.search(self.detail) is not None
        return self.code == 409 and self.told.status == "ALREADY_EXISTS"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `what` the store does, for people; whether it applies; what it means. A code row lists its HTTP statuses instead."""

    what: str
    applies: Callable[[Heard], bool]
    verdict: Callable[[Heard, Row], Verdict]
    outcome: Outcome = Outcome.TRANSIENT
    status: int = OUT_OF_RESOURCES
    codes: frozenset[int] = frozenset()


# -- what the rows say -----------------------------------------------------------------------------


def _stored(heard: Heard, row: Row) -> Verdict:
    return Verdict(row.outcome, SUCCESS, http_status=heard.code)


def _stored_with_warning(heard: Heard, row: Row) -> Verdict:
    status = heard.warning if heard.warning in WARNINGS else WARNINGS[0]
    assert status is not None  # noqa: S101 -- for the type checker
    return Verdict(row.outcome, status, messages.coerced(status), messages.coerced(status), heard.code)


def _duplicate(heard: Heard, row: Row) -> Verdict:
    message = heard.detail if heard.failed_as is not None else heard.told.message
    return duplicate(message or messages.OTHER_CONTENT, heard.code)


def _failed(heard: Heard, row: Row) -> Verdict:
    reason = heard.reason
    told = "no Failure Reason" if reason is None else f"Failure Reason {reason:04X}"
    said = heard.detail or f"The store refused the instance: {told}"
    log = f"{heard.code}, {told}" + (f": {heard.detail}" if heard.detail else "")
    return Verdict(row.outcome, row.status, comment(said), log if row.outcome is _REFUSED else said, heard.code)


def _failed_with_that(heard: Heard, row: Row) -> Verdict:
    """The Failure Reason is a C-STORE status itself. Only some of them judge the instance."""
    status = heard.reason or row.status
    outcome = _UNAVAILABLE if status == NOT_AUTHORIZED else _TRANSIENT if status >> 8 == OUT_OF_RESOURCES >> 8 else row.outcome
    return _failed(heard, replace(row, status=status, outcome=outcome))


def _sentence(text: str) -> Callable[[Heard, Row], Verdict]:
    """A row with a sentence of its own; `{code}` is the HTTP status."""

    def verdict(heard: Heard, row: Row) -> Verdict:
        said = text.format(code=heard.code)
        return Verdict(row.outcome, row.status, comment(said), said, heard.code, unknown=heard.code == 202)

    return verdict


def _taken_as_stored(heard: Heard, row: Row) -> Verdict:
    remark = ""
    if heard.response is not None:
        remark = messages.unnamed_answer(heard.code)
    elif heard.answer and heard.answer.body.strip():
        remark = messages.unreadable_answer(heard.code)
    return Verdict(row.outcome, SUCCESS, http_status=heard.code, remark=remark)


def _by_code(heard: Heard, row: Row) -> Verdict:
    told = Problem(heard.told.status, messages.REDIRECTED) if 300 <= heard.code < 400 else heard.told
    text = http_text(heard.code, told)
    judged = f"{heard.code} {told.status}" + (f": {told.message}" if told.message else "")
    for_log = judged if row.outcome is _REFUSED else text
    return Verdict(row.outcome, row.status, comment(text), for_log, heard.code, unknown=heard.code in (408, 504))


def _unreachable(heard: Heard, row: Row) -> Verdict:
    assert heard.failure  # noqa: S101 -- the row applies
    text, obstacle = heard.failure.comment, heard.failure.obstacle
    return Verdict(row.outcome, row.status, comment(text), text, unknown=heard.sent and obstacle is Obstacle.LOST, obstacle=obstacle)


def _too_late(heard: Heard, row: Row) -> Verdict:
    text = messages.took_longer(heard.over or 0)
    return Verdict(row.outcome, row.status, text, text, unknown=heard.sent)


def _not_asked(heard: Heard, row: Row) -> Verdict:
    return Verdict(row.outcome, row.status, comment(heard.own), heard.own)


# -- the table -------------------------------------------------------------------------------------


def _is_status(reason: int | None) -> bool:
    return reason is not None and (
        reason in (NOT_AUTHORIZED, SOP_CLASS_NOT_SUPPORTED) or reason >> 8 in (0xA7, 0xA9) or reason >> 12 == 0xC
    )


def _codes(codes: frozenset[int]) -> Callable[[Heard], bool]:
    return lambda heard: heard.code in codes


def _code_row(codes: frozenset[int], outcome: Outcome, status: int, what: str) -> Row:
    return Row(what, _codes(codes), _by_code, outcome, status, codes)


TABLE = (
    # what was not answered
    Row("cannot be reached", lambda heard: heard.failure is not None, _unreachable),
    Row(
        "gives no answer in `delivery.timeoutSeconds` after the last fragment, the waiting for a turn included",
        lambda heard: heard.over is not None,
        _too_late,
    ),
    Row("could not be asked: no credentials, no room for a copy", lambda heard: heard.answer is None, _not_asked, _UNAVAILABLE),
    # what is no answer to the request as a whole
    Row(
        "answers an image with success before it had all of it",
        lambda heard: heard.answer is not None and heard.answer.early and heard.code < 300,
        _sentence("Store answered before it had the whole instance"),
    ),
    # membership
    Row("names the image as stored", lambda heard: heard.is_named_stored and heard.warning is None, _stored, _STORED, SUCCESS),
    Row(
        "names it as stored with a Warning Reason: B000, B006 or B007, any other becomes B000",
        lambda heard: heard.is_named_stored,
        _stored_with_warning,
        _STORED,
        WARNINGS[0],
    ),
    Row("says that it has the image with other content", lambda heard: heard.is_duplicate, _duplicate, _REFUSED, DUPLICATE),
    Row(
        "names it as failed, Failure Reason A7xx, A9xx, Cxxx, 0122 or 0124: that",
        lambda heard: heard.failed_as is not None and _is_status(heard.reason),
        _failed_with_that,
        _REFUSED,
        DOES_NOT_MATCH,
    ),
    Row(
        "names it as failed for another reason, or for none",
        lambda heard: heard.failed_as is not None,
        _failed,
        _REFUSED,
        CANNOT_UNDERSTAND,
    ),
    # success without a word about the image
    Row(
        "answers 200 with a web page: a sign-in page, a wrong base URL",
        lambda heard: heard.code in _SUCCESSES and heard.answer is not None and is_web_page(heard.answer),
        _sentence("Http_{code}, a web page, no DICOMweb answer; correct dicomStore"),
        _UNAVAILABLE,
    ),
    Row(
        "answers 200, 201, 203 or 204 and nothing about the image that can be read",
        lambda heard: heard.code in _SUCCESSES,
        _taken_as_stored,
        _STORED,
        SUCCESS,
    ),
    Row(
        "answers 202 and does not name the image",
        lambda heard: heard.code == 202,
        _sentence("Http_202, Accepted, the answer does not name the instance"),
    ),
    # the HTTP status alone
    _code_row(frozenset({401, 403}), _UNAVAILABLE, NOT_AUTHORIZED, "the store does not let the adapter in"),
    _code_row(frozenset({400, 409, 413, 415, 422}), _REFUSED, CANNOT_UNDERSTAND, "the store refuses the instance"),
    _code_row(frozenset({408, 425, 429, *range(500, 600)}), _TRANSIENT, OUT_OF_RESOURCES, "the store cannot take it now"),
    # 404, 405, 410, 421, redirects that are not followed and what no store should answer
    _code_row(frozenset(range(100, 600)), _UNAVAILABLE, OUT_OF_RESOURCES, "the destination is wrong, not the image"),
    Row("answers with a status that HTTP does not have", lambda heard: True, _by_code, _UNAVAILABLE),
)


def row_of(heard: Heard) -> Row:
    """The row that applies."""
    return next(row for row in TABLE if row.applies(heard))


def decide(heard: Heard) -> Verdict:
    """The verdict by the table."""
    row = row_of(heard)
    return row.verdict(heard, row)


def judge(answer: Answer, sop_instance_uid: str, *, alone: bool = True) -> Verdict:
    """The verdict on one instance of a request that was answered; `alone`: it was the only one."""
    return decide(Heard(answer, sop_instance_uid, alone))


def unreachable(error: StoreUnreachable, *, sent: bool) -> Verdict:
    """The verdict when there was no answer. `sent`: the store had the whole request, so it may have stored the instance."""
    return decide(Heard(failure=error, sent=sent))


def too_late(seconds: float, *, sent: bool) -> Verdict:
    """The verdict when spec.delivery.timeoutSeconds are over."""
    return decide(Heard(over=seconds, sent=sent))


def not_asked(text: str) -> Verdict:
    """The verdict when there is nothing to authenticate with, or no room; the store was not asked."""
    return decide(Heard(own=text))


def duplicate(message: str, http_status: int) -> Verdict:
    """The verdict on a proven duplicate with `onConflict: Fail`."""
    text = http_text(http_status, Problem("ALREADY_EXISTS", message))
    return Verdict(_REFUSED, DUPLICATE, comment(text), messages.duplicate(http_status), http_status)


def other_instance() -> Verdict:
    """The verdict on a data set that is not of the instance that the command names."""
    return mismatch("SOP Instance UID")


def mismatch(what: str) -> Verdict:
    """The same; `what` of the data set is not what the command says: its SOP Instance UID, its SOP Class UID."""
    text = messages.other_sop(what)
    return Verdict(_REFUSED, DOES_NOT_MATCH, text, text)


def unreadable(position: int, why: str) -> Verdict:
    """The verdict on a data set that has to be read and cannot be."""
    text = messages.unreadable_data_set(position, why)
    return Verdict(_REFUSED, CANNOT_UNDERSTAND, comment(text), text)


def damaged(text: str) -> Verdict:
    """The verdict on a spooled instance whose file is not what it was."""
    return Verdict(_REFUSED, CANNOT_UNDERSTAND, comment(text), text)


def full(text: str) -> Verdict:
    """The verdict when the spool does not take an instance: the sender keeps it."""
    return Verdict(_TRANSIENT, OUT_OF_RESOURCES, comment(text), text)


def spooled() -> Verdict:
    """The verdict when it has."""
    return Verdict(_STORED, SUCCESS)


def http_text(http_status: int, told: Problem) -> str:
    """The documented form `Http_403, PERMISSION_DENIED, <message>`."""
    return ", ".join(part for part in (f"Http_{http_status}", told.status, told.message) if part)


def comment(text: str) -> str:
    """An Error Comment: one line of at most 64 legal characters; the log has the whole text.

    What begins with `Http_` is cut at the 64th character, as the guide that people follow shows it; anything else at a word.
    """
    legal = "".join(character if " " <= character <= "~" and character != "\\" else "?" for character in " ".join(text.split()))
    if len(legal) <= COMMENT_LENGTH or legal.startswith("Http_"):
        return legal[:COMMENT_LENGTH].rstrip()
    return (legal[: COMMENT_LENGTH + 1].rpartition(" ")[0] or legal[:COMMENT_LENGTH]).rstrip(" ,;:")

"""Storing: remarks on what the store has taken, duplicates, throttling."""

from __future__ import annotations


def stored_with_warning(ae_title: str, status: int) -> str:
    """The store has coerced something."""
    return f"C-STORE from '{ae_title}': stored with warning {status:04X}"


def stored_with_remark(ae_title: str, remark: str) -> str:
    """Stored, but the answer was odd."""
    return f"C-STORE from '{ae_title}': {remark}"


def coerced(status: int) -> str:
    """Error Comment of a warning status."""
    return f"Stored; the store coerced elements ({status:04X})"


def unreadable_answer(http_status: int) -> str:
    """A success whose body says nothing."""
    return f"{http_status} with a body that cannot be read: taken as stored"


def unnamed_answer(http_status: int) -> str:
    """A success whose body is readable and does not name the instance."""
    return f"{http_status} with a body that does not name the instance: taken as stored"


OTHER_CONTENT = "instance exists with other content"
REDIRECTED = "the store redirects; correct dicomStore"
NO_ROOM = "No room for a copy of the image (TMPDIR); send it again later"


def duplicate(http_status: int) -> str:
    """A proven duplicate, as the log has it."""
    return f"{http_status} ALREADY_EXISTS; spec.delivery.onConflict is Fail"


KEPT = "the store has another image with this UID and keeps it (spec.delivery.onConflict is Keep); counted as stored"
OVERWRITTEN = "the image that the store had with this UID was overwritten (spec.delivery.onConflict is Overwrite)"
PUT_BACK = "the store did not take the image that was to overwrite another: the other one is in the store as before"
NOT_PUT_BACK = (
    "the store did not take the image that was to overwrite another, nor the other one back: it has neither; send the image again, "
    "and the other one from its source"
)


def not_overwritten(why: str) -> str:
    """Overwrite was asked for and did not happen: the stored instance stays."""
    return f"409 ALREADY_EXISTS; the stored image was not overwritten: {why}"


def throttled(who: str, rate: float) -> str:
    """A 429 has halved the rate."""
    return f"{who} throttles (429): sending at most {rate:.0f} a second"


def took_longer(seconds: float) -> str:
    """No answer within spec.delivery.timeoutSeconds."""
    return f"Store took longer than {seconds:g} s"

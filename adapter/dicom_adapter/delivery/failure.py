"""The story of an instance that will not be delivered as it is: the `.json` beside it in `failed`. UIDs and the store's words, no more."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dicom_adapter.delivery.target import Whole
from dicom_adapter.delivery.verdict import Verdict
from dicom_adapter.logs import timestamp
from dicom_adapter.spool.entry import Entry


@dataclass(frozen=True, slots=True)
class Refused:
    """An instance that has been moved to `failed`; `whole` is None when its file is damaged."""

    destination: str
    entry: Entry
    whole: Whole | None
    verdict: Verdict
    attempts: int


def encode(refused: Refused, now: float) -> bytes:
    """As JSON."""
    verdict, meta = refused.verdict, refused.whole.meta if refused.whole else None
    story = {
        "destination": refused.destination,
        "sopInstanceUID": meta.sop_instance_uid if meta else None,
        "sopClassUID": meta.sop_class_uid if meta else None,
        "status": f"{verdict.status:04X}",
        "comment": verdict.comment,
        "reason": verdict.text,
        "httpStatus": verdict.http_status,
        "attempts": refused.attempts,
        "received": timestamp(refused.entry.seconds),
        "failed": timestamp(now),
    }
    return json.dumps(story, indent=2).encode() + b"\n"

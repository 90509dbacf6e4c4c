"""Asking the store for a DIMSE service: several questions at once, and what it means that it fails (PS3.4 C.4, PS3.7 C)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from dicom_adapter.auth.mounted import Missing, Unusable
from dicom_adapter.auth.tokens import CredentialsUnavailable
from dicom_adapter.delivery.verdict import http_text
from dicom_adapter.dicomweb.answers import problem
from dicom_adapter.dicomweb.client import Refusal
from dicom_adapter.dicomweb.errors import BrokenAnswer, StoreUnreachable

_T = TypeVar("_T")

ASKING_FAILED = (Refusal, StoreUnreachable, BrokenAnswer, Missing, Unusable, CredentialsUnavailable)
"""What searches and retrievals raise."""

_DENIED = (401, 403)
_PASSING = (408, 425, 429, *range(500, 600))


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no result, in the documented form of an Error Comment but of any length.

    `denied`: the store does not let us in. `passing`: another try may succeed. `http_status`: 0 when there was no answer.
    """

    text: str
    denied: bool = False
    passing: bool = False
    http_status: int = 0
    retry_after: str = ""


def trouble(error: Exception) -> Trouble:
    """What one of `ASKING_FAILED` means."""
    match error:
        case Refusal(answer=answer):
            code = answer.status
            return Trouble(http_text(code, problem(answer)), code in _DENIED, code in _PASSING, code, answer.retry_after)
        case StoreUnreachable():
            return Trouble(error.comment, passing=True)
        case BrokenAnswer():
            return Trouble(f"The store sends {error}", passing=True)
        case Missing() | Unusable():
            return Trouble(f"{error.mounted.what} '{error.mounted.name}' is not usable", passing=True)
        case CredentialsUnavailable():
            return Trouble(error.text, passing=True)
    raise error


async def at_once(questions: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The answers to several questions that are asked at once, in their order. One that fails ends the others, and is raised."""
    tasks = [asyncio.create_task(question) for question in questions]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

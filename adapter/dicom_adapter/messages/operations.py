"""What has become of an operation, whatever the service."""

from __future__ import annotations

MISSING_DATA_SET = "Mandatory data set missing"


def failed(service: str, ae_title: str, status: int, text: str, *, unknown: bool = False) -> str:
    """A failed operation; `unknown` when the store may have the image all the same."""
    return f"{service} from '{ae_title}' failed: {status:04X} {text}".rstrip() + ("; outcome unknown" if unknown else "")


def refused_for_good(service: str, ae_title: str, text: str) -> str:
    """The store has judged this very instance: sending it again will not help."""
    return f"{service} from '{ae_title}' refused for good: {text}"

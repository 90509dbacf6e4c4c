"""Application Entity titles (PS3.5 6.2, VR AE)."""

from __future__ import annotations

import re
from typing import Any

from dicom_operator import messages
from dicom_operator.errors import SpecError

AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")


def ae_title(path: str, value: Any) -> str:
    """A title as DICOM allows it; raises SpecError."""
    if not isinstance(value, str) or not AE_TITLE.fullmatch(value):
        raise SpecError(path, messages.ae_title(value))
    return value

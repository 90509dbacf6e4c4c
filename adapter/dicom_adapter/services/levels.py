"""What queries and retrievals have in common: the levels of the information models (PS3.4 C.6), and what keys name one of a level."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from dicom_adapter.dimse import sopclasses

PATIENT_ID: Final = 0x00100020
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
SOP_INSTANCE_UID: Final = 0x00080018


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


UNIQUE_KEYS: Final[Mapping[Level, int]] = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: STUDY_INSTANCE_UID,
    Level.SERIES: SERIES_INSTANCE_UID,
    Level.IMAGE: SOP_INSTANCE_UID,
}
_ALL: Final = tuple(Level)
LEVELS: Final[Mapping[str, tuple[Level, ...]]] = {
    **dict.fromkeys((sopclasses.PATIENT_ROOT_FIND, sopclasses.PATIENT_ROOT_MOVE, sopclasses.PATIENT_ROOT_GET), _ALL),
    **dict.fromkeys((sopclasses.STUDY_ROOT_FIND, sopclasses.STUDY_ROOT_MOVE, sopclasses.STUDY_ROOT_GET), _ALL[1:]),
    **dict.fromkeys((sopclasses.PATIENT_STUDY_ONLY_FIND, sopclasses.PATIENT_STUDY_ONLY_MOVE, sopclasses.PATIENT_STUDY_ONLY_GET), _ALL[:2]),
}
"""The levels of each information model (PS3.4 C.6)."""


class BadIdentifier(Exception):
    """It cannot be answered: the DIMSE status and what is wrong with it."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment

"""What a C-MOVE or C-GET selects (PS3.4 C.4.2, C.4.3), and the searches that find it. Pure.

The unique key of the level has to be there, those of the levels above it narrow the choice when they are. Nothing is taken for a pattern: a
request without a key, or with a wildcard for one, is refused, or it would retrieve the whole store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydicom.dataset import Dataset

from dicom_adapter import messages
from dicom_adapter.dicomweb.query import text
from dicom_adapter.dimse.status import IDENTIFIER_DOES_NOT_MATCH
from dicom_adapter.services.levels import LEVELS, BadIdentifier, Level

MOST_SEARCHES = 4096
"""A request that would take more is refused: lists of UIDs multiply."""
_ONE_BY_ONE = 8  # instances that are searched for one by one before their whole series is listed instead
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance of the store."""

    study: str
    series: str
    instance: str
    sop_class: str


@dataclass(frozen=True, slots=True)
class Search:
    """One QIDO-RS search: its resource and its parameters."""

    resource: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The values of the unique keys, none where a key does not matter."""

    level: Level
    patient: str
    studies: tuple[str, ...]
    series: tuple[str, ...]
    instances: tuple[str, ...]

    @property
    def whole_series(self) -> bool:
        """Whether series are selected with all that is in them."""
        return self.level is not Level.IMAGE

    @property
    def cost(self) -> int:
        """How many searches it takes, before there are any."""
        parents = max(1, len(self.studies)) * max(1, len(self.series))
        listed = self.level is not Level.IMAGE or (self.studies and len(self.instances) > _ONE_BY_ONE)
        return parents if listed else max(parents, len(self.instances))

    def searches(self) -> list[Search]:
        """What to search for; `accepts` has to see what is found."""
        patient = (("PatientID", self.patient), ("includefield", "00100020")) if self.patient else ()
        if self.level is Level.PATIENT:
            return [Search("/instances", patient)]
        if self.level is Level.STUDY:
            return [Search(f"/studies/{quote(study)}/instances", patient) for study in self.studies]
        parents = self._parents()
        if self.level is Level.SERIES:
            if self.studies:
                return [Search(f"{parent}/instances", patient) for parent in parents]
            return [Search("/instances", (("SeriesInstanceUID", series), *patient)) for series in self.series]
        if parents and len(self.instances) > _ONE_BY_ONE:
            return [Search(f"{parent}/instances", patient) for parent in parents]
        parent = parents[0] if len(parents) == 1 else ""
        return [Search(f"{parent}/instances", (("SOPInstanceUID", instance), *patient)) for instance in self.instances]

    def _parents(self) -> list[str]:
        """The resources of the series, as far as they are given."""
        studies = [f"/studies/{quote(study)}" for study in self.studies]
        return [f"{study}/series/{quote(series)}" for study in studies for series in self.series] if self.series else studies

    def accepts(self, match: Mapping[str, Any]) -> Reference | None:
        """The instance of a match; None when it is none that was asked for: stores may ignore a parameter that they do not know."""
        study, series, instance = (text(match, tag) for tag in ("0020000D", "0020000E", "00080018"))
        patient = text(match, "00100020")
        wanted = ((self.studies, study), (self.series, series), (self.instances, instance))
        if not (study and series and instance) or any(values and value not in values for values, value in wanted):
            return None
        if self.patient and patient and patient.strip() != self.patient:
            return None
        return Reference(study, series, instance, text(match, "00080016"))


def select(identifier: Dataset, sop_class_uid: str) -> Selection:
    """What an identifier selects in the information model of a SOP class. Raises BadIdentifier."""
    said = str(identifier.get("QueryRetrieveLevel") or "").strip()
    if not said:
        raise _refused(messages.NO_LEVEL)
    if said not in LEVELS[sop_class_uid]:
        raise _refused(messages.INVALID_LEVEL)
    level = Level(said)
    depth = list(Level).index(level)
    values = [_values(identifier, keyword) if number <= depth else () for number, keyword in enumerate(_KEYWORDS)]
    if not values[depth]:
        raise _refused(messages.no_unique_key(_KEYWORDS[depth]))
    patients = values[0]
    if len(patients) > 1 or any(set("*?\\") & set(patient) for patient in patients):
        raise _refused(messages.not_one_value("PatientID"))
    for keyword, uids in zip(_KEYWORDS[1:], values[1:], strict=True):
        if not all(_UID.fullmatch(uid) for uid in uids):
            raise _refused(messages.no_uid(keyword))
    selection = Selection(level, next(iter(patients), ""), *values[1:])
    if selection.cost > MOST_SEARCHES:
        raise _refused(messages.too_many_values(MOST_SEARCHES))
    return selection


def _values(identifier: Dataset, keyword: str) -> tuple[str, ...]:
    value = identifier.get(keyword)
    several: Iterable[object] = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else (value,)
    texts = (str(one or "").strip(" \0") for one in several)
    return tuple(dict.fromkeys(text for text in texts if text))


def _refused(why: str) -> BadIdentifier:
    return BadIdentifier(IDENTIFIER_DOES_NOT_MATCH, why)

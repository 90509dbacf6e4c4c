"""What a DICOM store of the Cloud Healthcare API holds: instances, checked when they come in and found by QIDO-RS."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

import pydicom
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError

PROCESSING_FAILURE = 0x0110
_UID = re.compile(r"(?=.{1,64}$)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SEARCHABLE = {
    "studies": ("StudyInstanceUID", "PatientName", "PatientID", "AccessionNumber", "ReferringPhysicianName", "StudyDate"),
    "series": ("SeriesInstanceUID", "Modality"),
    "instances": ("SOPInstanceUID",),
}
_SHOWN = {
    "studies": ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    "series": ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
    "instances": ("SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
LEVELS = tuple(_SEARCHABLE)


class InvalidRequest(ValueError):
    """400 INVALID_ARGUMENT: the request as a whole is wrong."""


class Refused(ValueError):
    """One instance is refused: SOP class and instance UID where they could be read, and the FailureDetail."""

    def __init__(self, sop_class: str, uid: str, detail: str) -> None:
        super().__init__(detail)
        self.sop_class = sop_class
        self.uid = uid


@dataclass(frozen=True, slots=True)
class Stored:
    """One instance: its Part 10 stream and what was read of it."""

    study: str
    series: str
    uid: str
    sop_class: str
    transfer_syntax: str
    content: bytes
    data_set: Dataset

    @property
    def path(self) -> str:
        """Below the base URL."""
        return f"studies/{self.study}/series/{self.series}/instances/{self.uid}"


class Instances:
    """All instances. They are one when study, series and SOP Instance UID agree."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str, str], Stored] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._by_key.values())

    def by_uid(self) -> dict[str, Stored]:
        """By SOP Instance UID."""
        return {one.uid: one for one in self}

    def take(self, content: bytes, study: str = "") -> Stored:
        """Stores a Part 10 stream; equal bytes are stored already, others under its UIDs are refused. Raises InvalidRequest, Refused."""
        one = read(content)
        if study and one.study != study:
            raise Refused(one.sop_class, one.uid, f"the instance is not of study {study}")
        key = (one.study, one.series, one.uid)
        before = self._by_key.get(key)
        if before and before.content != content:
            raise Refused(one.sop_class, one.uid, f"instance already exists with other content: {one.path}")
        self._by_key[key] = one
        return one

    def below(self, path: Mapping[str, str]) -> list[Stored]:
        """The instances of a study, a series, or the one that a path names."""
        wanted = {"study": path.get("studies"), "series": path.get("series"), "uid": path.get("instances")}
        return [one for one in self if all(value is None or getattr(one, name) == value for name, value in wanted.items())]

    def delete(self, instances: Iterable[Stored]) -> None:
        """Removes them."""
        for one in list(instances):
            del self._by_key[one.study, one.series, one.uid]

    def search(self, level: str, path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """QIDO-RS (PS3.18 10.6) within the API's limits: DICOM JSON objects. Raises InvalidRequest."""
        instances_only = level == "instances"
        limit, offset, filters, shown = (1000 if instances_only else 100), 0, dict[str, str](), list(_shown(level))
        fuzzy = False
        for key, value in query:
            if key == "limit":
                limit = _number(key, value, 50_000 if instances_only else 5_000)
            elif key == "offset":
                offset = _number(key, value, 1_000_000)
            elif key == "includefield":
                shown += [_keyword(one) for one in value.split(",") if one != "all"]
            elif key == "fuzzymatching":
                fuzzy = value == "true"
            else:
                keyword = _keyword(key)
                if keyword not in _searchable(level):
                    raise InvalidRequest(f"unsupported search attribute for {level}: {key}")
                filters[keyword] = value
        one_of_each = {
            tuple((one.study, one.series, one.uid)[: LEVELS.index(level) + 1]): one
            for one in reversed(self.below(path))
            if all(_matches(one.data_set, keyword, value, fuzzy=fuzzy) for keyword, value in filters.items())
        }
        found = list(reversed(one_of_each.values()))[offset : offset + limit]
        return [json.loads(_picked(one.data_set, shown).to_json(suppress_invalid_tags=True)) for one in found]


def read(content: bytes) -> Stored:
    """What a Part 10 stream holds; everything that the store insists on is checked. Raises InvalidRequest or Refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set: FileDataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
            meta = data_set.file_meta
            uids = {
                name: str(data_set.get(name, "")) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
            }
    except (InvalidDicomError, ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise Refused("", "", "the part is no DICOM file") from error
    for name, value in uids.items():
        if not value:
            raise InvalidRequest(f"{name} is missing")
        if not _UID.fullmatch(value):
            raise InvalidRequest(f"{name} is no UID")
    study, series, uid, sop_class = uids.values()
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if not syntax:
        raise InvalidRequest("TransferSyntaxUID is missing")
    if (str(meta.get("MediaStorageSOPInstanceUID")), str(meta.get("MediaStorageSOPClassUID"))) != (uid, sop_class):
        raise Refused(sop_class, uid, "file meta information and data set name different instances")
    return Stored(study, series, uid, sop_class, syntax, content, data_set)


def response(base: str, stored: list[Stored], refused: list[Refused]) -> dict[str, Any]:
    """The Store Instances Response (PS3.18 I.2) as DICOM JSON; FailureDetail is private: a reader must not depend on its tag."""
    document: dict[str, Any] = {}
    if stored:
        document["00081190"] = {"vr": "UR", "Value": [f"{base}/studies/{stored[0].study}"]}
        document["00081199"] = {
            "vr": "SQ",
            "Value": [_reference(one.sop_class, one.uid) | {"00081190": {"vr": "UR", "Value": [f"{base}/{one.path}"]}} for one in stored],
        }
    if refused:
        failures = [
            _reference(one.sop_class, one.uid)
            | {"00081197": {"vr": "US", "Value": [PROCESSING_FAILURE]}, "00091097": {"vr": "LO", "Value": [str(one)]}}
            for one in refused
        ]
        document["00081198"] = {"vr": "SQ", "Value": failures}
    return document


def _reference(sop_class: str, uid: str) -> dict[str, Any]:
    return {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [uid]}}


def as_xml(document: dict[str, Any]) -> bytes:
    """The same as a Native DICOM Model (PS3.19 A.1)."""
    return b'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel>' + _attributes(document).encode() + b"</NativeDicomModel>"


def _attributes(document: dict[str, Any]) -> str:
    text = ""
    for tag, attribute in document.items():
        private = tag == "00091097"
        keyword = 'privateCreator="GOOGLE" keyword="FailureDetail"' if private else f'keyword="{keyword_for_tag(int(tag, 16))}"'
        text += f'<DicomAttribute tag="{tag}" vr="{attribute["vr"]}" {keyword}>'
        for number, value in enumerate(attribute["Value"], 1):
            if isinstance(value, dict):
                text += f'<Item number="{number}">{_attributes(value)}</Item>'
            else:
                text += f'<Value number="{number}">{escape(str(value))}</Value>'
        text += "</DicomAttribute>"
    return text


def _shown(level: str) -> tuple[str, ...]:
    return tuple(keyword for one in LEVELS[: LEVELS.index(level) + 1] for keyword in _SHOWN[one])


def _searchable(level: str) -> tuple[str, ...]:
    return tuple(keyword for one in LEVELS[: LEVELS.index(level) + 1] for keyword in _SEARCHABLE[one])


def _keyword(text: str) -> str:
    keyword = keyword_for_tag(int(text, 16)) if re.fullmatch("[0-9A-Fa-f]{8}", text) else text
    if not keyword or tag_for_keyword(keyword) is None:
        raise InvalidRequest(f"unknown attribute: {text}")
    return keyword


def _number(key: str, value: str, maximum: int) -> int:
    if not value.isdigit() or int(value) > maximum:
        raise InvalidRequest(f"{key} must be a number of at most {maximum}")
    return int(value)


def _matches(data_set: Dataset, keyword: str, wanted: str, *, fuzzy: bool) -> bool:
    """Exact but for ranges of dates: neither wildcards nor lists. Fuzzy matching is for names, by the beginnings of their words."""
    value = str(data_set.get(keyword, ""))
    low, dash, high = wanted.partition("-")
    if keyword == "StudyDate" and dash:
        return bool(value) and (low or value) <= value <= (high or value)
    if fuzzy and keyword.endswith("Name"):
        words = re.findall(r"\w+", value.casefold())
        return all(any(word.startswith(one) for word in words) for one in re.findall(r"\w+", wanted.casefold()))
    return value == wanted


def _picked(data_set: Dataset, keywords: Iterable[str]) -> Dataset:
    picked = Dataset()
    for keyword in keywords:
        if keyword in data_set:
            picked.add(data_set[keyword])
    return picked

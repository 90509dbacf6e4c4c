"""A store's worth of small instances: several studies with what is hard about names, texts, empty values, sequences and binary attributes.

Deterministic: the same bytes in every run. `COLLECTION` is made once for a session; `instances` gives it as Part 10 files.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

ROOT = "1.2.826.0.1.3680043.10.1511"
_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "US": UltrasoundImageStorage,
    "CR": ComputedRadiographyImageStorage,
    "OT": SecondaryCaptureImageStorage,
}
_SIDE = 8


@dataclass(frozen=True)
class Series:
    """`count` instances of one modality."""

    modality: str
    count: int
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study: its patient, its character set, and its series."""

    attributes: dict[str, Any]
    series: tuple[Series, ...]
    character_set: str | list[str] = ""
    transfer_syntax: UID = ExplicitVRLittleEndian


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _request(step: str, procedure: str) -> Dataset:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
    item.ScheduledProtocolCodeSequence = Sequence([_code("P5", "99TEST", "Chest")])
    return item


STUDIES = (
    Study(  # Latin-1, two modalities' worth of series
        {
            "PatientName": "Müller^Jürgen",
            "PatientID": "LATIN-1",
            "IssuerOfPatientID": "Haus A",
            "PatientBirthDate": "19620315",
            "PatientSex": "M",
            "StudyDate": "20260105",
            "StudyTime": "081500",
            "AccessionNumber": "A-1001",
            "StudyID": "1",
            "StudyDescription": "Schädel ohne KM",
            "ReferringPhysicianName": "Größer^Änne",
        },
        (
            Series("CT", 40, {"SeriesDescription": "Schädel 5 mm", "BodyPartExamined": "HEAD", "ProtocolName": "Schädel"}),
            Series("CT", 20, {"SeriesDescription": "Knochen", "BodyPartExamined": "HEAD"}),
        ),
        "ISO_IR 100",
    ),
    Study(  # the same patient again
        {
            "PatientName": "Müller^Jürgen",
            "PatientID": "LATIN-1",
            "IssuerOfPatientID": "Haus A",
            "PatientBirthDate": "19620315",
            "PatientSex": "M",
            "StudyDate": "20260212",
            "StudyTime": "173000.250000",
            "AccessionNumber": "A-1002",
            "StudyID": "2",
            "StudyDescription": "MR Knie links",
        },
        (Series("MR", 30, {"SeriesDescription": "T1 sag", "BodyPartExamined": "KNEE"}),),
        "ISO_IR 100",
        ImplicitVRLittleEndian,
    ),
    Study(  # another patient with the same ID, of another issuer; UTF-8
        {
            "PatientName": "Łukasiewicz^Çelik^Ærø",
            "PatientID": "LATIN-1",
            "IssuerOfPatientID": "Haus B",
            "PatientBirthDate": "19880229",
            "PatientSex": "F",
            "StudyDate": "20260212",
            "StudyTime": "090000",
            "AccessionNumber": "B-7",
            "StudyDescription": "Echo — früh",
            "ReferringPhysicianName": "Größer^Änne",
        },
        (Series("US", 10, {"SeriesDescription": "Loop"}), Series("OT", 2, {"SeriesDescription": "Bericht"})),
        "ISO_IR 192",
    ),
    Study(  # Japanese, PS3.5 H.3
        {
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "PatientID": "JP-1",
            "PatientBirthDate": "19510401",
            "PatientSex": "M",
            "StudyDate": "20260301",
            "StudyTime": "100000",
            "AccessionNumber": "J-1",
            "StudyDescription": "胸部CT",
        },
        (Series("CT", 30, {"SeriesDescription": "胸部", "BodyPartExamined": "CHEST"}),),
        ["", "ISO 2022 IR 87"],
    ),
    Study(  # Korean, PS3.5 I.2
        {
            "PatientName": "Hong^Gildong=洪^吉洞=홍^길동",
            "PatientID": "KR-1",
            "PatientBirthDate": "19700707",
            "PatientSex": "M",
            "StudyDate": "20260302",
            "StudyTime": "110000",
            "AccessionNumber": "K-1",
        },
        (Series("MR", 30, {"SeriesDescription": "Brain", "BodyPartExamined": "BRAIN"}),),
        ["", "ISO 2022 IR 149"],
    ),
    Study(  # empty values, and what is missing altogether
        {
            "PatientName": "",
            "PatientID": "EMPTY-1",
            "PatientBirthDate": "",
            "PatientSex": "",
            "StudyDate": "20260302",
            "StudyTime": "",
            "AccessionNumber": "",
            "StudyID": "",
            "ReferringPhysicianName": "",
        },
        (Series("CR", 3, {"SeriesNumber": "", "BodyPartExamined": ""}),),
        "",
        ImplicitVRLittleEndian,
    ),
    Study(  # many series, two modalities, sequences
        {
            "PatientName": "DOE^JANE^^Dr.",
            "PatientID": "MULTI-1",
            "PatientBirthDate": "19451231",
            "PatientSex": "F",
            "StudyDate": "20251231",
            "StudyTime": "235959",
            "AccessionNumber": "M-1",
            "StudyID": "M",
            "StudyDescription": "PET/CT * whole body?",
            "ReferringPhysicianName": "Smith^John",
            "ProcedureCodeSequence": [("44139-4", "LN", "PET whole body")],
        },
        (
            Series("CT", 60, {"SeriesDescription": "CT AC", "RequestAttributesSequence": [("STEP-1", "PROC-1")]}),
            Series("PT", 60, {"SeriesDescription": "PET AC", "RequestAttributesSequence": [("STEP-2", "PROC-1")]}),
            Series("OT", 3, {"SeriesDescription": "Fusion"}),
        ),
    ),
    Study(  # the same name in small letters
        {
            "PatientName": "Doe^Jane",
            "PatientID": "MULTI-2",
            "PatientBirthDate": "20010101",
            "PatientSex": "F",
            "StudyDate": "20260101",
            "StudyTime": "000000",
            "AccessionNumber": "M-2",
            "StudyDescription": "Chest",
            "ReferringPhysicianName": "SMITH^JOHN",
        },
        (Series("CR", 2, {"SeriesDescription": "PA and lateral", "BodyPartExamined": "CHEST"}),),
    ),
    Study(  # binary, private and retired attributes
        {
            "PatientName": "Binary^Bob",
            "PatientID": "BIN-1",
            "PatientBirthDate": "19991111",
            "PatientSex": "O",
            "StudyDate": "20260401",
            "StudyTime": "120000",
            "AccessionNumber": "X-1",
            "StudyDescription": "Private and binary",
        },
        (Series("OT", 12, {"SeriesDescription": "odd", "binary": True}),),
    ),
)
COUNT = sum(series.count for study in STUDIES for series in study.series)


def study_uid(study: int) -> str:
    """Study Instance UID of the study with this index in `STUDIES`."""
    return f"{ROOT}.{study + 1}"


def series_uid(study: int, series: int) -> str:
    """Series Instance UID by the indexes of study and series."""
    return f"{study_uid(study)}.{series + 1}"


def instance_uid(study: int, series: int, number: int) -> str:
    """SOP Instance UID; instances count from 1, as their Instance Number does."""
    return f"{series_uid(study, series)}.{number}"


def data_sets() -> Iterator[Dataset]:
    """Every instance, study by study."""
    for index, study in enumerate(STUDIES):
        for position, series in enumerate(study.series):
            for number in range(1, series.count + 1):
                yield _data_set(study, index, series, position, number)


@functools.cache
def instances() -> tuple[bytes, ...]:
    """All of them as Part 10 files."""
    return tuple(part10(one) for one in data_sets())


def part10(data_set: Dataset) -> bytes:
    """A data set as a file."""
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _data_set(study: Study, index: int, series: Series, position: int, number: int) -> Dataset:
    one = Dataset()
    if study.character_set:
        one.SpecificCharacterSet = study.character_set
    one.SOPClassUID, one.SOPInstanceUID = _CLASSES[series.modality], UID(instance_uid(index, position, number))
    one.StudyInstanceUID, one.SeriesInstanceUID = study_uid(index), series_uid(index, position)
    one.Modality, one.InstanceNumber, one.SeriesNumber = series.modality, str(number), str(position + 1)
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if number % 2 else ["DERIVED", "SECONDARY"]
    one.ContentDate, one.ContentTime = study.attributes["StudyDate"], f"12{number % 60:02d}00"
    for keyword, value in {**study.attributes, **series.attributes}.items():
        _set(one, keyword, value, number)
    one.SamplesPerPixel, one.PhotometricInterpretation, one.Rows, one.Columns = 1, "MONOCHROME2", _SIDE, _SIDE
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.PixelData = hashlib.sha256(one.SOPInstanceUID.encode()).digest() * (_SIDE * _SIDE * 2 // 32)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    meta.TransferSyntaxUID = study.transfer_syntax
    one.file_meta = meta
    return one


def _set(one: Dataset, keyword: str, value: Any, number: int) -> None:
    match keyword:
        case "ProcedureCodeSequence":
            one.ProcedureCodeSequence = Sequence([_code(*row) for row in value])
        case "RequestAttributesSequence":
            one.RequestAttributesSequence = Sequence([_request(*row) for row in value])
        case "binary":
            one.add_new(0x00090010, "LO", "dicom-operator test")
            one.add_new(0x00091001, "OB", bytes(range(16)))
            one.add_new(0x00091002, "UN", b"\1\2\3\4")
            one.add_new(0x00091003, "LO", f"private {number}")
            one.add_new(0x00080010, "SH", "ACR-NEMA 2.0")  # Recognition Code, retired
            one.add_new(0x00200030, "DS", ["0", "0", "1.5"])  # Image Position, retired
            one.add_new(0x00280005, "US", 2)  # Image Dimensions, retired
            one.add_new(0x00281201, "OW", bytes(32))  # Red Palette Color Lookup Table Data
            one.add_new(0x00720074, "FD", [0.5, -1.25])
        case _:
            setattr(one, keyword, value)

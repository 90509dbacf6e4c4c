"""Targets: the identifier of a query, which any peer may send, and what a store says of each result (PS3.4 C.4.1, PS3.18 F)."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_adapter.dimse.sopclasses import PATIENT_ROOT_FIND
from dicom_adapter.services.levels import BadIdentifier
from dicom_adapter.services.query.answers import Encoder, selected
from dicom_adapter.services.query.identifier import Key, parse
from dicom_adapter.services.query.matching import matches
from tests.support.catalogue import study

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_TAG = re.compile("[0-9A-Fa-f]{8}")
CHARACTER_SETS = ((), ("ISO_IR 100",), ("ISO_IR 192",), ("", "ISO 2022 IR 87"))


def identifier(data: bytes) -> None:
    """It is read or refused; what is read is text that can be asked for."""
    if not data:
        return
    with suppress(BadIdentifier), as_the_adapter():
        for key in parse(data[1:], SYNTAXES[data[0] % len(SYNTAXES)], PATIENT_ROOT_FIND).keys:
            assert all(key.values)
            matches(key, study(1))


@contextmanager
def as_the_adapter() -> Iterator[None]:
    """What pydicom thinks of values, which it quotes, goes nowhere: `logs.configure` and `cli` see to that."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def identifier_seeds() -> Iterator[bytes]:
    """Queries as workstations send them."""
    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.QueryRetrieveLevel, query.PatientName, query.StudyDate, query.ModalitiesInStudy = "STUDY", "Mü*", "20260101-", ["CT", "MR"]
    query.StudyInstanceUID, query.Rows = ["1.2.3", "1.2.4"], 512
    item = Dataset()
    item.CodeValue = "X"
    query.ProcedureCodeSequence = [item]
    for number, syntax in enumerate(SYNTAXES[:3]):
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        write_dataset(buffer, query)
        yield bytes((number,)) + buffer.getvalue()


def result(data: bytes) -> None:
    """Whatever a store says becomes a data set of even length, in every transfer syntax and character set."""
    if len(data) < 2:
        return
    try:
        match = json.loads(data[2:])
    except (ValueError, RecursionError):
        return
    if not isinstance(match, dict):
        return
    key = Key(0x00081032, "SQ", items=(Key(0x00080100, "SH", ("X*",)),))
    elements = {int(tag, 16): value for tag, value in match.items() if _TAG.fullmatch(tag) and isinstance(value, dict)}
    with as_the_adapter():
        encoder = Encoder(SYNTAXES[data[0] % len(SYNTAXES)], CHARACTER_SETS[data[1] % len(CHARACTER_SETS)])
        for tag, element in elements.items():
            assert len(encoder.encode({tag: selected(element, key)})) % 2 == 0
    for tag in elements:
        matches(Key(tag, str(elements[tag].get("vr", "UN")), ("1-2",)), match)
    matches(key, match)


def result_seeds() -> Iterator[bytes]:
    """Results as stores give them, and odd ones."""
    odd = {
        "00080005": {"vr": "CS"},
        "00100010": {"vr": "PN", "Value": [None, {"Alphabetic": 1}]},
        "00081032": {"vr": "SQ", "Value": [{}, 1]},
    }
    for match in (study(1), odd, {"00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}]}}):
        yield b"\0\1" + json.dumps(match).encode()

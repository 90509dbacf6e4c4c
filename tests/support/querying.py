"""C-FIND with dcmtk's findscu, and what came of it, attribute by attribute."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset

UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


@dataclass(frozen=True, slots=True)
class Found:
    """The responses of a query, how many said FF01, and what findscu printed."""

    data_sets: tuple[Dataset, ...]
    partial: int
    text: str
    status: str = ""

    def by(self, keyword: str) -> dict[str, Dataset]:
        """By the value of an attribute."""
        return {str(one.get(keyword, "")): one for one in self.data_sets}


@dataclass(frozen=True, slots=True)
class Query:
    """What to ask: dcmtk's option for the information model (-P, -S, -O), the level, and keys as findscu writes them."""

    model: str
    level: str
    keys: Sequence[str] = field(default_factory=tuple)


def findscu(port: int, query: Query, *options: str, called: str = "GATE", calling: str = "WS1", host: str = "127.0.0.1") -> Found:
    """Asks, and reads every response back from the file that findscu writes of it."""
    keys = [*([f"QueryRetrieveLevel={query.level}"] if query.level else []), *query.keys]
    with tempfile.TemporaryDirectory(prefix="findscu-") as directory:
        command = ["findscu", "-v", *options, query.model, "-X", "-od", directory, "-aet", calling, "-aec", called]
        done = subprocess.run(
            [*command, *(word for key in keys for word in ("-k", key)), host, str(port)],
            capture_output=True,
            timeout=60,
            check=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = tuple(pydicom.dcmread(file, force=True) for file in sorted(Path(directory).iterdir()))
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    last = text.partition("Received Final Find Response (")[2].partition(")")[0]
    return Found(found, text.count("WarningUnsupportedOptionalKeys"), text, last)


def shown(data_set: Dataset, keyword: str) -> str:
    """An attribute as one text; empty and missing are the same."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in data_set:
        return ""
    element = data_set[tag]
    if element.VR == "SQ":
        return " ".join(f"[{' '.join(f'{keyword_for_tag(inner.tag)}={inner.value}' for inner in item)}]" for item in element.value)
    value = element.value
    if value is None:
        return ""
    return "\\".join(str(part) for part in value) if element.VM > 1 else str(value)


def asked(query: Query) -> list[str]:
    """The keywords of a query's keys."""
    return [key.partition("=")[0].partition("[")[0] for key in query.keys]

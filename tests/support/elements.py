"""`operator/dicom_operator/spec/elements.txt`: the data elements of PS3.6 as pydicom has them: keyword, tag (`x`: any digit), VR in a line.

`python -m tests.support.elements` writes it; a test compares.
"""

from __future__ import annotations

from pathlib import Path

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

FILE = Path(__file__).parents[2] / "operator/dicom_operator/spec/elements.txt"


def text() -> str:
    """What it should hold. Where there is a choice of VRs, as in `US or SS`, the first."""
    plain = {f"{tag:08X}": entry for tag, entry in DicomDictionary.items()}
    return "".join(f"{keyword or '-'} {tag} {vr[:2]}\n" for tag, (vr, _, _, _, keyword) in sorted((plain | RepeatersDictionary).items()))


if __name__ == "__main__":
    FILE.write_text(text(), "ascii")

"""Writes manifests/operator.yaml, the chart for those without Helm: its objects with the default values, in `dicom-system`.

`python3 charts/manifests.py` writes; `--check` writes nothing and ends with 1 when the file is out of date. It needs the helm of the
test cluster (`python3 -m cluster helm`).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "manifests" / "operator.yaml"
HEADER = "# Written by `python3 charts/manifests.py` from charts/dicom-operator; change it there.\n"
VALUES = ("--namespace=dicom-system", "--set=crds.enabled=false", "--no-hooks")
OF_HELM = re.compile(r"^(?:# Source: .*| *helm\.sh/chart: .*| *app\.kubernetes\.io/managed-by: Helm)\n", re.MULTILINE)


def rendered() -> str:
    """What the chart makes, without the marks of Helm."""
    command = [sys.executable, "-m", "cluster", "helm", "template", "dicom-operator", "charts/dicom-operator", *VALUES]
    text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return HEADER + OF_HELM.sub("", text)


def main(arguments: Sequence[str]) -> int:
    """Writes or checks; returns the exit status."""
    text, name = rendered(), TARGET.relative_to(ROOT)
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    if "--check" in arguments:
        print(f"{name} is out of date; run python3 charts/manifests.py", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text)
    print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The benchmark of the engine runs; what it measures is nobody's assertion."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_one_that_is_compared_has_its_row() -> None:
    options = ("--size", "20kB", "--associations", "1", "--rounds", "1", "--seconds", "0.02")
    command = [sys.executable, "-m", "bench.dimse", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +20kB +1  (\S+(?: \S+)*?) +[0-9]+ +[0-9]", done.stdout, re.MULTILINE)
    receivers = ["ours", "pynetdicom", "dcmtk storescp", "Orthanc"]
    assert rows == [*receivers, "ours", "pynetdicom + requests", "ours", "pynetdicom", "dcmtk dcmsend", "Orthanc"]
    assert "(a) 20kB, 1 association: at least 5 of pynetdicom, got " in done.stdout

"""Writes what is kept as a copy: the chart's CRDs from `crds/`, the table of values in its README from `values.yaml`, and the operator's
file of patterns from the adapter's, since the two share no code.

`python3 charts/sync.py` writes; `python3 charts/sync.py --check` writes nothing and ends with 1 when a copy is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "dicom-operator"
PATTERNS = "patterns.py"
COPIED = "# Written by charts/sync.py from adapter/dicom_adapter/patterns.py.\n"
BEGIN, END = "<!-- values: python3 charts/sync.py -->\n", "<!-- end of values -->\n"


@dataclass(frozen=True, slots=True)
class Value:
    """One leaf of values.yaml: its path, its default as written, and the comment above it."""

    path: str
    default: str
    comment: str


def values(text: str) -> Iterator[Value]:
    """Reads the leaves of a values.yaml that keeps to two-space maps, flow-style lists and one-line values."""
    parents: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if found := re.fullmatch(r" *# ?(.*)", line):
            comment.append(found[1])
        elif found := re.fullmatch(r"( *)(\w+):(?: (.+))?", line):
            parents = [*parents[: len(found[1]) // 2], found[2]]
            if found[3]:
                yield Value(".".join(parents), found[3], " ".join(comment))
            comment = []
        else:
            comment = []


def table(text: str) -> str:
    """The leaves as a Markdown table."""
    rows = [f"| `{value.path}` | `{value.default}` | {value.comment} |\n" for value in values(text)]
    return "".join(["| value | default | meaning |\n", "| --- | --- | --- |\n", *rows])


def generated() -> dict[Path, str]:
    """What each generated file should hold."""
    files = {CHART / "files" / "crds" / source.name: source.read_text() for source in sorted((ROOT / "crds").glob("*.yaml"))}
    readme = CHART / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    patterns = COPIED + (ROOT / "adapter" / "dicom_adapter" / PATTERNS).read_text()
    files[ROOT / "operator" / "dicom_operator" / "spec" / PATTERNS] = patterns
    return files | {readme: before + BEGIN + table((CHART / "values.yaml").read_text()) + END + after}


def main(arguments: Sequence[str]) -> int:
    """Writes or checks; returns the exit status."""
    wanted = generated()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    stale += [path for path in (CHART / "files" / "crds").glob("*") if path not in wanted]
    for path in stale:
        name = path.relative_to(ROOT)
        if "--check" in arguments:
            print(f"{name} is out of date; run python3 charts/sync.py", file=sys.stderr)
        elif path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
            print(f"wrote {name}")
        else:
            path.unlink()
            print(f"removed {name}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

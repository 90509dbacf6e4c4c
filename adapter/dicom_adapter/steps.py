"""The steps of a way, as `dicom-adapter check` and `dicom-adapter echo` show them: a line each for people, an entry each in `--json`."""

from __future__ import annotations

from typing import Any, Protocol


class Step(Protocol):
    """How one step went; one that was not reached has no seconds."""

    @property
    def name(self) -> str:
        """What is done."""
        ...

    @property
    def message(self) -> str:
        """What came of it."""
        ...

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        ...

    @property
    def failed(self) -> bool:
        """Whether the way ends here."""
        ...


def line(step: Step) -> str:
    """The line for people."""
    mark = "FAIL" if step.failed else "ok" if step.seconds is not None else "-"
    spent = "" if step.seconds is None else f"{step.seconds * 1000:.0f} ms"
    return f"  {mark:<5}{step.name:<12}{spent:>9}  {step.message}\n"


def entry(step: Step) -> dict[str, Any]:
    """The entry of the JSON document."""
    return {
        "name": str(step.name),
        "outcome": "failed" if step.failed else "passed" if step.seconds is not None else "not reached",
        "milliseconds": None if step.seconds is None else round(step.seconds * 1000, 1),
        "message": step.message,
    }

"""docs/dimse.md: its examples run, and what it prints from the code is what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dicom_adapter.dimse import DimseServer, Pool, Response, Status, errors
from dicom_adapter.dimse.states import TRANSITIONS, Cell, Event, State
from tests.adapter.dimse.serving import Recorder
from tests.support.orthanc import free_port

PAGE = (Path(__file__).parents[3] / "docs" / "dimse.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def state_table() -> str:
    """The table as the page must have it."""
    rows = [["", *(state.name.capitalize() for state in State)], ["---"] * (len(State) + 1)]
    for event in Event:
        cells = [TRANSITIONS.get((state, event)) for state in State]
        rows.append([event.replace(":", "", 1), *(_text(cell) if cell else "." for cell in cells)])
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


def _text(cell: Cell) -> str:
    return f"{cell.action.partition(':')[0]} {'/'.join(after.name.capitalize() for after in cell[1:] if after)}"


def error_tree() -> str:
    """The tree as the page must have it: that of the module."""
    assert errors.__doc__
    tree = errors.__doc__.partition("\n\n")[2].partition("\n\n")[0]
    return "\n".join(line.removeprefix("    ") for line in tree.splitlines())


def test_the_state_table_is_that_of_the_code() -> None:
    assert f"\n\n{state_table()}\n\n" in PAGE


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    assert f"\n```\n{error_tree()}\n```\n" in PAGE
    named = {name for name in re.findall(r"\w+", error_tree()) if name[0].isupper() and hasattr(errors, name)}
    assert named == {name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__}


async def test_the_examples_run() -> None:
    names: dict[str, Any] = {}
    exec(compile("\n".join(EXAMPLES).replace("11112", str(free_port())), "docs/dimse.md", "exec"), names)
    recorder = Recorder()
    server: DimseServer = await names["serve"](recorder)
    responses = await names["call"](b"image", b"identifier")
    assert responses == [Response(Status(0xFF00), b"first match"), Response(Status(0xFF00), b"second match"), Response(Status(0))]
    pool = Pool(calling_ae_title="WS1")
    await names["call_often"](pool, [b"a", b"b", b""])
    await pool.close()
    server.abort()
    await server.wait_closed()
    assert [summary.operations for summary in recorder.ended] == [
        {("C-STORE", 0): 1, ("C-FIND", 0): 1},
        {("C-STORE", 0): 2, ("C-STORE", 0xC000): 1},
    ]

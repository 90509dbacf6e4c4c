"""What the tests read of a running API server, while it writes."""

from __future__ import annotations

from pathlib import Path

from tests.support.apiserver import whole_lines


def test_a_line_of_the_audit_log_that_is_just_being_written_is_none_yet(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"verb":"get"}\n{"verb":"li')
    assert list(whole_lines(path)) == [{"verb": "get"}]
    with path.open("a") as log:
        log.write('st"}\n')
    assert list(whole_lines(path)) == [{"verb": "get"}, {"verb": "list"}]

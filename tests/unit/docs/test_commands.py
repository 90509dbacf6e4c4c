"""The commands that the documents name exist: a reader types them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from cluster import cli

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("charts/*/README.md"), *ROOT.glob("bench/*.md"))
)


def code(document: str) -> list[str]:
    """What a document shows as code: lines of its blocks, and words in backquotes."""
    text = (ROOT / document).read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for block in blocks for line in block.splitlines()] + inline


def cluster_commands() -> set[str]:
    actions = cli.parser()._actions
    return {name for action in actions if isinstance(action, argparse._SubParsersAction) for name in action.choices}


def test_there_are_documents():
    assert {"README.md", "CONTRIBUTING.md", "docs/operator.md", "charts/dicom-operator/README.md"} <= set(DOCUMENTS)
    assert "make demo" in code("README.md")
    assert any(line.startswith("python3 -m cluster shell") for line in code("CONTRIBUTING.md"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_exists(document):
    targets = set(re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for line in code(document) for name in re.findall(r"^(?:\$ )?make ([a-z-]+)", line)}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_the_test_cluster_exists(document):
    named = {name for line in code(document) for name in re.findall(r"python3 -m cluster ([a-z]+)", line)}
    assert named <= cluster_commands()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_command_names_exists(document):
    commands = [line for line in code(document) if re.match(r"(\$ )?(helm|kubectl|python3|docker|make|\.venv)", line)]
    named = {word for line in commands for word in re.findall(r"(?:^|[ =])((?:charts|crds|examples|tests|bench|requirements)/[^ ]*)", line)}
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_picked_by_name_exists(document):
    for line in code(document):
        for directory, word in re.findall(r"pytest (\S+) -k (\w+)", line):
            assert any(
                f"{word}" in found
                for path in (ROOT / directory).glob("test_*.py")
                for found in re.findall(r"def (test_\w+)", path.read_text())
            )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_value_that_is_set_in_the_chart_is_known_to_it(document):
    table = (ROOT / "charts/dicom-operator/README.md").read_text()
    for line in code(document):
        if line.startswith(("helm ", "  --set")):
            for name in re.findall(r"--set ([\w.]+)=", line):
                assert f"| `{name}` |" in table


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / document).read_text())
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []

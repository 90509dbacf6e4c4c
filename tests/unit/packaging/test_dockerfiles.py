"""What the Dockerfiles may not do, whoever edits them next."""

from __future__ import annotations

import fnmatch
import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("adapter", "operator")


def instructions(name: str) -> list[tuple[str, str]]:
    """Instruction and arguments of each step, continued lines joined, comments dropped."""
    text = (ROOT / f"Dockerfile.{name}").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def last(name: str, word: str) -> str:
    """The arguments of the last instruction of that kind: the one that counts at run time."""
    return [rest for found, rest in instructions(name) if found == word][-1]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_a_number_that_is_not_root(name):
    user = last(name, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "the kubelet cannot check runAsNonRoot against a name"
    words = [word for word, _ in instructions(name)]
    assert "RUN" not in words[words.index("USER") :]


@pytest.mark.parametrize("name", NAMES)
def test_both_stages_are_of_one_base_that_can_be_replaced(name):
    steps = instructions(name)
    assert steps[0] == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    assert [rest for word, rest in steps if word == "FROM"] == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_called_latest_or_piped_into_a_shell(name):
    for _, rest in instructions(name):
        assert ":latest" not in rest
        assert not re.search(r"\|\s*(ba|da)?sh\b|curl|wget|--index-url|trusted-host", rest)


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_locked_and_comes_before_the_source(name):
    runs = [rest for word, rest in instructions(name) if word == "RUN"]
    for step in [step for run in runs for step in run.split("&&") if "pip" in step]:
        locked = "--require-hashes" in step and "--only-binary :all:" in step
        own = "--no-deps" in step and ("--no-build-isolation" in step or "--no-index" in step)
        assert ("install" not in step and "wheel" not in step) or locked or own or "python3 -m venv" in step, step
    order = [rest for word, rest in instructions(name) if word == "COPY"]
    assert order[0] == f"requirements/build.txt requirements/{name}.txt requirements/"
    assert order[1] == f"{name}/ {name}/"


@pytest.mark.parametrize("name", NAMES)
def test_signals_reach_the_program_itself(name):
    assert json.loads(last(name, "ENTRYPOINT")) == [f"/opt/venv/bin/dicom-{name}"]
    assert all(isinstance(argument, str) for argument in json.loads(last(name, "CMD")))
    assert last(name, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("name", NAMES)
def test_the_labels_tell_the_version_that_is_inside(name):
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', last(name, "LABEL")))
    assert labels["title"] == f"dicom-{name}"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == importlib.import_module(f"dicom_{name}").__version__


def test_the_context_holds_what_is_copied_and_nothing_else():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "an allow-list begins by ignoring everything"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    copies = [rest for name in NAMES for word, rest in instructions(name) if word == "COPY" and "--from" not in rest]
    copied = [source for rest in copies for source in rest.split()[:-1]]
    assert {source for source in copied if not any(fnmatch.fnmatch(source, f"{path}*") for path in allowed)} == set()
    assert {path for path in allowed if not any(fnmatch.fnmatch(source, f"{path}*") for source in copied)} == set()

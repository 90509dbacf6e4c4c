"""Every decoder against inputs that a coverage-guided fuzzer makes: seconds in `make test`, minutes for each with `make fuzz`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import EVERY, TARGETS

ROOT = Path(__file__).parents[2]
GROWN = ROOT / "build" / "fuzz"
"""The long form keeps the inputs that reached something new, and goes on from there."""
INPUTS = 10_000
"""Of the short form."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The short form is one process for all: starting one takes longer than its inputs."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", TARGETS if metafunc.config.getoption("--long") else ["every"])


def environment() -> dict[str, str]:
    """Ours, without the measurement of coverage: the fuzzer has its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapter'}", "PYTHONHASHSEED": "0"}


def test_no_input_leads_to_anything_else_than_what_is_documented(name: str, long: bool, fuzz_minutes: float, tmp_path: Path) -> None:
    target = TARGETS.get(name, EVERY)
    corpus = GROWN / name if long else tmp_path / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    bounds = [f"-max_len={target.longest}", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", f"-artifact_prefix={tmp_path}/"]
    amount = [f"-max_total_time={fuzz_minutes * 60:.0f}"] if long else [f"-runs={INPUTS}", "-seed=1"]
    command = [sys.executable, "-m", "tests.fuzz.fuzzer", name, str(corpus), *bounds, *amount]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, errors="replace", check=False)
    kept = (path for path in tmp_path.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-")))
    found = "".join(f"\nthe input: {path.read_bytes().hex()}" for path in kept)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-1000:]}{found}"
    stats = {name: int(value) for name, value in re.findall(r"^stat::(\w+):\s+(\d+)", done.stderr, re.MULTILINE)}
    assert stats["number_of_executed_units"] >= INPUTS
    slowest = Path(f"{corpus}.slowest").read_text()
    print(f"{name}: {stats['number_of_executed_units']:,} inputs, peak {stats['peak_rss_mb']} MB, the slowest {slowest}")

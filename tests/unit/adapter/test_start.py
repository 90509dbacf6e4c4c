"""What an adapter reads before it listens: a restart with images in the spool is an outage for whoever sends."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import contextlib, runpy, sys
sys.argv = ["dicom-adapter", "import", "--help"]
with contextlib.suppress(SystemExit):
    runpy.run_module("dicom_adapter", run_name="__main__")
print(*(name for name, found in sys.modules.items() if found))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that the command has imported when it knows what it is to do."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", ["requests", "urllib3", "google.auth", "cryptography", "kubernetes"])
def test_it_does_without_what_hardly_any_adapter_needs(loaded: set[str], name: str) -> None:
    assert "dicom_adapter.node" in loaded
    assert name not in loaded


@pytest.mark.parametrize("name", ["export", "checks", "check", "route", "spool_command"])
def test_it_does_without_the_other_commands(loaded: set[str], name: str) -> None:
    assert f"dicom_adapter.{name}" not in loaded


def test_whoever_wants_a_google_token_can_still_import_requests() -> None:
    done = subprocess.run([sys.executable, "-c", f"{LOADED}\nimport requests"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

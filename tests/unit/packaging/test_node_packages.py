"""What `make setup` installs for the tests with Node.js is the content that was looked at, whichever registry it comes from."""

from __future__ import annotations

import json
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "node" / "package-lock.json"


def test_every_package_is_pinned_by_its_hash_and_none_by_its_address() -> None:
    lock = json.loads(LOCK.read_text())
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert "node_modules/dcmjs-dimse" in packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in LOCK.read_text()

"""What the peers of the adapter leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sloppy import mended


@pytest.fixture(autouse=True)
def _mended() -> Iterator[None]:
    with mended():
        yield

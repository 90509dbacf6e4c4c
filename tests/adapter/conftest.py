"""What the peers of the adapter leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sloppy import closing_sockets


@pytest.fixture(autouse=True)
def _closing_sockets() -> Iterator[None]:
    with closing_sockets():
        yield

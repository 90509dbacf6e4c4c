"""One proxy and one operator for each module; what a test breaks it mends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.faults.forked import ForkedOperator
from tests.api.proxy import Proxy
from tests.api.support import Api, Namespace

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def proxy(api: Api) -> Iterator[Proxy]:
    with Proxy(api) as found:
        yield found


@pytest.fixture(scope="module")
def operator(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedOperator]:
    directory: Path = tmp_path_factory.mktemp("operator")
    with ForkedOperator(proxy.environment(directory)) as process:
        process.wait_ready()
        yield process
        assert process.calm(), process.output()


@pytest.fixture
def fresh(api: Api) -> Callable[[], Namespace]:
    """Makes namespaces."""

    def make() -> Namespace:
        name = f"fault-{next(_numbers)}"
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return Namespace(api, name)

    return make

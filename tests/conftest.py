"""Options of the whole suite."""

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # on a busy machine an example may take its time
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="the long forms: `make soak`, `make fuzz`, `make faults`",
    )
    parser.addoption("--fuzz-minutes", type=float, default=2.0, help="how long `make fuzz` runs each target")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side run the files, but tests/api is one group: it has one API server, and ends with what was asked of it."""
    for item in items:
        depth = item.nodeid.split("/")[1]
        item.add_marker(pytest.mark.xdist_group(depth if depth == "api" else item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def fuzz_minutes(request: pytest.FixtureRequest) -> float:
    """How long the long form runs each target."""
    return float(request.config.getoption("--fuzz-minutes"))

"""Options of the whole suite."""

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("no deadline", deadline=None)  # on a busy machine an example may take its time
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="the long forms: `make soak`, `make fuzz`, `make faults`",
    )
    parser.addoption("--fuzz-minutes", type=float, default=2.0, help="how long `make fuzz` runs each target")


class Files(LoadScopeScheduling):
    """Side by side run the files, each as one piece, in the order of the command line: what takes long comes first."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)  # xdist may be off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """What `-n` hands out at a time."""
    return Files(config, log)


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form was asked for."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def fuzz_minutes(request: pytest.FixtureRequest) -> float:
    """How long the long form runs each target."""
    return float(request.config.getoption("--fuzz-minutes"))

"""Where things are kept outside the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PRODUCT = "dicom-operator"


@dataclass(frozen=True, slots=True)
class Paths:
    """The repository, the cache of what was built and the state of running clusters."""

    repository: Path
    cache: Path
    state: Path

    @property
    def source(self) -> Path:
        """The directory of this package."""
        return self.repository / "cluster"

    def cluster(self, name: str) -> Path:
        """The directory of a cluster; it exists from start to stop."""
        return self.state / name


def paths_from(environment: Mapping[str, str], home: Path) -> Paths:
    """Follow the XDG base directory specification: an empty or relative value counts as unset."""

    def base(variable: str, default: str) -> Path:
        value = environment.get(variable, "")
        return Path(value) if value.startswith("/") else home / default

    return Paths(
        repository=Path(__file__).resolve().parent.parent,
        cache=base("XDG_CACHE_HOME", ".cache") / PRODUCT,
        state=base("XDG_STATE_HOME", ".local/state") / PRODUCT / "clusters",
    )

"""How much waits in a spool, and how much has failed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What is in one directory."""

    instances: int = 0
    bytes: int = 0

    def add(self, length: int, by: int = 1) -> None:
        """So many more instances of this length, or fewer."""
        self.instances += by
        self.bytes += by * length


@dataclass(slots=True)
class Counts:
    """Of one destination."""

    ready: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)

    @property
    def none(self) -> bool:
        """Whether nothing is there."""
        return not (self.ready.instances or self.failed.instances)

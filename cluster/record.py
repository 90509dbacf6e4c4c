"""What is on disk about a running cluster: its description, its process 1 and what has gone wrong since it was Ready."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.linux import Process
from cluster.node import Binaries, Node


@dataclass(frozen=True, slots=True)
class Record:
    """The files of a cluster."""

    directory: Path

    @property
    def description(self) -> Path:
        """What the launcher asked for."""
        return self.directory / "cluster.json"

    @property
    def init_file(self) -> Path:
        """Who process 1 is, seen from outside."""
        return self.directory / "init.json"

    @property
    def ready_file(self) -> Path:
        """Exists once the cluster has been Ready."""
        return self.directory / "ready"

    @property
    def failures(self) -> Path:
        """What ended since the cluster was Ready; absent as long as nothing did."""
        return self.directory / "failures"

    def write(self, node: Node, images: Sequence[Path]) -> None:
        """Describe the cluster for its supervisor."""
        document = {"node": asdict(node), "images": list(images)}
        self.description.write_text(json.dumps(document, default=str, indent=2))

    def node(self) -> Node:
        """Read the node's description."""
        fields: dict[str, Any] = json.loads(self.description.read_text())["node"]
        binaries = Binaries(**{name: Path(path) for name, path in fields["binaries"].items()})
        return Node(binaries, Path(fields["directory"]), fields["pause_image"])

    def images(self) -> list[Path]:
        """Read which image archives are loaded."""
        return [Path(path) for path in json.loads(self.description.read_text())["images"]]

    def init(self) -> Process | None:
        """Return process 1 if it runs."""
        process = Process.read(self.init_file)
        return process if process is not None and process.alive() else None

    def report(self, sentence: str) -> None:
        """Add a line on what ended."""
        with self.failures.open("a") as file:
            file.write(f"{sentence}\n")

"""The Go programs of the cluster. Their versions are those of the go.mod files under go/, and nowhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.archive import FORMAT, write_image
from cluster.artefacts import Artefact, digest, read_tree
from cluster.errors import Missing
from cluster.running import Task

PAUSE_IMAGE = "localhost/pause:1"
STAMP = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class Program:
    """A Go module, the package to build of it and what it takes."""

    name: str
    package: str
    typical: str


KUBE = Program("kube", ".", "about 6 minutes on 2 cores")
COREDNS = Program("coredns", ".", "about 1 minute on 2 cores")
HELM = Program("helm", "helm.sh/helm/v4/cmd/helm", "about 2 minutes on 2 cores")
PAUSE = Program("pause", ".", "a few seconds")
PUBSUB = Program("pubsub", ".", "about half a minute on 2 cores")


def artefact(source: Path, program: Program) -> Artefact:
    """Describe a program to the cache. The Go release is not in the key: an update of it is no reason to build again."""
    module = source / "go" / program.name
    files = read_tree(module, without=["**/*_test.go"])
    files["recipe"] = repr((program.package, flags(files["- go.mod"].decode()), os.uname().machine)).encode()
    if program is PAUSE:
        files["format"] = FORMAT

    def build(output: Path, task: Task) -> None:
        compile_module(module, program, output / program.name, task)
        if program is KUBE:
            (output / "kubectl").symlink_to("kube")
        if program is PAUSE:
            write_image(output / "pause.tar", PAUSE_IMAGE, {"pause": (output / "pause").read_bytes()}, ["/pause"])

    return Artefact(program.name, digest(files), program.typical, build)


def compile_module(module: Path, program: Program, output: Path, task: Task) -> None:
    """Build one static binary."""
    require_go(module)
    text = (module / "go.mod").read_text()
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", flags(text), "-o", str(output), program.package]
    task.run(command, cwd=module, environment={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"})


def flags(go_mod: str) -> str:
    """Render the linker flags: small, and stamped with the Kubernetes version if there is one."""
    version = re.search(r"^\s*k8s\.io/kubernetes v((\d+)\.(\d+)\.\S+)$", go_mod, re.MULTILINE)
    if version is None:
        return "-s -w"
    stamps = {
        "gitVersion": f"v{version[1]}",
        "gitMajor": version[2],
        "gitMinor": version[3],
        "gitCommit": "unknown",
        "gitTreeState": "clean",
    }
    return " ".join(["-s", "-w", *(f"-X {STAMP}.{name}={value}" for name, value in stamps.items())])


def require_go(module: Path) -> None:
    """Raise Missing unless the Go tool is there and as new as the module asks for."""
    wanted = go_version((module / "go.mod").read_text())
    needed = f"Go {dotted(wanted)} or newer is needed to build the test cluster"
    if shutil.which("go") is None:
        raise Missing(f"{needed} and there is no `go` on PATH: install it from go.dev.")
    # GOTOOLCHAIN=local: what is installed, not what it would download.
    environment: Mapping[str, str] = {**os.environ, "GOTOOLCHAIN": "local"}
    found = subprocess.run(["go", "env", "GOVERSION"], env=environment, capture_output=True, text=True, check=False).stdout.strip()
    if go_version(found) < wanted:
        raise Missing(f"{needed} and `go` on PATH is {found or 'broken'}: update it.")


def go_version(text: str) -> tuple[int, int]:
    """Read the first version in the text, a go.mod or the output of go env GOVERSION."""
    version = re.search(r"^go\s?(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def dotted(version: tuple[int, int]) -> str:
    """Render a version for a person."""
    return ".".join(map(str, version))

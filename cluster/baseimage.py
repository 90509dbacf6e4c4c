"""The base of the product's images where there is no registry: a minimal Debian with Python, made from the machine's own mirror."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster.archive import FORMAT, write_layer_image
from cluster.artefacts import Artefact, digest
from cluster.errors import Missing
from cluster.running import Task

BASE_IMAGE = "localhost/base:dev"
SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
# Nobody reads these in a container, and every cluster unpacks the image anew.
LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./var/cache/*/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/i18n/*",
    "./usr/share/zoneinfo/right/*",
    # Where the machine's packages come from is not the image's business.
    "./etc/apt/sources.list*",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./debootstrap",
)
CONFIG = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"], "Cmd": ["/bin/sh"]}
ARCHIVE = "base.tar"


def artefact() -> Artefact:
    """Describe the image to the cache. Debian's state is not in the key: `make image` need not be new every day."""
    recipe = repr((SUITE, PACKAGES, LEFT_OUT, CONFIG, os.uname().machine)).encode()
    return Artefact("base", digest({"recipe": recipe, "format": FORMAT}), "about 1 minute", build)


def build(output: Path, task: Task) -> None:
    """Write the docker-archive."""
    if os.geteuid() != 0:
        raise Missing("The base image needs root, for debootstrap: run `python3 -m cluster build` with sudo.")
    root, layer = output / "root", output / "layer.tar"
    mirror = debian_mirror(apt_targets(), SUITE)
    task.run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), *([mirror] if mirror else [])])
    excludes = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    task.run(["tar", "--create", f"--file={layer}", f"--directory={root}", "--numeric-owner", "--sort=name", *excludes, "."])
    with layer.open("rb") as content:
        write_layer_image(output / ARCHIVE, BASE_IMAGE, content, CONFIG)
    layer.unlink()
    task.run(["rm", "--recursive", "--one-file-system", str(root)])


def apt_targets() -> str:
    """Ask apt for the archives that the machine uses, a line each: address, code name, component."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def debian_mirror(targets: str, suite: str) -> str | None:
    """Pick the machine's own mirror of a Debian suite; None for debootstrap's default."""
    for line in targets.splitlines():
        match line.split():
            case [address, code_name, "main"] if code_name == suite:
                return address
    return None

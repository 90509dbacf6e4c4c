"""The Debian packages that the cluster and the tests use, found by what they bring rather than by name."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import Missing
from cluster.running import Task, say

# Where administrators' programs are, which a user's PATH may leave out.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_DENY = "#!/bin/sh\nexit 101\n"


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, what shows that it is there, and the service that it would leave running."""

    name: str
    probe: str
    service: str = ""


CNI_PLUGINS = Path("/usr/lib/cni")
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PACKAGES = (
    Package("buildah", "buildah"),
    Package("containerd", "containerd", service="containerd.service"),
    Package("containernetworking-plugins", str(CNI_PLUGINS / "ptp")),
    Package("curl", "curl"),
    Package("dcmtk", "dcmsend"),
    Package("debootstrap", "debootstrap"),
    Package("iproute2", "ip"),
    Package("iptables", "iptables"),
    Package("orthanc", "Orthanc", service="orthanc.service"),
    Package("orthanc-dicomweb", str(DICOMWEB_PLUGIN)),
    Package("runc", "runc"),
)


def missing(packages: Sequence[Package] = PACKAGES, path: str | None = None) -> list[Package]:
    """List the packages of which the machine lacks what they bring."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath) if path is None else path, *([SYSTEM_PATH] if path is None else [])])
    return [package for package in packages if not present(package, search)]


def present(package: Package, search: str) -> bool:
    """Whether the file or program that a package brings is there."""
    return Path(package.probe).exists() if package.probe.startswith("/") else shutil.which(package.probe, path=search) is not None


def describe(absent: Sequence[Package]) -> str:
    """Say in one line what is missing and how to get it."""
    names = " ".join(package.name for package in absent)
    return f"these Debian packages are missing: {names}; run as root: apt-get install --no-install-recommends {names}"


def check() -> bool:
    """Tell what is missing; whether nothing is."""
    absent = missing()
    if absent:
        say(describe(absent))
    return not absent


def require() -> None:
    """Raise Missing unless everything is there."""
    if absent := missing():
        raise Missing(f"{describe(absent)} (or: make setup)")


def install(logs: Path) -> None:
    """Install what is missing, as root; say what first."""
    absent = missing()
    if not absent:
        return
    if os.geteuid() != 0:
        raise Missing(describe(absent))
    if shutil.which("apt-get") is None:
        raise Missing(f"This machine has no apt-get: install what Debian has in {' '.join(package.name for package in absent)}.")
    names = [package.name for package in absent]
    say(f"installing Debian packages: {' '.join(names)}")
    log = logs / "apt-get.log"
    log.unlink(missing_ok=True)
    task = Task("apt-get", "1 to 2 minutes", log)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    lock = "--option=DPkg::Lock::Timeout=300"
    task.run(["apt-get", "update", "--quiet", lock], environment=environment)
    with no_services_started():
        task.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", lock, *names], environment=environment)
    keep_stopped(task, [package.service for package in absent if package.service])
    if left := missing():
        raise Missing(f"After installing, {describe(left)}; see {log}.")


@contextlib.contextmanager
def no_services_started() -> Iterator[None]:
    """Have Debian's invoke-rc.d start nothing: an Orthanc of the machine's own would take the port of ours."""
    if POLICY.exists():
        yield
        return
    with tempfile.NamedTemporaryFile("w", dir=POLICY.parent, prefix=".policy-rc.d-", delete=False) as file:
        file.write(POLICY_DENY)
        os.fchmod(file.fileno(), 0o755)
    os.rename(file.name, POLICY)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def keep_stopped(task: Task, services: Sequence[str]) -> None:
    """Keep what was installed just now from starting at the next boot."""
    if services and shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--quiet", *services], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        with task.log.open("a") as log:
            log.write(f"disabled {' '.join(services)}\n")

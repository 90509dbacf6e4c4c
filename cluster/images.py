"""The product's two images, built from their Dockerfiles by buildah and written as docker-archives to the cache."""

from __future__ import annotations

import configparser
import fnmatch
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import baseimage, packages
from cluster.artefacts import Artefact, Cache, digest, read_tree
from cluster.errors import ClusterError, Missing
from cluster.paths import Paths
from cluster.running import Task

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PIP_CONFIGURATION = "/etc/pip.conf"
# Where pip is told about certificates on the machine; inside they are where Debian has them.
CERTIFICATE_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
GENERATED = ("**/__pycache__", "**/*.egg-info", "**/build", "**/*.pyc")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of ours: its name and its Dockerfile at the root of the repository."""

    name: str

    @property
    def reference(self) -> str:
        """What a pod template calls it."""
        return f"localhost/{self.name}:dev"

    @property
    def dockerfile(self) -> str:
        """The file's name."""
        return f"Dockerfile.{self.name.removeprefix('dicom-')}"


IMAGES = (Image("dicom-operator"), Image("dicom-adapter"))


def artefact(paths: Paths, image: Image) -> Artefact:
    """Describe an image to the cache: its key is made from all that goes in."""
    dockerfile = paths.repository / image.dockerfile
    if not dockerfile.is_file():
        raise ClusterError(f"{dockerfile} does not exist: an image is built from a Dockerfile at the root of the repository.")
    base = baseimage.artefact()
    files = {"dockerfile": dockerfile.read_bytes(), "base": base.key.encode(), "reference": image.reference.encode()}
    for name in (".dockerignore", *copied(dockerfile.read_text())):
        path = paths.repository / name
        if path.is_dir():
            files |= {f"{name}/{below}": content for below, content in read_tree(path, without=GENERATED).items()}
        elif path.is_file():
            files[name] = path.read_bytes()

    def build(output: Path, task: Task) -> None:
        cache = Cache(paths.cache)
        archive = cache.obtain(base) / baseimage.ARCHIVE
        with cache.lock("buildah"):
            build_image(paths, image, archive, output / f"{image.name}.tar", task)

    return Artefact(image.name, digest(files), "about 1 minute the first time, then 20 s", build)


def archives(paths: Paths, *, build: bool) -> list[Path]:
    """List the archives for the source as it is now: built first, or only those that are built."""
    cache = Cache(paths.cache)
    if build:
        require_root()
        packages.require()
    found = []
    for image in IMAGES:
        if not build and not (paths.repository / image.dockerfile).is_file():
            continue
        each = artefact(paths, image)
        if build or cache.holds(each):
            found.append(cache.obtain(each) / f"{image.name}.tar")
    return found


def copied(dockerfile: str) -> list[str]:
    """List what COPY and ADD take from the build context."""
    sources = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        words = shlex.split(rest, comments=True) if instruction.upper() in {"COPY", "ADD"} else []
        if not any(word.startswith("--from=") for word in words):
            sources += [word.rstrip("/") for word in words if not word.startswith("--")][:-1]
    return sources


def build_image(paths: Paths, image: Image, base: Path, output: Path, task: Task) -> None:
    """Build with the machine's package indexes and certificates, of which nothing stays in the image."""
    storage = paths.cache / "buildah"
    (paths.cache / "pip").mkdir(parents=True, exist_ok=True)
    buildah = ["buildah", "--storage-driver=vfs", f"--root={storage}/storage", f"--runroot={storage}/run"]
    with tempfile.TemporaryDirectory() as temporary:
        configuration = Path(temporary, "pip.conf")
        volumes = pip_volumes(os.environ, configuration)
        options = [f"--volume={source}:{target}:ro" for source, target in volumes.items()]
        task.run([*buildah, "pull", "--quiet", f"docker-archive:{base}"])
        task.run(
            [
                *(*buildah, "bud", "--isolation=chroot", "--network=host", "--pull-never", "--format=docker", *options),
                *(f"--build-arg=BASE_IMAGE={baseimage.BASE_IMAGE}", f"--file={paths.repository / image.dockerfile}"),
                *(f"--tag={image.reference}", str(paths.repository)),
            ]
        )
        task.run([*buildah, "push", "--quiet", image.reference, f"docker-archive:{output}:{image.reference}"])
        # The archive is all that is wanted: with this driver each layer is a whole copy of the file system.
        task.run([*buildah, "rmi", "--force", image.reference])
        task.run([*buildah, "rmi", "--prune", "--force"])


def pip_volumes(environment: Mapping[str, str], configuration: Path) -> dict[str, str]:
    """Write the machine's settings of pip to a file and list what to mount for it: a variable would stay in the image."""
    volumes = {str(configuration): PIP_CONFIGURATION}
    settings = pip_settings(environment, [Path(PIP_CONFIGURATION), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"])
    certificates = [environment.get(variable, "") for variable in CERTIFICATE_VARIABLES]
    for candidate in (settings.get("cert", ""), *certificates, CERTIFICATES):
        if candidate and Path(candidate).is_file():
            volumes[candidate] = CERTIFICATES
            settings["cert"] = CERTIFICATES
            break
    links = [place for place in settings.pop("find-links", "").split() if "://" in place or Path(place).exists()]
    if links:
        settings["find-links"] = " ".join(links)
        volumes |= {place: place for place in links if "://" not in place}
    configuration.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(settings.items())))
    return volumes


def pip_settings(environment: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """Merge pip's configuration files and its variables, the latter last, as pip does: PIP_INDEX_URL is index-url."""
    parsed = configparser.RawConfigParser()
    parsed.read(files)
    settings = dict(parsed["global"]) if parsed.has_section("global") else {}
    for variable, value in environment.items():
        if fnmatch.fnmatchcase(variable, "PIP_*") and value and variable != "PIP_CONFIG_FILE":
            settings[variable.removeprefix("PIP_").lower().replace("_", "-")] = " ".join(value.split())
    return settings


def require_root() -> None:
    """Raise Missing unless root: unpacking a file system with its owners is root's."""
    if os.geteuid() != 0:
        raise Missing("`image` needs root, to unpack file systems with their owners: run it with sudo.")

"""Starting, entering and stopping clusters, from outside of their namespaces."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cluster import binaries, cgroups, packages
from cluster.artefacts import Cache
from cluster.errors import ClusterError, ComponentFailed, Missing, with_log
from cluster.node import NODE_ADDRESS, ORTHANC_PORT, Binaries, Node
from cluster.packages import SYSTEM_PATH
from cluster.paths import Paths
from cluster.record import Record
from cluster.running import say
from cluster.supervisor import READY, image_import

DEFAULT_NAME = "test"
KILL_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster by name, running or not."""

    paths: Paths
    name: str

    @property
    def directory(self) -> Path:
        """Exists from start to stop."""
        return self.paths.cluster(self.name)

    @property
    def record(self) -> Record:
        """What is known of it."""
        return Record(self.directory)

    def running(self) -> bool:
        """Whether it runs and has been Ready."""
        return self.record.init() is not None and self.record.ready_file.exists()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second start or stop of the same cluster waiting."""
        self.paths.state.mkdir(parents=True, exist_ok=True)
        with (self.paths.state / f".{self.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def start(self, images: Sequence[Path]) -> None:
        """Return when everything is Ready; a cluster that runs already only gets the images that it lacks."""
        require_root("start")
        packages.require()
        with self.lock():
            if self.running():
                say(f"cluster {self.name} is running already")
                self.load([image for image in images if image not in self.record.images()])
                return
            self.remove()
            built = self.obtain()
            self.directory.mkdir(parents=True)
            node = Node(built, self.directory, binaries.PAUSE_IMAGE)
            self.record.write(node, [built.pause / "pause.tar", *images])
            began = time.monotonic()
            try:
                self.launch()
            except BaseException:
                # What is left is for reading the logs: the next start removes it.
                self.kill()
                raise
            self.record.ready_file.touch()
            say(f"cluster {self.name} is Ready after {time.monotonic() - began:.1f} s")

    def obtain(self) -> Binaries:
        """Find the programs in the cache or build them."""
        cache, source = Cache(self.paths.cache), self.paths.source
        return Binaries(
            kube=cache.obtain(binaries.artefact(source, binaries.KUBE)),
            coredns=cache.obtain(binaries.artefact(source, binaries.COREDNS)),
            helm=cache.obtain(binaries.artefact(source, binaries.HELM)),
            pause=cache.obtain(binaries.artefact(source, binaries.PAUSE)),
        )

    def launch(self) -> None:
        """Start process 1 and wait for its word."""
        reading, writing = os.pipe()
        log = self.directory / "supervisor.log"
        path = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"
        with log.open("ab") as output, os.fdopen(reading) as answer:
            subprocess.run(
                [sys.executable, "-m", "cluster.supervisor", str(self.directory), str(writing)],
                cwd=self.paths.repository,
                env={**os.environ, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[writing],
                check=False,
            )
            os.close(writing)
            words = answer.readline()
            if words.strip() != READY:
                words += answer.read()
                raise ComponentFailed(words.strip() or with_log("The cluster ended while it was prepared.", log))

    def stop(self) -> None:
        """End it and remove what it kept; nothing happens if there is none."""
        require_root("stop")
        with self.lock():
            self.remove()

    def remove(self) -> None:
        """Kill what runs and remove what is on disk."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def kill(self) -> None:
        """Kill process 1, and with it everything in its namespaces."""
        init = self.record.init()
        if init is None:
            return
        groups = cgroups.of_containers(init.pid)
        if not init.kill(KILL_TIMEOUT):
            raise ClusterError(f"Process {init.pid}, the first of cluster {self.name}, was killed but has not ended: see /proc/{init.pid}.")
        for left in cgroups.remove(groups):
            say(f"{left} is still in use; left behind")

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Render the command that runs another one in the namespaces, in the same working directory."""
        init = self.record.init()
        if init is None or not self.record.ready_file.exists():
            raise ClusterError(f"Cluster {self.name} is not running: start it with python3 -m cluster start --name {self.name}.")
        if self.record.failures.exists():
            say(f"cluster {self.name} is damaged:\n{self.record.failures.read_text()}")
        return ["nsenter", f"--target={init.pid}", "--net", "--mount", "--pid", f"--wdns={os.getcwd()}", "--", *arguments]

    def environment(self) -> Mapping[str, str]:
        """Who acts in the namespaces is the administrator, with kubectl and helm of the cache."""
        node = self.record.node()
        path = f"{node.binaries.search_path}:{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"
        return {**os.environ, "KUBECONFIG": str(node.plane.kubeconfig("admin")), "PATH": path}

    def execute(self, arguments: Sequence[str]) -> NoReturn:
        """Become a command in the namespaces."""
        require_root("exec")
        command = self.command(arguments)
        os.execvpe(command[0], command, dict(self.environment()))

    def load(self, archives: Sequence[Path]) -> None:
        """Hand image archives to the container runtime."""
        require_root("load")
        for archive in archives:
            if not archive.is_file():
                raise ClusterError(f"{archive} is not a file: give docker-archives, as `python3 -m cluster image` writes.")
        if not archives:
            return
        command = self.command(image_import([archive.absolute() for archive in archives]))
        result = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise ClusterError(f"Loading images failed: {(result.stderr or result.stdout).strip()}")
        self.record.write(self.record.node(), [*self.record.images(), *(archive.absolute() for archive in archives)])

    def hint(self) -> str:
        """Tell how to use it."""
        option = "" if self.name == DEFAULT_NAME else f" --name {self.name}"
        return f"""\
  python3 -m cluster exec{option} -- kubectl get nodes    run a command in it
  python3 -m cluster shell{option}                        a shell in it, with kubectl and helm
  python3 -m cluster stop{option}                         end it
  DICOMweb store: http://{NODE_ADDRESS}:{ORTHANC_PORT}/dicom-web (in pods also http://orthanc.test:{ORTHANC_PORT}/dicom-web)"""


def check_name(name: str) -> str:
    """Return a cluster's name if it is fit for a directory, a cgroup and a lock file."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise ValueError(name)
    return name


def require_root(command: str) -> None:
    """Raise Missing unless root: namespaces, mounts and containers are root's."""
    if os.geteuid() != 0:
        raise Missing(f"`{command}` needs root for its namespaces and containers: run it with sudo. (`api` does not.)")

"""The operator's process, forked from one that has imported everything: 200 starts in a run cost a tenth of a second each, not two."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.api.support import OperatorProcess
from tests.support.orthanc import free_port

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["__main__", "dicom_operator.__main__"])


def run(arguments: list[str], environment: Mapping[str, str], log: str) -> None:
    """What the child does: become the operator."""
    from dicom_operator import reconcile
    from dicom_operator.__main__ import main

    reconcile.HOLD_SECONDS = reconcile.UNSEEN_SECONDS = 0.5  # nobody looks
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
    sys.argv = ["dicom-operator", *arguments]
    main()


@dataclass
class ForkedOperator(OperatorProcess):
    """As its base, and what faults need beside."""

    child: ForkServerProcess | None = None
    become: Callable[[list[str], Mapping[str, str], str], None] = run

    def start(self) -> None:
        self.port = free_port()
        flags = [f"--adapter-image={self.image}", "--allowed-image=localhost/", f"--http-port={self.port}", "--http-host=127.0.0.1"]
        environment = {**self.environment, "POD_NAME": "operator-0", "POD_NAMESPACE": "dicom-system"}
        self.log = Path(f"{self.environment['KUBECONFIG']}.operator-{self.port}.log")
        self.child = CONTEXT.Process(target=self.become, args=([*flags, *self.arguments], environment, str(self.log)))
        self.child.start()

    @property
    def pid(self) -> int:
        assert self.child is not None
        assert self.child.pid is not None
        return self.child.pid

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        assert self.child is not None
        os.kill(self.pid, signal.SIGKILL)
        self.child.join()

    def pause(self) -> None:
        """As a machine that is suspended, or starved."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        assert self.child is not None
        if self.child.is_alive():
            os.kill(self.pid, signal.SIGTERM)
            self.resume()  # a process that is paused ends when it wakes
        return self.wait_exit()

    def wait_exit(self) -> int:
        assert self.child is not None
        self.child.join(60)
        assert self.child.exitcode is not None
        return self.child.exitcode

    def http(self, path: str) -> tuple[int, str]:
        assert self.child is not None
        if not self.child.is_alive():
            raise AssertionError(f"the operator ended with {self.child.exitcode}: {self.output()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def calm(self) -> bool:
        """Whether it told no traceback."""
        return "Traceback" not in self.output()

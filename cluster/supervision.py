"""Running the components of a control plane or a whole cluster, and noticing when one of them ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import ComponentFailed, with_log
from cluster.linux import die_with_parent

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Component:
    """A program that is to run as long as its supervisor, or one that ends when its work is done."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    handle: int
    ends: bool

    def ended(self) -> str | None:
        """Say in a sentence how it ended; None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return with_log(f"{self.name} {how}.", self.log)


@dataclass(slots=True)
class Supervisor:
    """Starts components, and waits for conditions only as long as all of them run."""

    logs: Path
    components: list[Component] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], *, ends: bool = False) -> Component:
        """Start a component; it dies with its supervisor, whatever ends that one."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, preexec_fn=_tie_to_parent, start_new_session=True
            )
        component = Component(name, process, log, os.pidfd_open(process.pid), ends)
        self.components.append(component)
        return component

    def until(self, what: str, probe: Callable[[], bool], *, component: Component, timeout: float) -> None:
        """Wait for a condition that a component is to bring about; raise ComponentFailed if any component ends before."""
        deadline = time.monotonic() + timeout
        while not probe():
            if time.monotonic() > deadline:
                raise ComponentFailed(with_log(f"{component.name}: {what} is not so after {timeout:.0f} s.", component.log))
            self.wait(POLL_SECONDS)

    def finish(self, component: Component, timeout: float) -> None:
        """Wait for a component that is to end with exit status 0."""
        self.until("its end", lambda: component not in self.components, component=component, timeout=timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of a component and raise ComponentFailed, or return after the timeout."""
        poll = select.poll()
        for component in self.components:
            poll.register(component.handle, select.POLLIN)
        poll.poll(None if timeout is None else timeout * 1000)
        for component in list(self.components):
            if sentence := component.ended():
                self.components.remove(component)
                os.close(component.handle)
                if not (component.ends and component.process.returncode == 0):
                    raise ComponentFailed(sentence)

    def end(self, component: Component) -> None:
        """End one component at once, as a crash would."""
        component.process.kill()
        component.process.wait()
        os.close(component.handle)
        self.components.remove(component)

    def stop(self) -> None:
        """End all components, the last one first."""
        for component in list(reversed(self.components)):
            self.end(component)


def _tie_to_parent() -> None:
    die_with_parent(signal.SIGKILL)

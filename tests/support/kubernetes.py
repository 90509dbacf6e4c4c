"""kubectl as a test uses it, and waiting for what a controller brings about."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T], *, seconds: float = 60, every: float = 0.1) -> T:
    """Asks `condition` until it returns something true, which it returns; fails after `seconds` with `what` and its last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; last: {answer!r}")
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl in one namespace, with the KUBECONFIG of the environment."""

    namespace: str

    def run(self, *arguments: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs it; raises AssertionError with what it printed when it fails."""
        done = subprocess.run(["kubectl", "--namespace", self.namespace, *arguments], input=text, capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done

    def __call__(self, *arguments: str) -> str:
        """Runs it and returns what it printed."""
        return self.run(*arguments).stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        """`kubectl apply` of the documents."""
        self.run("apply", "-f", "-", text="\n---\n".join(json.dumps(document) for document in documents))

    def get(self, kind: str, name: str = "", **labels: str) -> Any:
        """One object, or the list of those with these labels; None when the named one is not there."""
        selector = ["--selector", ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []
        done = self.run("get", kind, *([name] if name else []), *selector, "-o", "json", check=False)
        if done.returncode:
            if "NotFound" in done.stderr:
                return None
            raise AssertionError(f"kubectl get {kind} {name}: {done.stderr}")
        found = json.loads(done.stdout)
        return found if name else found["items"]

    def patch(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        """A merge patch."""
        self.run("patch", kind, name, "--type=merge", "--patch", json.dumps(patch))


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type, or {}."""
    return next((item for item in resource.get("status", {}).get("conditions", []) if item["type"] == kind), {})

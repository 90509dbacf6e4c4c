"""What can go wrong, each with a sentence that says what to do next.

ClusterError
├── Missing          a tool, a right or a package that the machine does not have
├── CommandFailed    a program that we ran failed; carries the end of its log
└── ComponentFailed  a part of the cluster ended, or did not become ready
"""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 25


class ClusterError(Exception):
    """Shown to the user as it is, without a traceback."""


class Missing(ClusterError):
    """The machine lacks something that a person has to provide."""


class CommandFailed(ClusterError):
    """A program failed; the message ends with the tail and the path of its log."""


class ComponentFailed(ClusterError):
    """A component of the cluster is not there; the message ends with the tail and the path of its log."""


def with_log(sentence: str, log: Path) -> str:
    """Append the end of a log and its path to a sentence."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return f"{sentence} (it left no log at {log})"
    tail = "\n".join(f"  | {line[:500]}" for line in lines[-TAIL_LINES:])
    return f"{sentence} The end of {log}:\n{tail}" if tail else f"{sentence} It wrote nothing to {log}."

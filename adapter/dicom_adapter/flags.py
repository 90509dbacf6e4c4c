"""The flags of `dicom-adapter import`: a table, a scanner that reports every error at once, and the help text from the same table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_adapter.config import ConfigError
from dicom_adapter.google_flags import GOOGLE_FLAGS, IDLE_FLAGS
from dicom_adapter.reader import did_you_mean


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. A switch takes no value."""

    name: str
    value: str
    help: str
    switch: bool = False
    needs_value: bool = False


OWN_FLAGS = (
    Flag("--config", "FILE", "a DicomAdapter document, or its spec alone; the flags below win over it", needs_value=True),
    Flag("--mounts_directory", "DIRECTORY", "where secrets/NAME/KEY and configmaps/NAME/KEY are (default /etc/dicom-adapter)"),
    Flag(
        "--spool_directory",
        "DIRECTORY",
        "where images wait that are acknowledged before the store has them (default /var/spool/dicom-adapter with delivery.acknowledge: "
        "AfterSpool, else none); when it is given, what waits there is delivered in any case",
        needs_value=True,
    ),
    Flag(
        "--orders",
        "FILE",
        "what an operator wants of this pod of a StatefulSet without a restart (JSON: generation, replicas, suspend); read every second",
        needs_value=True,
    ),
    Flag("--http_port", "PORT", "port of /healthz, /readyz, /metrics and /status (default 8080)"),
    Flag("--http_host", "ADDRESS", "address that this port is opened on (default: all)"),
    Flag("--log_format", "json|text", "json as Cloud Logging reads it, or text for people (default json)"),
)
CHECK_FLAGS = (Flag("--json", "", "one JSON document instead of a line for each step", switch=True),)
ECHO_FLAGS = (
    Flag("--calling", "AE", "the AE title to call as (default DICOMADAPTER)", needs_value=True),
    Flag("--timeout", "SECONDS", "how long each step may take (default 10)", needs_value=True),
    *CHECK_FLAGS,
)
ROUTE_FLAGS = (
    Flag("--calling_ae", "AE", "the AE title that the sender calls itself (default none, which only a route for every sender matches)"),
    Flag("--json", "", "one JSON document instead of lines", switch=True),
)
FLAGS = (
    *OWN_FLAGS,
    *(Flag(flag.name, flag.value, flag.help, flag.switch) for flag in GOOGLE_FLAGS),
    *(Flag(flag.name, flag.value, "accepted, and without effect here", flag.switch) for flag in IDLE_FLAGS),
)


_OF_COMMAND = {"import": FLAGS, "check": (*CHECK_FLAGS, *FLAGS), "echo": ECHO_FLAGS, "route": (*ROUTE_FLAGS, *FLAGS)}


@dataclass(slots=True)
class Scanned:
    """What the command line said: the last value of each flag, and what was wrong."""

    values: dict[str, str] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)
    help: bool = False
    files: list[str] = field(default_factory=list)


def scan(arguments: Sequence[str], command: str = "import", known_flags: Sequence[Flag] = (), *, files: bool = False) -> Scanned:
    """Reads `--flag=value`, `--flag value` and bare switches, with `files` also words that are none.

    `check` and `route` take every flag of import: a Deployment's serve as they are.
    """
    known = {flag.name: flag for flag in known_flags or _OF_COMMAND[command]}
    found = Scanned()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        flag = known.get(name)
        if word in ("--help", "-h"):
            found.help = True
        elif flag is None and files and not word.startswith("-"):
            found.files.append(word)
        elif flag is None:
            found.errors.append(_unknown(name, known, command))
            if not equals and rest and not rest[0].startswith("--"):
                rest.pop(0)  # its value: one line is enough for one mistake
        elif flag.switch:
            if equals and value not in ("true", "false"):
                found.errors.append(ConfigError(name, f"is a switch and takes no value; write {name} alone"))
            found.values[name] = value or "true"
        elif equals and (value or not flag.needs_value):
            found.values[name] = value
        elif not equals and rest and not rest[0].startswith("--"):
            found.values[name] = rest.pop(0)
        else:
            found.errors.append(ConfigError(name, f"has no value; write {name}={flag.value}"))
    return found


def _unknown(name: str, known: dict[str, Flag], command: str) -> ConfigError:
    if not name.startswith("-"):
        return ConfigError(name, f"is not a flag; every argument of {command} begins with --")
    return ConfigError(
        name, f"is not a flag of this version{did_you_mean(name, known, likeness=0.75) or f'; dicom-adapter {command} --help lists them'}"
    )


def usage() -> str:
    """The help of `dicom-adapter import`."""
    own = "\n".join(line(flag) for flag in OWN_FLAGS)
    google = "\n".join(line(flag) for flag in FLAGS[len(OWN_FLAGS) :])
    return f"""\
usage: dicom-adapter import [--config FILE] [FLAG...]

Receives images over DIMSE (C-STORE) and stores them in a DICOMweb service (STOW-RS), and answers C-FIND, C-MOVE, C-GET and storage
commitment from it.

{own}

Flags of Google's adapter, in its spelling; each stands for a field of the document and wins over it:

{google}

  --help                       this text

Both --flag=value and --flag value work. A minimal document:

  aeTitle: IMPORTADAPTER
  dicomStore: https://pacs.example/dicom-web

Exit status: 0 after a drain (SIGTERM), 1 when it cannot run here, 2 when a flag or the document is wrong.
"""


def check_usage() -> str:
    """The help of `dicom-adapter check`."""
    lines = "\n".join(line(flag) for flag in (*OWN_FLAGS[:2], *CHECK_FLAGS, *FLAGS[len(OWN_FLAGS) :]))
    return f"""\
usage: dicom-adapter check [--config FILE] [FLAG...]

Walks the way to the store, and to each destination, step by step: name, connection, TLS, credentials, permission to search and to store.
It stores nothing. Each step is shown with the time that it took, and the first obstacle with a sentence that says what to do.

{lines}

  --help                       this text

Configuration and flags are those of dicom-adapter import; its other flags are accepted and change nothing here. In a pod of the operator
no flag is needed: kubectl exec deploy/NAME -- dicom-adapter check

Exit status: 0 when images can be stored everywhere, 1 when there is an obstacle, 2 when a flag or the document is wrong.
"""


def route_usage() -> str:
    """The help of `dicom-adapter route`."""
    lines = "\n".join(line(flag) for flag in (*OWN_FLAGS[:1], *ROUTE_FLAGS))
    return f"""\
usage: dicom-adapter route [--config FILE] FILE... [FLAG...]

Tells which routes and destinations DICOM files would take, and why; sends nothing. No patient's name, number or birthday is shown.

{lines}

  --help                       this text

The flags of dicom-adapter import are accepted, those of Google's adapter for destinations among them. In a pod of the operator no --config
is needed.

Exit status: 0 when every file would be taken, 1 when one cannot be read or would be refused, 2 when a flag or the document is wrong.
"""


def echo_usage() -> str:
    """The help of `dicom-adapter echo`."""
    lines = "\n".join(line(flag) for flag in ECHO_FLAGS)
    return f"""\
usage: dicom-adapter echo AE@HOST:PORT [FLAG...]

Calls a DICOM node with C-ECHO: name, connection, association, echo, each with the time that it took. Where it ends, a sentence says what
is wrong: the host, the port, the AE title, or that the node does not know us.

{lines}

  --help                       this text

Exit status: 0 when it answers, 1 when it does not, 2 when the command line is wrong.
"""


def line(flag: Flag) -> str:
    """A flag in a help text."""
    left = f"  {flag.name}" if flag.switch else f"  {flag.name}={flag.value}"
    text = textwrap.wrap(flag.help, 100)
    return f"{left:<30} " + ("\n" + " " * 31).join(text)

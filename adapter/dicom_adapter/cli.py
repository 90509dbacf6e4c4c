"""The command `dicom-adapter`.

Exit status: 0 after a drain, 1 when it cannot run here (one line), 2 when flags or document are wrong (a line per error). Each command's
help has its own.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import TextIO

from dicom_adapter import __version__, allocator, document, flags, google_flags, logs, messages, startup
from dicom_adapter.config import Config, ConfigError, ConfigErrors, LogLevel
from dicom_adapter.dimse import PeerAddress, is_ae_title
from dicom_adapter.echo import Call, echo
from dicom_adapter.environment import CannotRun, Environment
from dicom_adapter.node import Node, Surroundings
from dicom_adapter.reader import did_you_mean
from dicom_adapter.spec.store import GOOGLE_HOSTS

_CANNOT_RUN, _WRONG = 1, 2
_LONGEST_WAIT = 3600
_IN_THE_POD = "config/dicomadapter.yaml"  # below the mounts: where the operator puts the document

USAGE = """\
usage: dicom-adapter COMMAND [FLAG...]

A DICOM node whose storage is a DICOMweb service.

  import       receive images (C-STORE), store them (STOW-RS), answer queries; what runs when the first argument is a flag
  export       fetch what arrives in a store (WADO-RS) and send it to a DICOM node (C-STORE) or to another store
  check        walk the way to the store step by step and say what is in the way; stores nothing
  route        tell which routes and destinations DICOM files would take, and why; sends nothing
  spool        look into the spool: status, list, show, retry, discard, export
  echo         call another DICOM node (C-ECHO) and say what is in the way

  --help       this text; dicom-adapter COMMAND --help lists the flags of one
  --version    the version
"""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A checked command line."""

    config: Config
    surroundings: Surroundings
    style: logs.Format


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))


def main(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    out: TextIO,
    err: TextIO,
    *,
    google_hosts: Sequence[str] = GOOGLE_HOSTS,
) -> int:
    """Runs one command; returns the exit status. Google tokens go to `google_hosts` only, whatever the configuration says."""
    first = arguments[0] if arguments else "--help"
    if first in ("--help", "-h", "help"):
        out.write(USAGE)
        return 0
    if first == "--version":
        out.write(f"dicom-adapter {__version__}\n")
        return 0
    if first.startswith("--"):
        return _import(arguments, variables, out, err, google_hosts)
    if first not in _COMMANDS:
        err.write(f"{first}: is not a command{did_you_mean(first, _COMMANDS) or '; write import, or see --help'}\n")
        return _WRONG
    return _COMMANDS[first](arguments[1:], variables, out, err, google_hosts)


def _import(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    scanned = flags.scan(arguments)
    if scanned.help:
        out.write(flags.usage())
        return 0
    environment = Environment.read(variables)
    try:
        plan = _plan(scanned, environment, google_hosts)
    except ConfigErrors as errors:
        err.write(f"{errors}\n")
        return _WRONG
    log = logs.configure(err, plan.style, plan.config.log_level)
    warnings.simplefilter("ignore")  # pydicom's quote values
    try:
        environment.check(plan.config)
        for notice in google_flags.notices(scanned.values):
            log.write(logs.Severity.WARNING, "FlagWithoutEffect", notice)
        startup.allow_open_files()
        allocator.keep_freed_memory()
        with asyncio.Runner(loop_factory=startup.loop_factory()) as runner:
            return runner.run(_serve(plan, log))
    except CannotRun as error:
        err.write(f"{error}\n")
        return _CANNOT_RUN


# What only one of the others needs is imported by it: an adapter that starts has none of it to read.


def _check(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    from dicom_adapter.checks import check_all

    scanned = flags.scan(arguments, "check")
    if scanned.help:
        out.write(flags.check_usage())
        return 0
    environment = Environment.read(variables)
    _find_document(scanned)
    try:
        plan = _plan(scanned, environment, google_hosts)
        logs.configure(err, "text", LogLevel.ERROR)
        environment.check(plan.config)
        where = plan.surroundings.mounts
        reachable = check_all(plan.config, where, out, as_json="--json" in scanned.values, proxies=environment.proxies)
    except ConfigErrors as errors:
        err.write(f"{errors}\n")
        return _WRONG
    except CannotRun as error:
        err.write(f"{error}\n")
        return _CANNOT_RUN
    return 0 if reachable else _CANNOT_RUN


def _find_document(scanned: flags.Scanned) -> None:
    """In a pod, what is not said is in the document that the operator has put there."""
    in_pod = Path(scanned.values.get("--mounts_directory") or startup.MOUNTS, _IN_THE_POD)
    if not google_flags.ALIASES.values() & scanned.values.keys() and "--config" not in scanned.values and in_pod.exists():
        scanned.values["--config"] = str(in_pod)


def _route(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    from dicom_adapter.route import route

    scanned = flags.scan(arguments, "route", files=True)
    if scanned.help:
        out.write(flags.route_usage())
        return 0
    _find_document(scanned)
    if not scanned.files:
        scanned.errors.append(ConfigError("FILE", "is missing; name at least one DICOM file"))
    try:
        plan = _plan(scanned, Environment.read(variables), google_hosts)
    except ConfigErrors as errors:
        err.write(f"{errors}\n")
        return _WRONG
    logs.configure(err, "text", LogLevel.ERROR)
    taken = route(plan.config, scanned.files, scanned.values.get("--calling_ae", ""), out, as_json="--json" in scanned.values)
    return 0 if taken else _CANNOT_RUN


def _spool(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    from dicom_adapter.spool_command import spool

    return spool(arguments, variables, out, err, google_hosts)


def _export(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    from dicom_adapter.export.command import export

    return export(arguments, variables, out, err, google_hosts)


def _echo(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    words = [word for word in arguments[:1] if not word.startswith("--")]
    scanned = flags.scan(arguments[len(words) :], "echo")
    if scanned.help:
        out.write(flags.echo_usage())
        return 0
    try:
        call = _call(words[0] if words else "", scanned)
    except ConfigErrors as errors:
        err.write(f"{errors}\n")
        return _WRONG
    logs.configure(err, "text", LogLevel.ERROR)
    return 0 if asyncio.run(echo(call, out)) else _CANNOT_RUN


def _call(address: str, scanned: flags.Scanned) -> Call:
    errors, values = scanned.errors, scanned.values
    peer, seconds, title = None, 0.0, values.get("--calling", "DICOMADAPTER")
    try:
        peer = PeerAddress.parse(address)
    except ValueError:
        errors.append(ConfigError(address[:80] or "AE@HOST:PORT", f"names no node to call; {messages.PEER_FORM}"))
    with suppress(ValueError):
        seconds = float(values.get("--timeout", "10"))
    if not 0 < seconds <= _LONGEST_WAIT:
        errors.append(ConfigError("--timeout", f"'{values['--timeout'][:20]}' is no time; write seconds, at most {_LONGEST_WAIT}"))
    if not is_ae_title(title):
        errors.append(ConfigError("--calling", "is no AE title; write 1 to 16 printable ASCII characters without a backslash"))
    if errors or peer is None:
        raise ConfigErrors(errors)
    return Call(peer, title, seconds, "--json" in values)


_COMMANDS = {"import": _import, "check": _check, "route": _route, "spool": _spool, "echo": _echo, "export": _export}


async def _serve(plan: _Plan, log: logs.EventLog) -> int:
    gc.freeze()  # what the imports made stays for good: the collector need not look at it again
    return await Node(plan.config, plan.surroundings, log).run()


def _plan(scanned: flags.Scanned, environment: Environment, google_hosts: Sequence[str]) -> _Plan:
    """Everything that is wrong with flags and document in one go."""
    errors, values = scanned.errors, scanned.values
    overrides = google_flags.overrides(values, errors)
    spool_directory = google_flags.spool_directory(values, errors)
    own = startup.own_flags(values, errors)
    text = startup.read_document(values["--config"], errors) if "--config" in values else None
    file_given = "--config" in values or any(error.path == "--config" for error in errors)
    aliases = {path: flag for path, flag in google_flags.aliases(values).items() if not file_given or path in overrides}
    if not file_given:
        google_flags.from_environment(environment.google, overrides, aliases, errors)
    config: Config | None = None
    if text is not None or not file_given:
        try:
            config = document.load(text, overrides, aliases=aliases, google_hosts=google_hosts)
        except ConfigErrors as found:
            errors.extend(found.errors)
    if errors or config is None:
        raise ConfigErrors(errors)
    config = replaced(config, namespace=config.namespace or environment.pod_namespace)
    surroundings = Surroundings(
        mounts=own.mounts,
        http_host=own.http_host,
        http_port=own.http_port,
        port_flag="--dimse_port" if "spec.port" in overrides or not file_given else "spec.port",
        temporary_directory=environment.temporary_directory,
        proxies=environment.proxies,
        spool_directory=spool_directory,
        pod_name=environment.pod_name,
        orders=values.get("--orders", ""),
    )
    return _Plan(config, surroundings, own.style)

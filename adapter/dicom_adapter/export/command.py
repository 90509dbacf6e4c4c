"""`dicom-adapter export`: its flags, its help, and from both to a running exporter."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TextIO

from dicom_adapter import allocator, flags, logs, startup
from dicom_adapter.config import ConfigErrors
from dicom_adapter.environment import CannotRun, Environment
from dicom_adapter.export import document, google_flags
from dicom_adapter.export.config import KIND, ExportConfig
from dicom_adapter.export.node import ExportNode, Surroundings

_CANNOT_RUN, _WRONG = 1, 2
_OWN_FLAGS = (
    flags.Flag("--config", "FILE", f"a {KIND} document, or its spec alone; the flags below win over it", needs_value=True),
    *flags.OWN_FLAGS[1:],
    flags.Flag("--ledger", "FILE", "where source.poll and source.reconcile remember what was exported (default: in memory)"),
)
_FLAGS = (
    *_OWN_FLAGS,
    *(flags.Flag(flag.name, flag.value, flag.help, flag.switch) for flag in google_flags.GOOGLE_FLAGS),
    *(flags.Flag(flag.name, flag.value, "accepted, and without effect here", flag.switch) for flag in google_flags.IDLE_FLAGS),
)


@dataclass(frozen=True, slots=True)
class _Plan:
    config: ExportConfig
    surroundings: Surroundings
    style: logs.Format


def export(arguments: Sequence[str], variables: Mapping[str, str], out: TextIO, err: TextIO, google_hosts: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    scanned = flags.scan(arguments, "export", _FLAGS)
    if scanned.help:
        out.write(usage())
        return 0
    environment = Environment.read(variables)
    try:
        plan = _plan(scanned, environment, google_hosts)
        environment.check_key_file(plan.config.source.credentials)
        log = logs.configure(err, plan.style, plan.config.log_level)
        warnings.simplefilter("ignore")  # pydicom's quote values
        for notice in google_flags.notices(scanned.values):
            log.write(logs.Severity.WARNING, "FlagWithoutEffect", notice)
        startup.allow_open_files()
        allocator.keep_freed_memory()
        with asyncio.Runner(loop_factory=startup.loop_factory()) as runner:
            return runner.run(_serve(plan, log))
    except ConfigErrors as errors:
        err.write(f"{errors}\n")
        return _WRONG
    except (CannotRun, google_flags.WrongPeers) as error:
        err.write(f"{error}\n")
        return _CANNOT_RUN


async def _serve(plan: _Plan, log: logs.EventLog) -> int:
    gc.freeze()  # what the imports made stays for good: the collector need not look at it again
    return await ExportNode(plan.config, plan.surroundings, log).run()


def _plan(scanned: flags.Scanned, environment: Environment, google_hosts: Sequence[str]) -> _Plan:
    """Everything that is wrong with flags and document in one go."""
    errors, values = scanned.errors, scanned.values
    file_given = "--config" in values or any(error.path == "--config" for error in errors)
    try:
        overrides = google_flags.overrides(values, errors, document=file_given)
    except google_flags.WrongPeers:
        if errors:  # one of these may be the flag that is missed
            raise ConfigErrors(errors) from None
        raise
    own = startup.own_flags(values, errors)
    text = startup.read_document(values["--config"], errors, KIND) if "--config" in values else None
    aliases = {path: flag for path, flag in google_flags.ALIASES.items() if not file_given or path in overrides}
    config: ExportConfig | None = None
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
        proxies=environment.proxies,
        ledger=values.get("--ledger", ""),
    )
    return _Plan(config, surroundings, own.style)


def usage() -> str:
    """The help of `dicom-adapter export`."""
    own = "\n".join(flags.line(flag) for flag in _OWN_FLAGS)
    google = "\n".join(flags.line(flag) for flag in _FLAGS[len(_OWN_FLAGS) :])
    return f"""\
usage: dicom-adapter export [--config FILE] [FLAG...]

Pulls the notifications of a dicomStore from Pub/Sub, fetches what has arrived (WADO-RS) and sends it to a DICOM node (C-STORE) or to
another DICOMweb service (STOW-RS).

{own}

Flags of Google's export adapter, in its spelling; each stands for a field of the document and wins over it:

{google}

  --help                       this text

Both --flag=value and --flag value work. A minimal document:

  source:
    dicomStore: projects/P/locations/L/datasets/D/dicomStores/S
    pubsub: {{subscription: projects/P/subscriptions/X}}
  destination:
    peer: {{aeTitle: PACS, host: 10.1.2.3, port: 104}}

Exit status: 0 after a drain (SIGTERM), 1 when it cannot run here, 2 when a flag or the document is wrong.
"""

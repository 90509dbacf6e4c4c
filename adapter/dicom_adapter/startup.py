"""What every command does before it begins: its document and flags read, as many open files as there may be, the event loop."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_adapter.config import KIND, ConfigError
from dicom_adapter.google_flags import port_number

MOUNTS = "/etc/dicom-adapter"
_MAXIMUM_DOCUMENT = 1 << 20


def allow_open_files() -> None:
    """As many as we may have: an association takes two, and beyond the limit new connections would wait without a word.

    systemd and shells leave the soft limit at 1024 for programs that use select(); we use none.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@dataclass(frozen=True, slots=True)
class OwnFlags:
    """What the flags say that every process has."""

    mounts: Path
    http_host: str
    http_port: int
    style: Literal["json", "text"]


def own_flags(values: Mapping[str, str], errors: list[ConfigError]) -> OwnFlags:
    """Notes what is wrong with them."""
    http_port = port_number("--http_port", values.get("--http_port", "8080"), errors)
    style = values.get("--log_format", "json")
    if style not in ("json", "text"):
        errors.append(ConfigError("--log_format", f"'{style[:20]}' is not known; write json or text"))
    mounts = Path(values.get("--mounts_directory") or MOUNTS)
    return OwnFlags(mounts, values.get("--http_host", ""), http_port or 0, "json" if style == "json" else "text")


def read_document(name: str, errors: list[ConfigError], kind: str = KIND) -> str | None:
    """The text of a file that --config names; None after noting what is wrong with it."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(_MAXIMUM_DOCUMENT + 1)
        if len(content) > _MAXIMUM_DOCUMENT:
            raise ValueError("larger than 1 MiB")
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        why = (
            (error.strerror or "no access")
            if isinstance(error, OSError)
            else "not UTF-8 text"
            if isinstance(error, UnicodeDecodeError)
            else str(error)
        )
        errors.append(ConfigError("--config", f"cannot read '{name}' ({why}); name a readable {kind} document"))
        return None

"""What every command does before it begins: its document read, as many open files as there may be, the event loop."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

from dicom_adapter.config import KIND, ConfigError

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

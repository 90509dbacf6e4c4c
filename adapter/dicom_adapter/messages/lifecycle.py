"""Start, end, and what the probe of the store sees in between; diagnosis.py has the sentences of its states."""

from __future__ import annotations

from dicom_adapter.config import ConfigError
from dicom_adapter.messages.counting import counted


def listening(ae_title: str, port: int, store: str) -> str:
    """Start."""
    return f"'{ae_title}' listens on port {port} and stores into {store}"


def draining(associations: int) -> str:
    """SIGTERM."""
    return f"draining: {counted(associations, 'association')} open"


SUSPENDED = "spec.suspend is true: nothing is received; what waits in the spool is delivered"
LEAVING = "this pod is not wanted any more (spec.replicas): it receives nothing, and leaves when what waits in its spool is delivered"
DRAINED = "drained: every association has ended"


def cut_off(associations: int) -> str:
    """The second SIGTERM."""
    were = "was" if associations == 1 else "were"
    return f"aborted at once on a second signal: {counted(associations, 'association')} {were} open"


def cannot_listen(flag: str, port: int, why: str) -> str:
    """A port that cannot be opened."""
    return str(ConfigError(flag, f"port {port} cannot be opened ({why}); free it or choose another"))


def no_address(flag: str, host: str, why: str) -> str:
    """A host that has no address."""
    return str(ConfigError(flag, f"'{host}' is no address to listen on ({why}); write one of this machine's, or leave it out for all"))


def cannot_read_key_file(path: str, why: str) -> str:
    """GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read."""
    return str(ConfigError("GOOGLE_APPLICATION_CREDENTIALS", f"cannot read '{path}' ({why}); name a readable key file or unset it"))


def cannot_write_temporary(path: str, why: str) -> str:
    """The directory for temporary files."""
    return str(ConfigError("TMPDIR", f"cannot write to '{path}' ({why}); mount a writable directory there or name another"))


def answers_again(seconds: float) -> str:
    """The end of an outage."""
    minutes, rest = divmod(round(seconds), 60)
    return f"the store answers again after {f'{minutes} min ' if minutes else ''}{rest} s"

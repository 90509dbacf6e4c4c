"""What can go wrong with a spool.

- SpoolError: the instance was not taken, the sender keeps it

  - SpoolFull: no room by `spool.maxBytes`, `spool.reserveBytes` or the file system
  - SpoolFaulty: the disk has failed

- SpoolInUse: another process has the spool
"""

from __future__ import annotations

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)


class SpoolError(Exception):
    """An instance that is not in the spool; `text` is the Error Comment."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class SpoolFull(SpoolError):
    """There is no room. It ends by itself."""


class SpoolFaulty(SpoolError):
    """A file system's error; `final` when nothing can be acknowledged before a restart."""

    def __init__(self, text: str, code: str = "", *, final: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.final = final


class SpoolInUse(Exception):
    """The lock is held by another process."""


def why(error: OSError) -> str:
    """`input/output error`."""
    return (error.strerror or str(error)).lower()


def code(error: OSError) -> str:
    """`EIO`."""
    return errno.errorcode.get(error.errno or 0, "unknown error")


def is_full(error: OSError) -> bool:
    """Whether it is only that there is no room."""
    return error.errno in _FULL

"""pynetdicom as a peer, mended where it would fail a test that is right.

It drops the sockets of connections that ended early, open as they are: whichever test runs when the garbage collector finds one is told of
it, which is an error. And the thread that serves what a peer asks takes now and then the answer to a question of our own.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

_taken: list[tuple[Association, socket.socket]] = []
_set = AssociationSocket.__setattr__
_make = Association.__init__


class _Checkpoint(threading.Event):
    """Where the serving thread stops while a question is asked. It says that it stands only when it does."""

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association

    def wait(self, timeout: float | None = None) -> bool:
        while True:
            if self.is_set():
                self._association._is_paused = False
                if self.is_set():  # who clears it from now on sees that we go on, and waits for the next time
                    return True
            self._association._is_paused = True
            super().wait(timeout)


def _note(self: AssociationSocket, name: str, value: object) -> None:
    if name == "socket" and isinstance(value, socket.socket):
        _taken.append((self.assoc, value))
    _set(self, name, value)


def _begin(self: Association, *arguments: Any, **more: Any) -> None:
    _make(self, *arguments, **more)
    self._reactor_checkpoint = _Checkpoint(self)
    self._reactor_checkpoint.set()


@contextmanager
def mended() -> Iterator[None]:
    """Notes every socket that pynetdicom takes, and closes those whose association has ended; the others wait for the next time."""
    AssociationSocket.__setattr__ = _note  # type: ignore[method-assign,assignment]
    Association.__init__ = _begin  # type: ignore[method-assign]
    try:
        yield
    finally:
        AssociationSocket.__setattr__ = _set  # type: ignore[method-assign]
        Association.__init__ = _make  # type: ignore[method-assign]
        for one in list(_taken):
            association, taken = one
            if not association.is_alive():
                taken.close()
                _taken.remove(one)

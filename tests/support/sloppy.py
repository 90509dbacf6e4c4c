"""The sockets of pynetdicom as a peer: it drops those of connections that ended early, open as they are.

Whichever test runs when the garbage collector finds one would be told of an unclosed socket, which is an error.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

_taken: list[tuple[Association, socket.socket]] = []
_set = AssociationSocket.__setattr__


def _note(self: AssociationSocket, name: str, value: object) -> None:
    if name == "socket" and isinstance(value, socket.socket):
        _taken.append((self.assoc, value))
    _set(self, name, value)


@contextmanager
def closing_sockets() -> Iterator[None]:
    """Notes every socket that pynetdicom takes, and closes those whose association has ended; the others wait for the next time."""
    AssociationSocket.__setattr__ = _note  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        AssociationSocket.__setattr__ = _set  # type: ignore[method-assign]
        for one in list(_taken):
            association, taken = one
            if not association.is_alive():
                taken.close()
                _taken.remove(one)

"""The associations of one server: how many there are, in all and per peer, and whether new ones and new operations are welcome."""

import asyncio
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from dicom_adapter.dimse.associate import AssociateRequest
from dicom_adapter.dimse.handlers import Handlers
from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.negotiation import Extend
from dicom_adapter.dimse.observer import Observer, Peer, Rejection
from dicom_adapter.dimse.sopclasses import Service

if TYPE_CHECKING:
    from dicom_adapter.dimse.acceptor import AcceptedAssociation

Access = Callable[[AssociateRequest, str], Rejection | None]
"""Decides who may have an association at all: the request and the address it comes from in, a rejection or None out.

The request holds the user identity with its secrets: what keeps them must keep them out of logs.
"""


class Registry:
    """Keeps count. Everything in it happens on the event loop, so a count and the decision on it are one step."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ids = count(1)
        self._peers: Counter[tuple[str, str]] = Counter()
        self._changed = asyncio.Event()
        self.connections: set[AcceptedAssociation] = set()
        self.active = 0
        self.draining_since: float | None = None
        self.refusing = False
        self.aborted = False

    def refuse(self, peer: Peer) -> Rejection | None:
        """Return why `peer` cannot have an association now (PS3.8 table 9-21), if it cannot; it may try again."""
        if self.draining_since is not None:
            return Rejection(2, 3, 1, "this adapter is shutting down; the sender's next try reaches another one")
        limit = self._limits.max_associations
        if self.active >= limit:
            return Rejection(2, 3, 2, f"{self.active} of {limit} associations are open (spec.limits.maxAssociations)")
        limit, share = self._limits.max_associations_per_peer, self._peers[peer.ae_title, peer.address]
        if share >= limit:
            return Rejection(2, 3, 2, f"{share} of its {limit} associations are open (spec.limits.maxAssociationsPerPeer)")
        return None

    def enter(self, peer: Peer) -> int:
        """Count an association that was accepted and return its number, which no other of this process has."""
        self.active += 1
        self._peers[peer.ae_title, peer.address] += 1
        return next(self._ids)

    def leave(self, peer: Peer) -> None:
        """Count one that has ended."""
        self.active -= 1
        key = peer.ae_title, peer.address
        self._peers[key] -= 1
        if not self._peers[key]:
            del self._peers[key]

    def closed(self, association: "AcceptedAssociation") -> None:
        """Forget a connection, whatever it was."""
        self.connections.discard(association)
        self._changed.set()

    def notify(self) -> None:
        """Have the conditions of `until` asked again."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked again at each `notify` and whenever a connection ends."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


Permit = Callable[[AssociateRequest], Set[Service]]
"""Decides which services a requestor may have: for the others its presentation contexts are refused by the user (PS3.8 table 9-18)."""


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What every association of a server shares."""

    ae_titles: tuple[str, ...]
    handlers: Handlers
    limits: Limits
    observer: Observer
    registry: Registry = field(repr=False)
    access: Access | None = None
    extend: Extend | None = None
    permit: Permit | None = None

"""Whether the node receives: a pod with a spool stops when its operator says so, and goes on delivering.

The orders are a small JSON file in the mounted configuration, which the kubelet keeps up to date without a restart: the generation they
are of, how many pods are wanted (this one's number is at the end of its name), and whether all of them rest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_adapter import messages
from dicom_adapter.environment import CannotRun
from dicom_adapter.logs import EventLog, Severity
from dicom_adapter.state import NodeState, Reason

LOOK_SECONDS = 1.0
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Orders:
    """What is wanted. Without any, the node receives."""

    generation: int = 0
    replicas: int | None = None
    suspend: bool = False

    def rest(self, number: int | None) -> tuple[Reason, str] | None:
        """Why the pod of this number receives nothing; None: it receives."""
        if self.replicas is not None and number is not None and number >= self.replicas:
            return Reason.LEAVING, messages.LEAVING
        return (Reason.SUSPENDED, messages.SUSPENDED) if self.suspend else None


def read(path: Path, before: Orders) -> Orders:
    """The orders in a file; those of before while it cannot be read."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LONGEST))
        generation, replicas, suspend = found["generation"], found["replicas"], found["suspend"]
    except (OSError, ValueError, KeyError, TypeError):
        return before
    if not _is_count(generation) or not (replicas is None or _is_count(replicas)) or not isinstance(suspend, bool):
        return before
    return Orders(generation, replicas, suspend)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number_of(pod: str) -> int | None:
    """The number of a StatefulSet's pod: 2 of `ct-east-2`."""
    last = pod.rpartition("-")[2]
    return int(last) if last.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Door:
    """How the node begins and ends to receive. `shut` returns when the last association is closed."""

    open: Callable[[], Awaitable[None]]
    shut: Callable[[], Awaitable[None]]
    active: Callable[[], int]


class Receiving:
    """Heeds the orders."""

    def __init__(self, path: Path, pod: str, door: Door, state: NodeState, log: EventLog) -> None:
        self._path = path
        self._number = number_of(pod)
        self._door = door
        self._state = state
        self._log = log
        self._orders = Orders()
        self._open = False

    async def begin(self) -> None:
        """Opens, unless the orders are to rest. Raises CannotRun."""
        self._orders = read(self._path, self._orders)
        if (rest := self._orders.rest(self._number)) is None:
            await self._door.open()
            self._open = True
        else:
            self._rest(*rest)
        self._state.heed(self._orders.generation, closed=not self._open)

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Once. What the file says while the door is being shut is heeded afterwards."""
        self._orders = read(self._path, self._orders)
        generation, rest = self._orders.generation, self._orders.rest(self._number)
        if rest is not None:
            self._rest(*rest)
            if self._open:
                self._log.write(Severity.INFO, "Draining", messages.draining(self._door.active()))
                await self._door.shut()
                self._open = False
        elif not self._open:
            try:
                await self._door.open()
            except CannotRun as error:
                self._log.limited(Severity.ERROR, "NotReceiving", str(error), peer="", detail=str(error))
                return
            self._open = True
        self._state.heed(generation, closed=not self._open)

    def _rest(self, reason: Reason, text: str) -> None:
        if self._state.become(reason, text):
            self._log.write(Severity.INFO, str(reason), text)

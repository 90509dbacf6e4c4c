"""What is done to requests and events of several adapters at the same time, each in a namespace of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.api.proxy import Answer, Lost, Request
from tests.api.support import Api, Namespace

Step = Callable[[Namespace], object]


@dataclass
class AtWrite:
    """Does something at the n-th write in a namespace, before it is forwarded."""

    api: Api
    steps: dict[str, tuple[int, Step]]
    seen: Counter[str] = field(default_factory=Counter)
    done: set[str] = field(default_factory=set)

    async def before(self, request: Request) -> Answer | None:
        number, step = self.steps.get(request.namespace, (0, None))
        if request.write and request.target[0] != "events" and step:
            self.seen[request.namespace] += 1
            if self.seen[request.namespace] == number:
                other = Api(self.api.server)  # a client serves one thread
                await asyncio.to_thread(step, Namespace(other, request.namespace))
                other.close()
                self.done.add(request.namespace)
        return None


@dataclass
class LoseEvent:
    """Loses the n-th watch event about a namespace."""

    numbers: dict[str, int]
    seen: dict[str, Iterator[int]] = field(default_factory=lambda: defaultdict(lambda: itertools.count(1)))
    lost: set[str] = field(default_factory=set)

    def drop(self, _: str, event: dict[str, Any]) -> bool:
        namespace = event["object"]["metadata"].get("namespace", "")
        if namespace not in self.numbers:
            return False
        hit = next(self.seen[namespace]) == self.numbers[namespace]
        if hit:
            self.lost.add(namespace)
        return hit


Fault = Callable[[Request], "Answer | Exception | float"]
"""What happens instead of the answer; a number: silence for so many seconds, then the connection breaks."""


@dataclass
class Flaky:
    """Each kind of request in a namespace (method and object) meets its fault so many times."""

    faults: dict[str, Fault]
    times: int = 1
    kinds: Container[tuple[str, ...]] | None = None
    """Methods and targets that meet it; None: all."""
    met: Counter[tuple[str, ...]] = field(default_factory=Counter)
    stored_first: frozenset[str] = frozenset()
    """Namespaces in which the fault comes after the API server has done its work."""

    async def before(self, request: Request) -> Answer | None:
        return None if request.namespace in self.stored_first else await self._meet(request)

    async def after(self, request: Request) -> Answer | None:
        return await self._meet(request) if request.namespace in self.stored_first else None

    async def _meet(self, request: Request) -> Answer | None:
        fault, kind = self.faults.get(request.namespace), (request.namespace, request.method, *request.target)
        if fault is None or request.watch or self.met[kind] >= self.times:
            return None
        if self.kinds is not None and kind[1:] not in self.kinds:
            return None
        self.met[kind] += 1
        found = fault(request)
        if isinstance(found, Answer):
            return found
        if isinstance(found, float):
            await asyncio.sleep(found)
        raise Lost


@dataclass
class Gone:
    """Every other watch is answered with 410: its version is too old."""

    left: int = 12
    told: int = 0

    async def before(self, request: Request) -> Answer | None:
        if request.watch and self.told < self.left:
            self.told += 1
            if self.told % 2:
                return Answer(200, text=GONE)
        return None


GONE = (
    '{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    '"message":"too old resource version: 1 (2)","reason":"Expired","code":410}}\n'
)


def seconds(work: Callable[[], object]) -> float:
    """How long something took."""
    began = time.monotonic()
    work()
    return time.monotonic() - began

"""Asks each adapter pod for its `/status`, and wakes the adapter when the answer means something new.

No answer is no verdict: a pod that cannot be asked (starting, NetworkPolicy, no route) has no report.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp

from dicom_operator import api
from dicom_operator.api import Json, Key, Reason
from dicom_operator.observed import destinations
from dicom_operator.observed.backlog import parse_spool
from dicom_operator.observed.exporting import parse_export
from dicom_operator.observed.objects import PodReport, ended, owner_key

TICK_SECONDS = 1.0
YOUNG_SECONDS = 3.0
"""How soon a pod is asked again that has not answered yet, or does not know its store yet."""
LONGEST_SECONDS = 60.0
"""How soon at the least one that never answers: each time after twice as long, until it answers or is not what it was."""
TIMEOUT = aiohttp.ClientTimeout(total=5, sock_connect=3)
LONGEST_ANSWER = 64 * 1024
LONGEST_MESSAGE = 1024
AT_ONCE = 16


def parse_report(data: bytes) -> PodReport | None:
    """The answer of an adapter, version 1; None when it is none. A pod's answer is foreign data: types and lengths are checked."""
    try:
        body = json.loads(data)
        exports = "delivering" in body
        store = body["source" if exports else "store"]
        texts = [body["reason"], body["message"], store["reason"], store["message"]]
        if body["version"] != 1 or not isinstance(body["ready"], bool) or not all(isinstance(text, str) for text in texts):
            return None
        spool = parse_spool(body, _one_line)
        export = parse_export(body, _one_line) if exports else None
        found = () if exports else destinations.parse(body, _one_line)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    reason, message, store_reason, store_message = map(_one_line, texts)
    return PodReport(body["ready"], reason, message, store_reason, store_message, spool, found, export)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:LONGEST_MESSAGE]).strip()


@dataclass(frozen=True, slots=True)
class _Silence:
    """A pod has given no answer: as what it was asked, when, and for how long it is left alone."""

    version: str
    asked: float
    seconds: float


class Prober:
    """Asks the pods in turn."""

    def __init__(
        self,
        pods: Callable[[], Iterable[Json]],
        enqueue: Callable[[Key], None],
        seconds: float,
        clock: Callable[[], float],
        port: int = api.HTTP_PORT,
        changes: Callable[[], object] = object,
    ) -> None:
        """`changes` gives something else whenever the pods may be others."""
        self._pods = pods
        self._enqueue = enqueue
        self._seconds = seconds
        self._clock = clock
        self._port = port
        self._changes = changes
        self._looked_at: object = None
        self._soonest = 0.0
        self._due: dict[str, float] = {}
        self._silent: dict[str, _Silence] = {}
        self.reports: dict[str, PodReport | None] = {}
        """The last answer of each pod, by its uid; None: it was asked and gave none."""

    def forget(self) -> None:
        """What was told before another replica led says nothing of now."""
        self._due.clear()
        self._silent.clear()
        self.reports.clear()
        self._looked_at = None

    async def run(self) -> None:
        """Asks for ever."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                await self.tick(session)
                await asyncio.sleep(TICK_SECONDS)

    async def tick(self, session: aiohttp.ClientSession) -> None:
        """Asks the pods whose time has come, a few at once; to go through all of them each second would be most of an idle hour's work."""
        now, due = self._clock(), []
        if (changes := self._changes()) == self._looked_at and now < self._soonest:
            return
        self._looked_at = changes
        alive = set()
        for pod in self._pods():
            address = (pod.get("status") or {}).get("podIP")
            if address and not ended(pod) and not pod["metadata"].get("deletionTimestamp"):
                uid = pod["metadata"]["uid"]
                alive.add(uid)
                if (silence := self._silent.get(uid)) is not None and silence.version != _version(pod):
                    del self._silent[uid]
                    self._due[uid] = min(self._due[uid], silence.asked + YOUNG_SECONDS)
                if self._due.get(uid, 0.0) <= now:
                    due.append((pod, address))
        for uid in [uid for uid in self._due if uid not in alive]:
            self._due.pop(uid)
            self._silent.pop(uid, None)
            self.reports.pop(uid, None)
        gate = asyncio.Semaphore(AT_ONCE)

        async def ask(pod: Json, address: str) -> None:
            async with gate:
                self._take(pod, await self._ask(session, address))

        await asyncio.gather(*(ask(pod, address) for pod, address in due))
        self._soonest = min(self._due.values(), default=math.inf)

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> PodReport | None:
        host = f"[{address}]" if ":" in address else address
        try:
            async with session.get(f"http://{host}:{self._port}/status", allow_redirects=False) as answer:
                if answer.status != 200:
                    return None
                return parse_report(await _bounded(answer.content.iter_any()))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    def _take(self, pod: Json, report: PodReport | None) -> None:
        uid = pod["metadata"]["uid"]
        news = uid not in self.reports or self.reports[uid] != report
        self.reports[uid] = report
        now, silence = self._clock(), self._silent.pop(uid, None)
        if report is None:
            seconds = YOUNG_SECONDS if silence is None else min(2 * silence.seconds, LONGEST_SECONDS)
            self._silent[uid] = _Silence(_version(pod), now, seconds)
        else:
            seconds = YOUNG_SECONDS if report.export is None and report.store_reason == Reason.NOT_PROBED else self._seconds
        self._due[uid] = now + seconds
        if news and (key := owner_key(pod)):
            self._enqueue(key)


def _version(pod: Json) -> str:
    return str(pod["metadata"].get("resourceVersion"))


async def _bounded(chunks: AsyncIterator[Any]) -> bytes:
    data = b""
    async for chunk in chunks:
        data += chunk
        if len(data) > LONGEST_ANSWER:
            return b""
    return data

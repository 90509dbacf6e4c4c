"""Google's Pub/Sub for tests: the emulator in cluster/go/pubsub, a process of its own, and what a publisher says to it."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import aiohttp

from cluster import binaries
from cluster.artefacts import Cache
from cluster.paths import paths_from

PROJECT = "projects/p"
TOPIC = f"{PROJECT}/topics/images"
DEAD = f"{PROJECT}/topics/dead"
SUBSCRIPTION = f"{PROJECT}/subscriptions/export"


@cache
def program() -> Path:
    """The emulator, built when it is not yet there."""
    paths = paths_from(os.environ, Path.home())
    return Cache(paths.cache).obtain(binaries.artefact(paths.source, binaries.PUBSUB)) / "pubsub"


@dataclass(frozen=True, slots=True)
class Message:
    """What became of a message so far."""

    id: str
    topic: str
    data: str
    attributes: Mapping[str, str]
    deliveries: int
    acks: int
    deadlines: tuple[int, ...]


class PubSub:
    """A topic and a subscription. Async context manager; leaves nothing running."""

    def __init__(self, *, deadline: int = 10, dead_letter_after: int = 0, shortest: int = 10, host: str = "127.0.0.1") -> None:
        self._deadline = deadline
        self._dead_letter_after = dead_letter_after
        self._shortest = shortest
        self._host = host
        self.url = ""

    async def __aenter__(self) -> Self:
        command = [str(await asyncio.to_thread(program)), f"--minimum-ack-deadline={self._shortest}s", f"--listen={self._host}:0"]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        self._session = aiohttp.ClientSession()
        try:
            assert self._process.stdout
            self.url = f"http://{(await self._process.stdout.readline()).decode().strip()}"
            for topic in (TOPIC, DEAD):
                await self._call("PUT", f"/v1/{topic}", {})
            subscription: dict[str, Any] = {"topic": TOPIC, "ackDeadlineSeconds": self._deadline}
            if self._dead_letter_after:
                subscription["deadLetterPolicy"] = {"deadLetterTopic": DEAD, "maxDeliveryAttempts": self._dead_letter_after}
            await self._call("PUT", f"/v1/{SUBSCRIPTION}", subscription)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with self._session.request(method, self.url + path, json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def publish(self, *texts: str, **attributes: str) -> list[str]:
        """Messages with these texts, all with the same attributes; gives their ids."""
        found: list[str] = []
        for start in range(0, len(texts), 500):
            body = [{"data": base64.b64encode(text.encode()).decode(), "attributes": attributes} for text in texts[start : start + 500]]
            found += (await self._call("POST", f"/v1/{TOPIC}:publish", {"messages": body}))["messageIds"]
        return found

    async def fault(self, verb: str, **what: Any) -> None:
        """What becomes of the next requests with a verb; see cluster/go/pubsub/script.go. `count=0` ends the faults of a verb."""
        await self._call("POST", "/control/faults", {"verb": verb, "count": 1, **what})

    async def state(self) -> dict[str, Any]:
        """Everything that it has seen."""
        return dict(await self._call("GET", "/control/state"))

    async def messages(self, topic: str = TOPIC) -> dict[str, Message]:
        """The messages of a topic by their ids."""
        return {
            one["id"]: Message(
                one["id"],
                one["topic"],
                base64.b64decode(one["data"] or "").decode(),
                one["attributes"] or {},
                one["deliveries"],
                one["acks"],
                tuple(one["deadlines"] or ()),
            )
            for one in (await self.state())["messages"]
            if one["topic"] == topic
        }

    async def until(
        self, condition: Callable[[dict[str, Message]], object], seconds: float = 60.0, topic: str = TOPIC
    ) -> dict[str, Message]:
        """Waits until the messages of a topic fulfil a condition; gives them."""
        found: dict[str, Message] = {}
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(seconds):
                while True:
                    began = clock()
                    if condition(found := await self.messages(topic)):
                        return found
                    await asyncio.sleep(max(0.02, 5 * (clock() - began)))  # thousands take their time, and others have this loop too
        except TimeoutError:
            raise AssertionError(f"after {seconds} s: {list(found.values())[:20]}") from None

    async def acknowledged(self, ids: Sequence[str], seconds: float = 60.0) -> dict[str, Message]:
        """Waits until all of these are acknowledged."""
        return await self.until(lambda found: all(found[one].acks for one in ids), seconds)

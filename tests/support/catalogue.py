"""A store with any number of studies to search, made up as they are asked for: for queries with many results, and for cancelled ones."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.support import faults
from tests.support.store import FaultStore

UID = "1.2.826.0.1.3680043.10.1512"


def study(number: int) -> dict[str, Any]:
    """A study as DICOM JSON has it, with what a workstation's list shows."""
    return {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": [f"2026{number % 12 + 1:02}{number % 28 + 1:02}"]},
        "00080030": {"vr": "TM", "Value": [f"{number % 24:02}{number % 60:02}00"]},
        "00080050": {"vr": "SH", "Value": [f"A{number:06}"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Größer^Änne"}]},
        "00081030": {"vr": "LO", "Value": [f"Study {number} of the chest"]},
        "00081190": {"vr": "UR", "Value": [f"https://pacs.example/dicom-web/studies/{UID}.{number}"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"Doe^Jane^{number}"}]},
        "00100020": {"vr": "LO", "Value": [f"P{number:06}"]},
        "00100030": {"vr": "DA", "Value": ["19700101"]},
        "00100040": {"vr": "CS", "Value": ["F"]},
        "0020000D": {"vr": "UI", "Value": [f"{UID}.{number}"]},
        "00200010": {"vr": "SH", "Value": [str(number)]},
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [512]},
    }


class Catalogue(FaultStore):
    """`count` studies; no page has more than `most` of them. The `script` acts on the next searches. From
    page `stuck` on (the first is 0) they get no answer."""

    def __init__(self, count: int, *, most: int = 5000, stuck: int | None = None, delay: float = 0.0) -> None:
        super().__init__()
        self.count = count
        self.most = most
        self.stuck = stuck
        self.delay = delay
        self.searches: list[tuple[int, int]] = []
        self.under_way = 0
        self.given_up = 0

    def _routes(self, app: web.Application) -> None:
        super()._routes(app)
        app.router.add_get("/dicom-web/{level:series|instances}", self._search)

    async def _search(self, request: web.Request) -> web.StreamResponse:
        if "offset" not in request.query:  # the adapter's probe
            return await super()._search(request)
        self._note(request)
        limit, offset = int(request.query["limit"]), int(request.query["offset"])
        self.searches.append((limit, offset))
        if self.stuck is not None and len(self.searches) > self.stuck:
            await self._until_given_up(request)
        await asyncio.sleep(self.delay)
        if self.script:
            return await faults.answer(request, self.script.popleft(), None)
        numbers = range(offset, min(self.count, offset + min(limit, self.most)))
        return web.Response(text=json.dumps([study(number) for number in numbers]), content_type="application/dicom+json")

    async def _until_given_up(self, request: web.Request) -> None:
        """No answer: until whoever asked closes the connection."""
        self.under_way += 1
        self._changed.set()
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 -- aiohttp tells nobody
            await asyncio.sleep(0.01)
        self.under_way -= 1
        self.given_up += 1
        self._changed.set()

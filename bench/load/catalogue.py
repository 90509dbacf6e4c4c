"""A store with any number of studies, which answers searches as fast as the network lets it: each page is made once.

    python -m bench.load.catalogue COUNT [MILLISECONDS]

serves it, and prints its port. Every answer takes so many milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web

from tests.support.catalogue import study


async def serve(count: int, delay: float) -> None:
    """Until the process ends."""
    pages: dict[tuple[int, int], bytes] = {}

    async def search(request: web.Request) -> web.Response:
        limit, offset = int(request.query.get("limit", "100")), int(request.query.get("offset", "0"))
        if (limit, offset) not in pages:
            pages[limit, offset] = json.dumps([study(number) for number in range(offset, min(count, offset + limit))]).encode()
        await asyncio.sleep(delay)
        return web.Response(body=pages[limit, offset], content_type="application/dicom+json")

    app = web.Application()
    app.router.add_get("/dicom-web/studies", search)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))

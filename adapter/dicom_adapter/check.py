"""`dicom-adapter check`: the way to the store, one line a step, for people or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from dicom_adapter import __version__, credentials, steps
from dicom_adapter.config import Config
from dicom_adapter.dicomweb.client import DicomwebClient
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies
from dicom_adapter.reach import Step, Way
from dicom_adapter.state import StoreReason

VERSION = 1


class _Uncounted:
    """There is no /metrics to count for."""

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """Nothing."""


async def check(config: Config, mounts: Path, out: TextIO, *, as_json: bool, proxies: Proxies = NO_PROXIES) -> bool:
    """Walks the way, tells of each step, and whether all of it is open. Stores nothing."""
    access = credentials.access(config.credentials, mounts)
    client = DicomwebClient(
        config.store.url,
        headers=access.credentials.headers,
        refused=access.credentials.refused,
        tls=access.tls.context,
        observer=_Uncounted(),
        connections=1,
        user_agent=f"dicom-adapter/{__version__} check",
        proxies=credentials.proxies(config.credentials, proxies),
    )
    taken: list[Step] = []
    if not as_json:
        out.write(f"the way to {config.store.url}\n")
    async with client:
        async for step in Way(client, access, config).walk():
            taken.append(step)
            if not as_json:
                out.write(steps.line(step))
                out.flush()
    obstacle = next((step for step in taken if step.found), None)
    if as_json:
        out.write(json.dumps(_document(config, taken, obstacle), indent=2) + "\n")
    elif obstacle:
        out.write(f"not reachable, at {obstacle.name}\n")
    else:
        out.write("reachable: images can be stored\n")
    return obstacle is None


def _document(config: Config, taken: list[Step], obstacle: Step | None) -> dict[str, Any]:
    return {
        "version": VERSION,
        "adapterVersion": __version__,
        "store": config.store.url,
        "reason": str(obstacle.found.reason if obstacle and obstacle.found else StoreReason.REACHABLE),
        "message": obstacle.message if obstacle else "the store answers",
        "steps": [steps.entry(step) for step in taken],
    }

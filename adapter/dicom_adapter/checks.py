"""`dicom-adapter check` with `spec.destinations`: the way to the store, then the way to each of them, whatever is wrong with the others."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from dicom_adapter.check import check
from dicom_adapter.config import Config, Destination, DicomwebDestination
from dicom_adapter.dicomweb.proxies import NO_PROXIES, Proxies
from dicom_adapter.dimse import PeerAddress
from dicom_adapter.echo import Call, echo

_SECONDS = 10.0


def check_all(config: Config, mounts: Path, out: TextIO, *, as_json: bool, proxies: Proxies = NO_PROXIES) -> bool:
    """Walks every way, and tells whether all of them are open. Stores nothing."""
    if not config.destinations:
        return asyncio.run(check(config, mounts, out, as_json=as_json, proxies=proxies))
    walk = _Walk(config, mounts, proxies, as_json)
    if not as_json:
        reachable = [asyncio.run(check(config, mounts, out, as_json=False, proxies=proxies))]
        for index, destination in enumerate(config.destinations):
            out.write(f"\n'{destination.name}': ")
            reachable.append(walk.to(destination, index, out))
        return all(reachable)
    whole = io.StringIO()
    reachable = [asyncio.run(check(config, mounts, whole, as_json=True, proxies=proxies))]
    document: dict[str, Any] = {**json.loads(whole.getvalue()), "destinations": []}
    for index, destination in enumerate(config.destinations):
        part = io.StringIO()
        reachable.append(walk.to(destination, index, part))
        document["destinations"].append({"name": destination.name, **json.loads(part.getvalue())})
    out.write(json.dumps(document, indent=2) + "\n")
    return all(reachable)


@dataclass(frozen=True, slots=True)
class _Walk:
    config: Config
    mounts: Path
    proxies: Proxies
    as_json: bool

    def to(self, destination: Destination, index: int, out: TextIO) -> bool:
        """To one destination."""
        if isinstance(destination, DicomwebDestination):
            config = replace(self.config, store=destination.store, credentials=destination.credentials)
            said = io.StringIO()
            reachable = asyncio.run(check(config, self.mounts, said, as_json=self.as_json, proxies=self.proxies))
            out.write(_of_destination(said.getvalue(), index))
            return reachable
        peer = PeerAddress(destination.ae_title, destination.host, destination.port)
        return asyncio.run(echo(Call(peer, self.config.calling, _SECONDS, self.as_json), out))


def _of_destination(text: str, index: int) -> str:
    """The sentences name the fields of the destination, not those of the store."""
    for name in ("dicomStore", "credentials"):
        text = text.replace(f"spec.{name}", f"spec.destinations[{index}].{name}")
    return text

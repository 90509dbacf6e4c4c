"""A STOW-RS sink that is far away and takes several instances in a request: it names each of them in its answer.

    python -m bench.load.batches

Prints its port. A line `MILLISECONDS SHARE` on its standard input sets how late it answers, and the share of requests answered with 503.
"""

from __future__ import annotations

import json

import uvloop

from bench.load.far import FarConnection, serve

_ELEMENT = b"\x02\x00\x03\x00UI"  # (0002,0003) Media Storage SOP Instance UID
_LONGEST = len(_ELEMENT) + 2 + 64


class BatchConnection(FarConnection):
    """Looks for the UIDs in all of the body, also across what was read together."""

    def _begin(self) -> None:
        super()._begin()
        self._uids: list[str] = []
        self._tail = b""

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes."""
        seen = self._tail + bytes(self.buffer[:nbytes])
        at = seen.find(_ELEMENT)
        while at >= 0 and at + _LONGEST <= len(seen):
            length = int.from_bytes(seen[at + 6 : at + 8], "little")
            self._uids.append(seen[at + 8 : at + 8 + length].rstrip(b"\0").decode("ascii", "replace"))
            at = seen.find(_ELEMENT, at + _LONGEST)
        self._tail = seen[at:] if at >= 0 else seen[-_LONGEST:] if not self._uids or _ELEMENT not in seen[-_LONGEST:] else b""
        super().buffer_updated(nbytes)

    def _body(self) -> bytes:
        items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in dict.fromkeys(self._uids)]
        return json.dumps({"00081199": {"vr": "SQ", "Value": items}}).encode()


if __name__ == "__main__":
    uvloop.run(serve(BatchConnection))

"""A sender that costs next to nothing: one pre-encoded C-STORE, sent again and again with a new SOP Instance UID written into it.

    python -m bench.load.scu PORT FILE FIRST

A line `N` on its standard input associates; it answers `ready` and waits for another line, sends N instances, each after the answer to the
one before, and answers with the clock (CLOCK_MONOTONIC) at the first byte and at the last answer. Another line releases the association.
FIRST numbers the instances.
"""

from __future__ import annotations

import re
import struct
import sys
import time
from pathlib import Path

from bench.load.images import CT_STORAGE, EXPLICIT, data_set, uid
from tests.support.rawscu import COMMAND, DATA, LAST, RawScu, associate_rq, context, pdata, pdv, store_rq

SUCCESS = struct.pack("<HHLH", 0, 0x0900, 2, 0)  # (0000,0900) Status


class Message:
    """An encoded C-STORE request whose instance can be exchanged."""

    def __init__(self, file: Path, peer_maximum_length: int) -> None:
        data = data_set(file)
        room = (peer_maximum_length or 131072) - 6
        pdus = [pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, uid(0))))]
        pdus += (
            pdata(pdv(1, LAST if start + room >= len(data) else DATA, data[start : start + room])) for start in range(0, len(data), room)
        )
        self.encoded = bytearray(b"".join(pdus))
        self._places = [match.start() for match in re.finditer(re.escape(uid(0).encode()), self.encoded[:131072])]

    def name(self, number: int) -> None:
        """Make it another instance."""
        name = uid(number).encode()
        for place in self._places:
            self.encoded[place : place + len(name)] = name


def send(port: int, file: Path, first: int, count: int) -> None:
    """Send `count` instances over an association of their own."""
    with RawScu("127.0.0.1", port, 300) as scu:
        scu.associate(associate_rq("SINK", "BENCH", [context(1, CT_STORAGE, EXPLICIT)], maximum_length=131072))
        message = Message(file, int.from_bytes(scu.user_items()[0x51], "big"))
        print("ready", flush=True)
        sys.stdin.readline()
        connection = scu.socket
        began = time.monotonic()
        for number in range(first, first + count):
            message.name(number)
            connection.sendall(message.encoded)
            answer = connection.recv(4096)
            while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
                part = connection.recv(4096)
                if not part:
                    sys.exit("the receiver closed the connection")
                answer += part
            if SUCCESS not in answer:
                sys.exit(f"not stored: {answer!r}")
        print(began, time.monotonic(), flush=True)
        sys.stdin.readline()
        scu.release()


def main() -> None:
    """Serve rounds until standard input ends."""
    port, file, first = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for line in sys.stdin:
        send(port, file, first, int(line))
        first += int(line)


if __name__ == "__main__":
    main()

"""The black-box fuzzer: `python -m tests.soak.attack PORT SECONDS SEED` sends hostile input with eight workers and prints what came of it.

Half of the inputs are the kinds of `tests.support.hostile`, and what is answered must be what each kind deserves. The other half are the
same, damaged anywhere: there anything that an acceptor may say is right, and that it closes when we have no more to say. The same seed
sends the same inputs, in another order of the workers.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from tests.support.hostile import BEGINNINGS, Hostile, Misbehaved, catalogue, play
from tests.support.rawscu import RawScu

WORKERS = 8
PDU_TYPES_OF_AN_ACCEPTOR = {2: "A-ASSOCIATE-AC", 3: "A-ASSOCIATE-RJ", 4: "P-DATA-TF", 6: "A-RELEASE-RP", 7: "A-ABORT"}


def flip(rng: Random, data: bytearray) -> None:
    """Some other bits."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(rng: Random, data: bytearray) -> None:
    """A piece less."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 40)]


def repeat(rng: Random, data: bytearray) -> None:
    """A piece twice."""
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randint(1, 400)]


def insert(rng: Random, data: bytearray) -> None:
    """Something in between."""
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.randint(1, 40))


def exaggerate(rng: Random, data: bytearray) -> None:
    """A number somewhere that is too small or too large."""
    start = rng.randrange(len(data))
    number = rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFC, 0xFFFFFFFF])
    data[start : start + 4] = struct.pack(rng.choice("<>") + "L", number)


DAMAGE: tuple[Callable[[Random, bytearray], None], ...] = (flip, cut, repeat, insert, exaggerate)


def damaged(kind: Hostile, rng: Random) -> bytes:
    """All that would be sent for a kind, from the first byte of the connection, with damage in a few places."""
    data = bytearray(BEGINNINGS[kind.where] + kind.make(rng)) or bytearray(1)
    for _ in range(rng.randint(1, 3)):
        rng.choice(DAMAGE)(rng, data)
        data = data or bytearray(1)
    return bytes(data)


def throw(port: int, data: bytes, rng: Random) -> None:
    """Send it and leave, or hear what there is to hear and see the other side close."""
    with RawScu("127.0.0.1", port, timeout=60) as scu:
        try:
            scu.send(data)
            match rng.randrange(4):
                case 0:
                    scu.send_reset()
                case 1:
                    pass
                case _:
                    scu.socket.shutdown(socket.SHUT_WR)
                    _listen(scu)
        except (ConnectionError, BrokenPipeError):
            return  # it hung up before it had heard all


def _listen(scu: RawScu) -> None:
    heard = bytearray()
    while data := scu.socket.recv(1 << 16):
        heard += data
    position = 0
    while position + 6 <= len(heard):
        kind, length = struct.unpack_from(">BxL", heard, position)
        if kind not in PDU_TYPES_OF_AN_ACCEPTOR:
            raise Misbehaved(f"a PDU of type {kind}")
        position += 6 + length
    if position != len(heard):
        raise Misbehaved("half a PDU")


@dataclass
class Tally:
    """What the workers did."""

    inputs: int = 0
    failures: list[str] = field(default_factory=list)


def work(port: int, until: float, rng: Random, kinds: list[Hostile], tally: Tally) -> None:
    """One worker."""
    while time.monotonic() < until and not tally.failures:
        kind = rng.choice(kinds)
        faithful = rng.random() < 0.5
        state = rng.getrandbits(64)
        try:
            if faithful:
                play(kind, port, Random(state))
            else:
                throw(port, damaged(kind, Random(state)), Random(state))
        except Exception:
            tally.failures.append(f"{kind.name}, {'as it is' if faithful else 'damaged'}, {state}:\n{traceback.format_exc(limit=-4)}")
        tally.inputs += 1


def main() -> None:
    """Print a line of JSON."""
    port, seconds, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    tally, kinds = Tally(), catalogue()
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        for number in range(WORKERS):
            pool.submit(work, port, began + seconds, Random(f"{seed} {number}"), kinds, tally)
    print(json.dumps({"inputs": tally.inputs, "seconds": time.monotonic() - began, "failures": tally.failures}))


if __name__ == "__main__":
    main()

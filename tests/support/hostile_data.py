"""Hostile input on an association below DIMSE: PDUs in the wrong state, lengths that lie, broken order (PS3.8 9.2, 9.3.5, E)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import product
from random import Random

from tests.support.hostile import (
    ABORTED_BY_PROVIDER,
    ASSOCIATION,
    ECHO,
    STORE,
    Aborted,
    Answered,
    Closed,
    Hostile,
    Left,
    Where,
    fixed,
)
from tests.support.rawscu import (
    ABORT,
    COMMAND,
    CT_STORAGE,
    DATA,
    LAST,
    RELEASE_RQ,
    echo_rq,
    pdata,
    pdu,
    pdv,
    store_rq,
)

UNEXPECTED = {
    "a second A-ASSOCIATE-RQ": ASSOCIATION,
    "an A-ASSOCIATE-AC": pdu(2, bytes(68)),
    "an A-ASSOCIATE-RJ": pdu(3, bytes(4)),
    "an A-RELEASE-RP": pdu(6, bytes(4)),
}
FIXED_LENGTH = {"A-ASSOCIATE-RJ": 3, "A-RELEASE-RQ": 5, "A-RELEASE-RP": 6, "A-ABORT": 7}
BIG = 131072


def value(length: int, control: int, data: bytes, context_id: int = STORE) -> bytes:
    """A presentation data value that says `length`."""
    return struct.pack(">LBB", length, context_id, control) + data


def kinds() -> Iterator[Hostile]:
    """Every kind of this chapter."""
    yield from _wrong_pdus()
    yield from _lengths()
    yield from _order()
    yield from _endings()


def _noise(rng: Random) -> bytes:
    """No PDU, and not less than the header of one: that would be waited for."""
    return b"\xee" + rng.randbytes(rng.randrange(5, 3000))


def _wrong_pdus() -> Iterator[Hostile]:
    for where, (name, data) in product((Where.ASSOCIATION, Where.DATA_SET), UNEXPECTED.items()):
        yield Hostile(f"{name} {where}", where, fixed(data), Aborted(2, 2))
    for where, kind in product((Where.ASSOCIATION, Where.DATA_SET), (0, 8, 9, 0x41, 0x47, 0x80, 0xFF)):
        yield Hostile(f"PDU type {kind} {where}", where, fixed(pdu(kind, bytes(4))), Aborted(2, 1))
    yield Hostile("random bytes inside a data set", Where.DATA_SET, _noise, Aborted(2, 1))
    yield Hostile("a release inside a data set", Where.DATA_SET, fixed(RELEASE_RQ), Left("close"))
    yield Hostile("an abort inside a data set", Where.DATA_SET, fixed(ABORT), Closed())
    for name, data in {**UNEXPECTED, "data": pdata(pdv(ECHO, COMMAND | LAST, echo_rq())), "a second A-RELEASE-RQ": RELEASE_RQ}.items():
        yield Hostile(f"{name} after the release", Where.RELEASED, fixed(data), Left("close"))
    yield Hostile("an abort after the release", Where.RELEASED, fixed(ABORT), Closed())


def _lengths() -> Iterator[Hostile]:
    for where, (name, kind), length in product((Where.ASSOCIATION, Where.DATA_SET), FIXED_LENGTH.items(), (0, 3, 5, 1 << 16, 0xFFFFFFFF)):
        data = struct.pack(">BxL", kind, length) + bytes(min(length, 10))
        yield Hostile(f"{name} of {length} bytes {where}", where, fixed(data), ABORTED_BY_PROVIDER)
    for length in (0, 1, 5, BIG + 7, 1 << 24, 1 << 31, 0xFFFFFFFA, 0xFFFFFFFF):
        data = struct.pack(">BxL", 4, length) + bytes(min(length, 5))
        yield Hostile(f"P-DATA-TF of {length} bytes, as it says", Where.ASSOCIATION, fixed(data), ABORTED_BY_PROVIDER)
        yield Hostile(f"P-DATA-TF of {length} bytes, as it says, inside a data set", Where.DATA_SET, fixed(data), ABORTED_BY_PROVIDER)
    # length + 4 in 32 bits wraps to 0..3 for the last four
    for length in (0, 1, 103, 1 << 16, 1 << 31, 0xFFFFFFF0, 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF):
        data = pdu(4, value(length, COMMAND, bytes(100)))
        yield Hostile(f"a PDV of {length} bytes in a PDU with room for 102", Where.ASSOCIATION, fixed(data), ABORTED_BY_PROVIDER)
    for length in (0, 1, 13, 0xFFFFFFFF):
        data = pdu(4, pdv(STORE, DATA, b"ok") + value(length, DATA, b"0123456789"))
        yield Hostile(f"a second PDV of {length} bytes where 12 are left", Where.DATA_SET, fixed(data), ABORTED_BY_PROVIDER)
    for count in range(1, 6):
        data = pdu(4, pdv(STORE, DATA, b"ok") + bytes(count))
        yield Hostile(f"{count} stray bytes after the last PDV", Where.DATA_SET, fixed(data), ABORTED_BY_PROVIDER)


def _order() -> Iterator[Hostile]:
    for context_id in (0, 2, 5, 127, 255):
        data = pdata(pdv(context_id, COMMAND | LAST, echo_rq()))
        yield Hostile(f"context {context_id}, which was not accepted", Where.ASSOCIATION, fixed(data), ABORTED_BY_PROVIDER)
        yield Hostile(f"data on context {context_id}", Where.DATA_SET, fixed(pdata(pdv(context_id, DATA, b"x"))), ABORTED_BY_PROVIDER)
    command = store_rq(CT_STORAGE, "2.25.1")
    yield Hostile("a data set without a command", Where.ASSOCIATION, fixed(pdata(pdv(STORE, DATA | LAST, b"ab"))), ABORTED_BY_PROVIDER)
    yield Hostile("a command inside a data set", Where.DATA_SET, fixed(pdata(pdv(STORE, COMMAND, b"ab"))), ABORTED_BY_PROVIDER)
    yield Hostile(
        "a whole command inside a data set", Where.DATA_SET, fixed(pdata(pdv(ECHO, COMMAND | LAST, echo_rq()))), ABORTED_BY_PROVIDER
    )
    yield Hostile("data on the other context", Where.DATA_SET, fixed(pdata(pdv(ECHO, DATA, b"ab"))), ABORTED_BY_PROVIDER)
    two = pdata(pdv(STORE, COMMAND, command[:20]), pdv(ECHO, COMMAND | LAST, command[20:]))
    yield Hostile("a command on two contexts", Where.ASSOCIATION, fixed(two), ABORTED_BY_PROVIDER)
    inside = pdata(pdv(STORE, COMMAND, command[:20]), pdv(STORE, DATA, b"ab"))
    yield Hostile("data inside a command", Where.ASSOCIATION, fixed(inside), ABORTED_BY_PROVIDER)
    odd_control = pdata(pdv(ECHO, 0xFC | COMMAND | LAST, echo_rq()))
    yield Hostile("control bits that nobody uses", Where.ASSOCIATION, fixed(odd_control), Answered((0,)))
    empty = pdata(*[pdv(ECHO, COMMAND, b"")] * 5000, pdv(ECHO, COMMAND | LAST, echo_rq()))
    yield Hostile("5,000 empty fragments and a command", Where.ASSOCIATION, fixed(empty), Answered((0,)))
    many = pdata(*[pdv(STORE, DATA, b"")] * 5000, *[pdv(STORE, DATA, b"x")] * 5000, pdv(STORE, DATA | LAST, b""))
    yield Hostile("10,000 fragments of nothing and next to nothing", Where.DATA_SET, fixed(many), Answered((None,)))
    single = pdata(*(pdv(ECHO, COMMAND | (LAST if n == len(echo_rq()) - 1 else 0), echo_rq()[n : n + 1]) for n in range(len(echo_rq()))))
    yield Hostile("a command in fragments of a byte", Where.ASSOCIATION, fixed(single), Answered((0,)))
    yield Hostile("a command a byte at a time", Where.ASSOCIATION, fixed(single), Answered((0,)), piece=1)


def _cut(rng: Random) -> bytes:
    whole = pdata(pdv(STORE, COMMAND | LAST, store_rq(CT_STORAGE, "2.25.1"))) + pdata(pdv(STORE, DATA | LAST, rng.randbytes(5000)))
    return whole[: rng.randrange(1, len(whole) - 1)]


def _endings() -> Iterator[Hostile]:
    for where in (Where.ASSOCIATION, Where.DATA_SET, Where.RELEASED):
        yield Hostile(f"a close, {where}", where, fixed(b""), Left("close"))
        yield Hostile(f"a reset, {where}", where, fixed(b""), Left("reset"))
    yield Hostile("part of a C-STORE, then a close", Where.ASSOCIATION, _cut, Left("close"))
    yield Hostile("part of a C-STORE, then a reset", Where.ASSOCIATION, _cut, Left("reset"))
    yield Hostile(
        "echoes, then a reset in place of reading",
        Where.ASSOCIATION,
        fixed(pdata(pdv(ECHO, COMMAND | LAST, echo_rq())) * 500),
        Left("reset"),
    )
    yield Hostile("half a PDU header, then a close", Where.ASSOCIATION, fixed(b"\x04\0\0"), Left("close"))

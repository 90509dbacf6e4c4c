"""Hostile input as data: what is sent to a DICOM acceptor, in which state, and what must come of it.

`catalogue()` has every kind. `play` sends one and checks the answer. It uses none of the code under test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Literal

from tests.support.rawscu import (
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    IMPLICIT,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    AssociationAborted,
    AssociationRejected,
    ConnectionClosed,
    RawScu,
    associate_rq,
    context,
    echo_rq,
    pdata,
    pdv,
    store_rq,
)

STORE, ECHO = 1, 3
"""The presentation contexts of `ASSOCIATION`."""

ASSOCIATION = associate_rq("GATE", "EVIL", [context(STORE, CT_STORAGE, EXPLICIT), context(ECHO, VERIFICATION, IMPLICIT)])
UNFINISHED = pdata(pdv(STORE, COMMAND | LAST, store_rq(CT_STORAGE, "2.25.1"))) + pdata(pdv(STORE, DATA, b"abcd"))


class Where(StrEnum):
    """What has happened before the input is sent."""

    CONNECTION = "connection"
    ASSOCIATION = "association"
    DATA_SET = "inside a data set"
    RELEASED = "released"


BEGINNINGS = {
    Where.CONNECTION: b"",
    Where.ASSOCIATION: ASSOCIATION,
    Where.DATA_SET: ASSOCIATION + UNFINISHED,
    Where.RELEASED: ASSOCIATION + RELEASE_RQ,
}
"""What has been sent by then."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is closed without a byte."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """An A-ABORT with this source and reason, then the end."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An A-ASSOCIATE-RJ."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """An A-ASSOCIATE-AC with this result for the context of `results`; then echoes are answered where Verification was accepted."""

    results: dict[int, int]


@dataclass(frozen=True, slots=True)
class Answered:
    """So many responses with these statuses (None: any but success), then an echo is answered: the association goes on."""

    statuses: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing has to come: we are the ones who end it, by closing, a RST, or by leaving the connection to its timers."""

    by: Literal["close", "reset"]


Outcome = Closed | Aborted | Rejected | Accepted | Answered | Left


@dataclass(frozen=True, slots=True)
class Hostile:
    """One kind of hostile input. `make` may vary it by the random numbers it is given; `piece` is the size of the segments it comes in."""

    name: str
    where: Where
    make: Callable[[Random], bytes]
    outcome: Outcome
    piece: int = 0


class Misbehaved(AssertionError):
    """The acceptor did something else than it must."""


ABORTED_BY_PROVIDER = Aborted(2, 6)
NOT_AN_ASSOCIATION = Aborted(0, 0)


def catalogue() -> list[Hostile]:
    """Every kind."""
    from tests.support import hostile_associations, hostile_data, hostile_messages

    return [*hostile_associations.kinds(), *hostile_data.kinds(), *hostile_messages.kinds()]


def fixed(data: bytes) -> Callable[[Random], bytes]:
    """Always the same."""
    return lambda _: data


def play(hostile: Hostile, port: int, rng: Random, timeout: float = 30) -> int:
    """Send it and check what comes; return the number of bytes sent. Raises Misbehaved."""
    with RawScu("127.0.0.1", port, timeout=timeout) as scu:
        if hostile.where is not Where.CONNECTION:
            scu.associate(ASSOCIATION)
        if hostile.where is Where.DATA_SET:
            scu.send(UNFINISHED)
        if hostile.where is Where.RELEASED:
            scu.release()
        data = hostile.make(rng)
        try:
            if hostile.piece:
                scu.send_bytewise(data, hostile.piece)
            else:
                scu.send(data)
        except OSError:  # it hung up before it had heard all: the answer is there all the same, unless a RST overtook it
            if isinstance(hostile.outcome, Left | Closed):
                return len(scu.sent)
        try:
            _check(hostile.outcome, scu)
        except (ConnectionClosed, AssociationAborted, AssociationRejected, TimeoutError, ConnectionError) as error:
            raise Misbehaved(f"{hostile.name}: {hostile.outcome} was due, what came was {error!r}") from error
        return len(scu.sent)


def _check(outcome: Outcome, scu: RawScu) -> None:
    match outcome:
        case Closed():
            if not scu.closed_silently():
                raise Misbehaved(f"closing was due, what came was {bytes(scu.received[:40])!r}")
        case Aborted(source, reason):
            _expect_abort(scu, (source, reason))
        case Rejected(result, source, reason):
            try:
                scu.expect(2)
            except AssociationRejected as rejected:
                if rejected.triple != (result, source, reason):
                    raise
            else:
                raise Misbehaved("a rejection was due, it was accepted")
        case Accepted(results):
            got = {context_id: result for context_id, (result, _) in scu.associate(b"").items()}
            if any(got[context_id] != result for context_id, result in results.items()):
                raise Misbehaved(f"{results} was due, what came was {got}")
            if got.get(ECHO) == 0:
                _echo(scu)
        case Answered(statuses):
            got_statuses = [scu.response().status for _ in statuses]
            if any(got != (due or got) or (due is None and got == 0) for got, due in zip(got_statuses, statuses, strict=True)):
                raise Misbehaved(f"{statuses} was due, what came was {got_statuses}")
            _echo(scu)
        case Left(by):
            if by == "reset":
                scu.send_reset()


def _echo(scu: RawScu) -> None:
    scu.send_message(ECHO, echo_rq(4711))
    response = scu.response()
    if response.status or response.elements[0x0120] != b"\x67\x12":
        raise Misbehaved("an echo was not answered")


def _expect_abort(scu: RawScu, pair: tuple[int, int]) -> None:
    """What was in work before may be answered first."""
    while True:
        got = scu.receive()
        if got.type == 7:
            if tuple(got.body[2:4]) != pair:
                raise AssociationAborted(*got.body[2:4])
            return
        if got.type != 4:
            raise Misbehaved(f"an A-ABORT was due, what came was a PDU of type {got.type}")

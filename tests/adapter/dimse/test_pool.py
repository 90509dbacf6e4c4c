"""The pool: limits, reuse, expiry, fairness, and that it never hands out what is closed."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from dicom_adapter.dimse import (
    AssociationRejected,
    ContextNotAccepted,
    Handlers,
    PeerAddress,
    PeerUnreachable,
    Pool,
    PoolClosed,
    PresentationContext,
    Status,
)
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from tests.adapter.dimse.nodes import Node, node, until
from tests.adapter.dimse.serving import Keeper
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION

ECHO = [PresentationContext(VERIFICATION, (IMPLICIT,))]
STORE = [*ECHO, PresentationContext(CT_STORAGE, (EXPLICIT,))]


def pool(**others: object) -> Pool:
    return Pool(calling_ae_title="WS1", **others)  # type: ignore[arg-type]


async def echo(pool: Pool, gate: Node) -> None:
    async with pool.association(gate.address, ECHO) as association:
        assert await association.echo() == Status(0)


async def test_an_idle_association_is_used_again() -> None:
    async with node() as gate:
        ours = pool()
        for _ in range(5):
            await echo(ours, gate)
        assert ours.open(gate.address) == 1
        assert len(gate.recorder.accepted) == 1
        await ours.close()
        assert ours.open(gate.address) == 0
        summary = await gate.ended()
    assert (summary.outcome, summary.operations) == ("released", {("C-ECHO", 0): 5})


async def test_no_more_than_the_limit_are_open_and_turns_are_fair() -> None:
    order: list[int] = []
    most = 0

    async with node() as gate:
        ours = pool(per_peer=3)

        async def work(number: int) -> None:
            nonlocal most
            async with ours.association(gate.address, ECHO) as association:
                order.append(number)
                most = max(most, gate.server.active)
                assert await association.echo() == Status(0)

        await asyncio.gather(*(work(number) for number in range(30)))
        assert [number for number in order if number > 2] == list(range(3, 30))  # the first three open theirs at the same time
        assert most <= 3
        assert len(gate.recorder.accepted) <= 3
        await ours.close()


async def test_an_idle_association_expires() -> None:
    async with node() as gate:
        ours = pool(idle_seconds=0.1)
        await echo(ours, gate)
        await until(lambda: not ours.open(gate.address))
        assert (await gate.ended()).outcome == "released"
        await echo(ours, gate)
        assert len(gate.recorder.accepted) == 2
        await ours.close()


async def test_one_that_the_peer_has_closed_is_not_handed_out() -> None:
    async with node() as gate:
        ours = pool(per_peer=1)
        await echo(ours, gate)
        (theirs,) = gate.server._registry.connections
        theirs.shut_down("idle for too long")
        assert (await gate.ended()).reason == "idle for too long"
        await until(lambda: not next(iter(ours._peers.values())).idle[0].association.usable)
        await echo(ours, gate)
        assert len(gate.recorder.accepted) == 2
        await ours.close()


async def test_other_contexts_need_another_association_which_takes_the_place_of_the_idle_one() -> None:
    async with node(Handlers(store=Keeper())) as gate:
        ours = pool(per_peer=1)
        await echo(ours, gate)
        async with ours.association(gate.address, STORE) as association:
            assert association.transfer_syntaxes(CT_STORAGE) == (EXPLICIT,)
            assert ours.open(gate.address) == 1
            await until(lambda: gate.server.active == 1)  # it hears later than we that the other is closed
        await echo(ours, gate)
        assert len(gate.recorder.accepted) == 3
        await ours.close()


async def test_peers_do_not_share_their_limit() -> None:
    async with node() as one, node() as other:
        ours = pool(per_peer=1)
        async with ours.association(one.address, ECHO), ours.association(other.address, ECHO) as association:
            assert await association.echo() == Status(0)
        await ours.close()


async def test_an_exception_costs_the_association_unless_it_is_about_one_request() -> None:
    async with node() as gate:
        ours = pool()
        with pytest.raises(ContextNotAccepted):
            async with ours.association(gate.address, ECHO) as association:
                await anext(association.find(STUDY_ROOT_FIND, b""))
        assert ours.open(gate.address) == 1
        with pytest.raises(ZeroDivisionError):
            async with ours.association(gate.address, ECHO):
                raise ZeroDivisionError
        await until(lambda: not ours.open(gate.address))
        assert (await gate.ended()).outcome == "aborted by peer"
        await ours.close()


async def test_a_peer_that_cannot_be_reached_keeps_no_place() -> None:
    async with node(access=lambda request, address: None) as gate:
        ours = pool(per_peer=1)
        wrong = PeerAddress("OTHER", "127.0.0.1", gate.server.port)
        for _ in range(3):
            with pytest.raises(AssociationRejected):
                async with ours.association(wrong, ECHO):
                    raise AssertionError
        with pytest.raises(PeerUnreachable):
            async with ours.association(PeerAddress("GATE", "no-such-host.invalid", 104), ECHO):
                raise AssertionError
        assert not ours._peers
        await ours.close()


async def test_who_stops_waiting_leaves_the_queue_to_the_others() -> None:
    async with node() as gate:
        ours = pool(per_peer=1)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(ours.association(gate.address, ECHO))
            impatient = asyncio.ensure_future(echo(ours, gate))
            patient = asyncio.ensure_future(echo(ours, gate))
            await asyncio.sleep(0.05)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            assert not patient.done()
        await patient
        await ours.close()


async def test_closing_turns_away_who_waits_and_who_comes() -> None:
    async with node() as gate:
        ours = pool(per_peer=1)
        async with ours.association(gate.address, ECHO) as association:
            waiting = asyncio.ensure_future(echo(ours, gate))
            await asyncio.sleep(0.05)
            await ours.close()
            with pytest.raises(PoolClosed, match="the pool of associations is closed"):
                await waiting
            assert await association.echo() == Status(0)  # what is in use may go on
        with pytest.raises(PoolClosed):
            await echo(ours, gate)
        assert (await gate.ended()).outcome == "released"
        assert not ours._peers


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async with node() as gate:
        ours = pool(per_peer=1)
        async with ours.association(gate.address, ECHO):
            waiting = [asyncio.create_task(echo(ours, gate)) for _ in range(2)]
            await until(lambda: ours.waiting(gate.address) == 2)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert ours.waiting(gate.address) == 0
        await ours.close()
        closed = pool()
        await closed.close()
        with pytest.raises(PoolClosed):
            await echo(closed, gate)
        assert ours._peers == closed._peers == {}

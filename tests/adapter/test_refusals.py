"""Whom the adapter turns away, and why: what the sender gets on the wire, and the one line in the log that says what to do."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.adapter import Adapter
from tests.support.rawscu import (
    COMMAND,
    CT_STORAGE,
    DATA,
    EXPLICIT,
    IMPLICIT,
    LAST,
    VERIFICATION,
    AssociationAborted,
    AssociationRejected,
    RawScu,
    associate_rq,
    context,
    pdata,
    pdv,
    store_rq,
)
from tests.support.store import FaultStore

CONTEXTS = [context(1, CT_STORAGE, EXPLICIT), context(3, VERIFICATION, IMPLICIT)]
LIMITS = {"maxAssociations": 3, "maxAssociationsPerPeer": 1, "dimseTimeoutSeconds": 2}
OTHERS_SERVICES = {
    "1.2.840.10008.5.1.4.31": "Modality Worklist - FIND",
    "1.2.840.10008.3.1.2.3.3": "Modality Performed Procedure Step",
    "1.2.840.10008.5.1.1.9": "Basic Grayscale Print Management Meta",
}


def rejected(port: int, called: str, calling: str) -> tuple[int, int, int]:
    with RawScu("127.0.0.1", port) as scu, pytest.raises(AssociationRejected) as caught:
        scu.associate(associate_rq(called, calling, CONTEXTS))
    return caught.value.triple


def held(port: int, calling: str) -> RawScu:
    return RawScu("127.0.0.1", port, timeout=60).associated(associate_rq("GATE", calling, CONTEXTS))


def results(port: int, contexts: list[bytes]) -> dict[int, int]:
    with RawScu("127.0.0.1", port) as scu:
        answered = scu.associate(associate_rq("GATE", "CT8", contexts))
        scu.release()
    return {number: result for number, (result, _) in answered.items()}


def stall(port: int) -> tuple[int, int]:
    """Stop inside a C-STORE; return what the A-ABORT says."""
    with held(port, "CT7") as scu:
        scu.send(pdata(pdv(1, COMMAND | LAST, store_rq(CT_STORAGE, "1.2.3"))) + pdata(pdv(1, DATA, b"abcd")))
        with pytest.raises(AssociationAborted) as caught:
            scu.response()
    return caught.value.pair


def foreign(port: int, data: bytes) -> bool:
    with RawScu("127.0.0.1", port) as scu:
        scu.send(data)
        return scu.closed_silently()


async def test_each_refusal_has_its_code_for_the_sender_and_its_sentence_in_the_log() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"limits": LIMITS}) as adapter:
        port = adapter.port

        async def told(severity: str, event: str, message: str) -> None:
            line = await adapter.line(message)
            assert (line["severity"], line["event"]) == (severity, event)

        assert await asyncio.to_thread(rejected, port, "GATEWAY", "CT1") == (1, 1, 7)
        await told(
            "WARNING",
            "AssociationRejected",
            "refused 'CT1', 1/1/7: it called 'GATEWAY', we are 'GATE'; correct the sender or add 'GATEWAY' to spec.acceptedAETitles",
        )

        proposed = [context(number, uid, IMPLICIT) for number, uid in zip((1, 3, 5), OTHERS_SERVICES, strict=True)]
        assert await asyncio.to_thread(results, port, proposed) == {1: 3, 3: 3, 5: 3}
        for name in OTHERS_SERVICES.values():
            await told("INFO", "ContextRefused", f"'CT8' proposed {name}: this adapter has no such service")

        for data in (b"GET /secret HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\xc8secret", b"PROXY TCP4 secret\r\n"):
            assert await asyncio.to_thread(foreign, port, data)
        await told("INFO", "NoDicom", "127.0.0.1 sent no DICOM; closed")

        assert await asyncio.to_thread(stall, port) == (2, 0)
        await told(
            "WARNING",
            "AssociationAborted",
            "aborted 'CT7': no data for 2 s inside C-STORE; nothing of it was stored (spec.limits.dimseTimeoutSeconds)",
        )

        with held(port, "CT1"):
            assert await asyncio.to_thread(rejected, port, "GATE", "CT1") == (2, 3, 2)
            await told(
                "WARNING",
                "AssociationRejected",
                "refused 'CT1', 2/3/2: 1 of its 1 associations are open (spec.limits.maxAssociationsPerPeer)",
            )
            with held(port, "CT2"), held(port, "CT3"):
                assert await asyncio.to_thread(rejected, port, "GATE", "CT4") == (2, 3, 2)
                await told(
                    "WARNING", "AssociationRejected", "refused 'CT4', 2/3/2: 3 of 3 associations are open (spec.limits.maxAssociations)"
                )
        assert not store.posts
        assert "secret" not in str(adapter.lines)


async def test_a_flood_of_refusals_has_one_line_and_the_number_of_the_others() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        for _ in range(43):
            assert await asyncio.to_thread(rejected, adapter.port, "GATEWAY", "CT1") == (1, 1, 7)
        adapter.signal(signal.SIGTERM)
        text = "refused 'CT1', 1/1/7: it called 'GATEWAY', we are 'GATE'; correct the sender or add 'GATEWAY' to spec.acceptedAETitles"
        await adapter.line(f"{text} (and 41 more)")
        assert [line["message"] for line in adapter.lines if line["event"] == "AssociationRejected"] == [text, f"{text} (and 41 more)"]

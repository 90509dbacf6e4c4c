"""Start, drain and end of the process; what its HTTP port says meanwhile."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from tests.support.adapter import COMMAND, Adapter
from tests.support.dicom import generated
from tests.support.rawscu import (
    AssociationAborted,
    AssociationRejected,
    RawScu,
    associate_rq,
    context,
    send_instances,
    store_rq,
)
from tests.support.store import FaultStore, Reply

ONE = generated()
REQUEST = associate_rq("GATE", "CT1", [context(1, ONE.sop_class_uid, ONE.transfer_syntax_uid)])


async def test_status_is_the_versioned_document_that_the_operator_reads() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        status = await adapter.store_becomes("Reachable")
        where = f"'GATE' receives and stores into {store.url}"
        assert status == {
            "version": 1,
            "adapterVersion": "0.1.0",
            "verdict": {"level": "ok", "message": where},
            "ready": True,
            "reason": "Ready",
            "message": f"'GATE' listens on port {adapter.port} and stores into {store.url}",
            "aeTitle": "GATE",
            "store": {"url": store.url, "reason": "Reachable", "message": "the store answers"},
            "destinations": [],
            "associations": {"active": 0},
            "lastError": None,
        }
        (method, path, headers) = store.requests[0]
        assert (method, path, headers["Accept"]) == ("GET", "/dicom-web/studies?limit=1", "application/dicom+json")


async def test_the_http_port_reads_only() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        for path in ("/healthz", "/readyz", "/metrics", "/status"):
            assert (await adapter.get(path))[0] == 200
            assert await adapter.get(path, method="HEAD") == (200, "")
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                assert await adapter.get(path, method=method) == (405, "this port answers GET and HEAD only\n")
        assert (await adapter.get("/nothing"))[0] == 404


async def test_metrics_count_what_happened() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        store.script.extend([Reply(503, ""), Reply(404, ""), Reply()])
        instances = [generated(), generated()]
        wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
        await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
        await adapter.store_becomes("Reachable")
        _, text = await adapter.get("/metrics")
        searches = sum(method == "GET" for method, _, _ in store.requests)  # one, or more if this has taken longer than five seconds
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['dicom_operations_total{service="C-STORE",status="0000"}'] == "1.0"
    assert values['dicom_operations_total{service="C-STORE",status="A700"}'] == "1.0"
    assert values['dicomweb_requests_total{code="503",method="POST"}'] == "1.0"
    assert values['dicomweb_requests_total{code="404",method="POST"}'] == "1.0"
    assert values['dicom_delivery_retries_total{reason="503"}'] == "1.0"
    assert values["dicom_delivery_wait_seconds_count"] == "3.0"
    gauges = ("permits", "active", "waiting", "circuit_open", "requests_per_second_limit")
    assert [values[f'dicom_delivery_{name}{{destination="dicomStore"}}'] for name in gauges] == ["32.0", "0.0", "0.0", "0.0", "+Inf"]
    assert values['dicomweb_requests_total{code="200",method="GET"}'] == f"{searches}.0"
    assert values['dicom_associations_total{result="accepted"}'] == "1.0"
    assert values["dicom_associations_active"] == "0.0"
    assert float(values["dicom_received_bytes_total"]) > sum(len(one.data_set) for one in instances)
    assert "process_resident_memory_bytes" in values


async def test_sigterm_drains_running_operations_finish_and_the_exit_status_is_zero() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        told = asyncio.Event()
        store.script.append(Reply(until=told))
        sending = asyncio.create_task(asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", [_wire()]))
        await store.until(lambda: bool(store.posts))
        adapter.signal(signal.SIGTERM)
        await adapter.line("draining: 1 association open")
        assert (await adapter.get("/readyz"))[0] == 503
        assert (await adapter.status())["reason"] == "Draining"
        told.set()
        assert await sending == [(0, "")]
        assert adapter.process
        assert await asyncio.wait_for(adapter.process.wait(), 60) == 0
        await adapter.line("drained: every association has ended")


async def test_a_probe_that_is_cut_off_by_the_end_says_nothing_of_the_store() -> None:
    async with FaultStore() as store, FaultStore() as archive:
        store.search_reply = archive.search_reply = Reply(instead="never answer")
        async with Adapter(store.url, spec={"destinations": [{"name": "archive", "dicomStore": archive.url}]}) as adapter:
            for one in (store, archive):
                await one.until(lambda one=one: bool(one.requests))  # type: ignore[misc]
            adapter.signal(signal.SIGTERM)
            assert await adapter.ended() == 0
        assert [line["event"] for line in adapter.lines] == ["Ready", "Draining", "Drained"]


async def test_while_it_drains_it_accepts_for_drain_seconds_and_then_no_more() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"drainSeconds": 5}) as adapter:
        adapter.signal(signal.SIGTERM)
        await adapter.line("draining: 0 associations open")
        assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", [_wire()]) == [(0, "")]
        assert adapter.process
        assert await asyncio.wait_for(adapter.process.wait(), 60) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", adapter.port))


async def test_a_second_signal_aborts_at_once() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"drainSeconds": 30}) as adapter:
        with await asyncio.to_thread(RawScu, "127.0.0.1", adapter.port) as scu:
            await asyncio.to_thread(scu.associate, REQUEST)
            adapter.signal(signal.SIGTERM)
            await adapter.line("draining: 1 association open")
            adapter.signal(signal.SIGTERM)
            with pytest.raises(AssociationAborted):
                await asyncio.to_thread(scu.response)
        assert adapter.process
        assert await asyncio.wait_for(adapter.process.wait(), 60) == 1
        await adapter.line("aborted at once on a second signal: 1 association was open")


async def test_associations_that_are_refused_or_end_are_told_in_one_line_each() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"limits": {"maxAssociationsPerPeer": 1}}) as adapter:
        with pytest.raises(AssociationRejected):
            await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATEWAY", "CT1", [_wire()])
        line = await adapter.line(
            "refused 'CT1', 1/1/7: it called 'GATEWAY', we are 'GATE'; correct the sender or add 'GATEWAY' to spec.acceptedAETitles"
        )
        assert (line["severity"], line["event"], line["peer"]) == ("WARNING", "AssociationRejected", "CT1")
        with await asyncio.to_thread(RawScu, "127.0.0.1", adapter.port) as scu:
            await asyncio.to_thread(scu.associate, REQUEST)
            with pytest.raises(AssociationRejected):
                await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", [_wire()])
            await adapter.line("refused 'CT1', 2/3/2: 1 of its 1 associations are open (spec.limits.maxAssociationsPerPeer)")
            assert (await adapter.status())["associations"] == {"active": 1}
            await asyncio.to_thread(scu.release)
        worklist = associate_rq("GATE", "CT1", [context(1, "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.2")])
        with await asyncio.to_thread(RawScu, "127.0.0.1", adapter.port) as scu:
            assert (await asyncio.to_thread(scu.associate, worklist))[1][0] == 3
            await asyncio.to_thread(scu.release)
        line = await adapter.line("'CT1' proposed Modality Worklist - FIND: this adapter has no such service")
        assert line["severity"] == "INFO"
        with await asyncio.to_thread(RawScu, "127.0.0.1", adapter.port) as scu:
            scu.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await asyncio.to_thread(scu.closed_silently)
        await adapter.line("127.0.0.1 sent no DICOM; closed")


async def test_a_command_without_a_data_set_or_uid() -> None:
    async with FaultStore() as store, Adapter(store.url) as adapter:
        with await asyncio.to_thread(RawScu, "127.0.0.1", adapter.port) as scu:
            await asyncio.to_thread(scu.associate, REQUEST)
            scu.send_message(1, store_rq(ONE.sop_class_uid, ""), b"\0\0")
            response = await asyncio.to_thread(scu.response)
            assert (response.status, response.comment) == (0xC000, "Mandatory tag empty: AffectedSOPInstanceUID")
            await asyncio.to_thread(scu.release)
        await adapter.line("C-STORE from 'CT1' failed: C000 Mandatory tag empty: AffectedSOPInstanceUID")
        assert not store.posts


def _wire() -> tuple[str, str, str, bytes]:
    one = generated()
    return one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set


async def test_open_files_are_limited_by_the_hard_limit_alone() -> None:
    command = ("/bin/sh", "-c", 'ulimit -H -n 512; ulimit -S -n 64; exec "$0" "$@"', *COMMAND)
    async with FaultStore() as store, Adapter(store.url, command=command) as adapter:
        held = [await asyncio.to_thread(RawScu, "127.0.0.1", adapter.port) for _ in range(100)]
        try:
            assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", [_wire()]) == [(0, "")]
        finally:
            for scu in held:
                scu.close()

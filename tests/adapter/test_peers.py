"""Who may call, from where and for what: what the sender gets on the wire, and the line in the log that says what to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from dicom_adapter.dimse import PeerAddress, PresentationContext, connect
from dicom_adapter.dimse.sopclasses import STUDY_ROOT_FIND
from tests.support.adapter import COMMAND, Adapter, run
from tests.support.dicom import generated
from tests.support.rawscu import CT_STORAGE, EXPLICIT, IMPLICIT, VERIFICATION, AssociationRejected, RawScu, associate_rq, context
from tests.support.retrieving import destination, identifier, last
from tests.support.store import FaultStore
from tests.support.wado import Archive

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PEERS = [
    {"aeTitle": "CT1", "addresses": ["10.1.0.0/16", "fd00::/8"]},
    {"aeTitle": "CT2", "addresses": ["127.0.0.0/8"]},
    {"aeTitle": "WS1", "allow": ["Verification"]},
]


def associate(port: int, calling: str) -> dict[int, int] | tuple[int, int, int]:
    """The results of three contexts, or of the whole."""
    contexts = [context(1, VERIFICATION, IMPLICIT), context(3, CT_STORAGE, EXPLICIT), context(5, STUDY_ROOT_MOVE, IMPLICIT)]
    with RawScu("127.0.0.1", port) as scu:
        try:
            answered = scu.associate(associate_rq("GATE", calling, contexts))
        except AssociationRejected as rejected:
            return rejected.triple
        scu.release()
    return {number: result for number, (result, _) in answered.items()}


async def test_peers_their_addresses_and_what_they_may_do() -> None:
    spec = {"peers": PEERS, "unknownPeers": "Reject", "services": ["Verification", "Storage"]}
    async with FaultStore() as store, Adapter(store.url, spec=spec) as adapter:

        async def told(severity: str, event: str, message: str) -> None:
            line = await adapter.line(message)
            assert (line["severity"], line["event"]) == (severity, event)

        assert await asyncio.to_thread(associate, adapter.port, "CT9") == (1, 1, 3)
        await told("WARNING", "AssociationRejected", "refused 'CT9', 1/1/3: not in spec.peers and spec.unknownPeers is Reject")
        assert await asyncio.to_thread(associate, adapter.port, "CT1") == (1, 1, 3)
        await told("WARNING", "AssociationRejected", "refused 'CT1' from 127.0.0.1, 1/1/3: spec.peers 'CT1' allows 10.1.0.0/16, fd00::/8")
        assert await asyncio.to_thread(associate, adapter.port, "CT2") == {1: 0, 3: 0, 5: 3}
        await told("INFO", "ContextRefused", "'CT2' proposed Study Root Query/Retrieve - MOVE: Retrieve is not in spec.services")
        assert await asyncio.to_thread(associate, adapter.port, "WS1") == {1: 0, 3: 1, 5: 3}
        await told("WARNING", "ContextRefused", "'WS1' proposed Storage: spec.peers 'WS1' does not allow it")


async def test_what_dcmtk_says_of_a_service_that_is_off() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"services": ["Verification", "Storage"]}) as adapter:
        for tool in (("findscu", "-S"), ("movescu", "-S", "-aem", "WS1"), ("getscu", "-S"), ("findscu", "-W")):
            name, *options = tool
            command = (name, *options, "-aet", "CT1", "-aec", "GATE", "-k", "0008,0052=STUDY", "127.0.0.1", str(adapter.port))
            _, out, err = await run(*command)
            assert "no acceptable presentation contexts" in (out + err).lower(), tool
        await adapter.line("'CT1' proposed Study Root Query/Retrieve - FIND: Query is not in spec.services")
        await adapter.line("'CT1' proposed Modality Worklist - FIND: this adapter has no such service")


async def test_without_verification_an_echo_is_refused() -> None:
    async with FaultStore() as store, Adapter(store.url, spec={"services": ["Storage"]}) as adapter:
        assert await asyncio.to_thread(associate, adapter.port, "CT1") == {1: 3, 3: 0, 5: 3}
        await adapter.line("'CT1' proposed Verification: Verification is not in spec.services")


@pytest.mark.parametrize("given", ["flag", "variable"])
async def test_googles_ae_dictionary_is_read_from_flag_and_environment(given: str) -> None:
    text = '[{"name": "WS1", "host": "ws1", "port": "x"}]'
    arguments = ["--dimse_aet=GATE", "--dicomweb_address=http://127.0.0.1:9/dicom-web"]
    arguments += [f"--aet_dictionary_inline={text}"] if given == "flag" else []
    environment = {"ENV_AETS_JSON": text} if given == "variable" else {"ENV_AETS_JSON": "broken, and not looked at"}
    status, _, err = await run(*COMMAND, *arguments, environment=environment)
    name = "--aet_dictionary_inline" if given == "flag" else "ENV_AETS_JSON"
    assert (status, err) == (2, f"{name}: 'x' is not a whole number; write a number from 1 to 65535, without quotes\n")


async def test_googles_flags_for_queries_and_retrievals(tmp_path: Path) -> None:
    dictionary = tmp_path / "aets.json"
    async with Archive() as archive, destination() as ws:
        (one,) = archive.add("1.2", "1.2.3", [generated(64)])
        dictionary.write_text(json.dumps([{"name": "WS1", "host": ws.address.host, "port": ws.address.port}]))
        arguments = [f"--aet_dictionary={dictionary}", "--dimse_cmove_aet=OUT", "--fuzzy_matching"]
        async with Adapter(archive.url, arguments=arguments) as adapter:
            contexts = [PresentationContext(uid, (EXPLICIT,)) for uid in (STUDY_ROOT_MOVE, STUDY_ROOT_FIND)]
            address = PeerAddress("GATE", "127.0.0.1", adapter.port)
            async with await connect(address, calling_ae_title="CT1", contexts=contexts) as association:
                await last(association.find(STUDY_ROOT_FIND, identifier(PatientName="Doe")))
                assert any("fuzzymatching=true" in path for path in archive.requests)
                moved = await last(association.move(STUDY_ROOT_MOVE, identifier(StudyInstanceUID="1.2"), "WS1"))
                assert (moved.status.code, ws.received) == (0, {one.sop_instance_uid: one.data_set})
                assert {request.peer.ae_title for request in ws.requests} == {"OUT"}

"""No patient data and no secret in anything that we write (R21): a day of an adapter that logs everything, and all that can go wrong in it.

That nothing leaks is looked at by the fixture itself, here and in every other test that runs an adapter or an operator.
"""

from __future__ import annotations

import asyncio

from tests.support import canaries
from tests.support.adapter import Adapter
from tests.support.dicom import generated
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore, Reply

BASIC = {"credentials": {"basicAuthSecret": {"name": "pacs-login"}, "allowInsecure": True}, "logLevel": "Debug"}


async def test_all_that_a_day_brings() -> None:
    async with FaultStore() as store:
        adapter = Adapter(store.url, spec=BASIC)
        secret = adapter.mounts / "secrets" / "pacs-login"
        secret.mkdir(parents=True)
        (secret / "username").write_text(canaries.SECRETS["a user's name"])
        (secret / "password").write_text(canaries.SECRETS["a password"])
        async with adapter:
            answers = [Reply(), Reply(400, "", "text/plain"), Reply(200, "garbage", "text/plain"), Reply(409, "", "text/plain"), Reply(401)]
            store.script.extend(answers)
            instances = [generated() for _ in answers]
            wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set) for one in instances]
            # A data set that ends inside an element, one that is no data set, and UIDs that are none.
            wire += [(wire[0][0], "1.2.3", wire[0][2], wire[0][3][:700]), (wire[0][0], "1.2.4", wire[0][2], b"Canary^Reader" * 9)]
            wire += [(wire[0][0], canaries.PATIENT["PatientID"], wire[0][2], wire[0][3])]
            outcomes = await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire)
            assert [status for status, _ in outcomes[:5]] == [0, 0xC000, 0, 0xC000, 0x0124]
            assert len(outcomes) == len(wire)
            await adapter.store_becomes("Reachable")
        assert set(canaries.found(store.posts[0].part.decode("latin-1"))) == set(canaries.PATIENT)
        header = store.posts[0].headers["Authorization"]
        assert header == f"Basic {canaries.SECRETS['user and password in an Authorization header']}"
        assert len([line for line in adapter.lines if line["severity"] == "WARNING"]) >= 4

"""`dicom-adapter spool` while an adapter works on the spool."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.adapter import COMMAND, Adapter, run
from tests.support.dicom import generated
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore, Post, Reply, google_error


async def test_an_image_that_was_refused_is_found_shown_and_sent_again(tmp_path: Path) -> None:
    one, gone = generated(), generated()
    takes = False

    def reply(post: Post) -> Reply:
        return Reply() if takes else Reply(400, google_error(400, "INVALID_ARGUMENT", "not now"), "application/json")

    async with FaultStore(reply=reply) as store:
        spec = {"delivery": {"acknowledge": "AfterSpool"}}
        async with Adapter(store.url, spec=spec, arguments=[f"--spool_directory={tmp_path}"]) as adapter:

            async def command(*arguments: str) -> tuple[int, str]:
                status, out, err = await run(*COMMAND, "spool", *arguments, f"--spool_directory={tmp_path}")
                return status, out + err

            for image in (one, gone):
                wire = [(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, image.data_set)]
                assert await asyncio.to_thread(send_instances, "127.0.0.1", adapter.port, "GATE", "CT1", wire) == [(0, "")]

            async def failed() -> bool:
                return bool((await adapter.status())["spool"]["failed"] == 2)

            await adapter.poll(failed)
            _, listed = await command("list", "--failed", "--json")
            ids = {json.loads((await command("show", entry["id"], "--json"))[1])["images"][0]["sopInstanceUID"]: entry["id"]
                   for entry in map(json.loads, listed.splitlines())}  # fmt: skip
            assert set(ids) == {one.sop_instance_uid, gone.sop_instance_uid}
            assert await command("discard", ids[gone.sop_instance_uid]) == (0, "1 image is removed\n")
            takes = True
            assert await command("retry", "--all") == (0, "1 image is sent again\n")
            await store.until(lambda: one.sop_instance_uid in store.stored)

            async def empty() -> bool:
                spool = (await adapter.status())["spool"]
                return (spool["instances"], spool["failed"]) == (0, 0)

            await adapter.poll(empty)
            assert (await command("status"))[1].endswith("an adapter works on it\n")
    assert gone.sop_instance_uid not in store.stored

"""The commands of docs/google-cloud.md and docs/migrating.md that need no cloud, run as they are written but for addresses."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

from tests.support.adapter import COMMAND, Adapter, run
from tests.support.dicom import generated, write_sample
from tests.support.orthanc import free_port
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore

DOCS = Path(__file__).parents[2] / "docs"
STORE = "projects/p/locations/l/datasets/d/dicomStores/s"


def block_after(page: str, line: str) -> list[str]:
    """The output that a page shows below a command: the block after the one that the command ends."""
    return page.partition(line)[2].split("```")[2].strip().splitlines()


async def test_what_dcmsend_prints_when_the_guide_has_been_followed(tmp_path: Path) -> None:
    page = (DOCS / "google-cloud.md").read_text()
    (command,) = re.findall(r"^dcmsend .*$", page, re.MULTILINE)
    async with FaultStore() as store, Adapter(store.url, spec={"aeTitle": "IMPORTADAPTER"}) as adapter:
        write_sample("CT", tmp_path)
        here = command.replace("ADDRESS 2575", f"127.0.0.1 {adapter.port}").replace("CT.dcm", str(tmp_path / "CT.dcm"))
        status, out, err = await run(*shlex.split(here))
        assert len(store.stored) == 1
    shown = block_after(page, command)
    assert shown
    assert [line for line in (out + err).splitlines() if line in shown] == shown
    assert status == 0


async def test_the_arguments_of_a_deployment_of_googles_adapter_serve_as_they_are() -> None:
    page = (DOCS / "migrating.md").read_text()
    serve, check = re.findall(r"^dicom-adapter .*$", page, re.MULTILINE)
    port, one = free_port(), generated()
    async with FaultStore() as store:

        def here(command: str) -> list[str]:
            program, *arguments = shlex.split(command.replace("2575", str(port)).replace(STORE, store.url))
            assert program == "dicom-adapter"
            return [*COMMAND, *arguments]

        assert (await run(*here(check)))[0] == 0
        process = await asyncio.create_subprocess_exec(*here(serve), f"--http_port={free_port()}", stderr=asyncio.subprocess.PIPE)
        try:
            assert process.stderr
            assert b"'IMPORTADAPTER' listens on port" in await asyncio.wait_for(process.stderr.readline(), 60)
            wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set)]
            assert await asyncio.to_thread(send_instances, "127.0.0.1", port, "IMPORTADAPTER", "CT1", wire) == [(0, "")]
            assert list(store.stored) == [one.sop_instance_uid]
        finally:
            process.kill()
            await process.communicate()

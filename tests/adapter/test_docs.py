"""The examples of docs/adapter.md, run as they are written but for ports and store."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import aiohttp
import pytest

from tests.support.adapter import COMMAND
from tests.support.dicom import generated
from tests.support.orthanc import free_port
from tests.support.rawscu import send_instances
from tests.support.store import FaultStore

PAGE = (Path(__file__).parents[2] / "docs" / "adapter.md").read_text()
(DOCUMENT,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def ready(port: int) -> bool:
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@pytest.mark.parametrize("command", COMMANDS)
async def test_an_example_receives_and_stores(command: str, tmp_path: Path) -> None:
    dimse_port, http_port = free_port(), free_port()
    async with FaultStore() as store:
        places = {"11112": str(dimse_port), "8080": str(http_port), "http://127.0.0.1:8042/dicom-web": store.url}

        def here(text: str) -> str:
            return re.sub("|".join(places), lambda found: places[found[0]], text)  # at once: one port may have another's digits in it

        (tmp_path / "adapter.yaml").write_text(here(DOCUMENT))
        program, *arguments = shlex.split(here(command))
        assert program == "dicom-adapter"
        if not any(argument.startswith("--http_port") for argument in arguments):
            arguments.append(f"--http_port={http_port}")
        process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(60):
                while not await ready(http_port):  # noqa: ASYNC110 -- another process: there is no event to wait on
                    await asyncio.sleep(0.02)
            one = generated()
            wire = [(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.data_set)]
            assert await asyncio.to_thread(send_instances, "127.0.0.1", dimse_port, "IMPORTADAPTER", "CT1", wire) == [(0, "")]
            assert one.sop_instance_uid in store.stored
        finally:
            process.kill()  # how it drains is shown elsewhere
            await process.wait()

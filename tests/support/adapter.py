"""The adapter as users run it: a process of its own on free loopback ports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support import canaries, cloudlogging
from tests.support.orthanc import free_port

COMMAND = (sys.executable, "-m", "dicom_adapter")


class Adapter:
    """A running adapter with `GATE` as AE title. Async context manager; leaves nothing running."""

    def __init__(
        self,
        store: str,
        *,
        spec: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
        command: Sequence[str] = COMMAND,
        http: tuple[str, int] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.http_host, self.http_port = http or ("127.0.0.1", free_port())
        self._spec = {"aeTitle": "GATE", "port": self.port, "dicomStore": store, "drainSeconds": 0, **(spec or {})}
        self._environment = {**os.environ, **(environment or {})}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an image has everything compiled, and each start would compile it anew
        self._wait = wait
        self._command = command
        self._arguments = arguments
        self._directory = tempfile.TemporaryDirectory(prefix="adapter-")
        self.mounts = Path(self._directory.name, "mounts")
        self.lines: list[dict[str, Any]] = []
        self._log: list[str] = []
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        arguments = self._command_line(Path(self._directory.name))
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            f"--http_host={self.http_host}",
            *self._arguments,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read())
        if self._wait:
            try:
                await self.ready()
            except BaseException as error:  # the block is not entered, so nobody else ends what has been started
                await self.__aexit__(type(error))
                raise
        return self

    def _command_line(self, directory: Path) -> list[str]:
        """The command's, and the document that it reads."""
        document = {
            "apiVersion": "dicomadapter.io/v1alpha1",
            "kind": "DicomAdapter",
            "metadata": {"name": "ct-east", "namespace": "rad"},
            "spec": self._spec,
        }
        file = directory / "dicomadapter.yaml"
        file.write_text(json.dumps(document))
        return ["import", f"--config={file}", f"--mounts_directory={self.mounts}", f"--http_port={self.http_port}"]

    async def __aexit__(self, kind: object, *_: object) -> None:
        process = self.process
        assert process
        served = await self._served() if process.returncode is None else {}
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 60)
            except TimeoutError:
                process.kill()
                await process.wait()
        await self._reader
        self._directory.cleanup()
        if kind is None:  # a test that has failed anyway keeps its own error
            canaries.scan({"the adapter's log": "".join(self._log), **served})
            for line in self._log:
                if line.startswith("{"):
                    cloudlogging.read(line)

    async def _served(self) -> dict[str, str]:
        """What the HTTP port tells."""
        try:
            async with asyncio.timeout(5):
                return {f"the adapter's {page}": (await self.get(page))[1] for page in ("/status", "/metrics", "/readyz")}
        except (aiohttp.ClientError, TimeoutError):
            return {}  # not yet open, stopped by a test, or already closing

    async def _read(self) -> None:
        assert self.process
        assert self.process.stderr
        async for line in self.process.stderr:
            self._log.append(line.decode("utf-8", "replace"))
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"severity": "TEXT", "message": line.decode().rstrip()})

    async def get(self, path: str, *, method: str = "GET") -> tuple[int, str]:
        """A request to the HTTP port."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://{self.http_host}:{self.http_port}{path}") as response,
        ):
            return response.status, await response.text()

    async def status(self) -> dict[str, Any]:
        """/status."""
        return dict(json.loads((await self.get("/status"))[1]))

    async def ready(self, seconds: float = 60.0) -> None:
        """Waits for /readyz."""

        async def asked() -> bool:
            assert self.process
            assert self.process.returncode is None, self.lines
            try:
                return (await self.get("/readyz"))[0] == 200
            except aiohttp.ClientError:
                return False

        await self.poll(asked, seconds)

    async def store_becomes(self, reason: str, seconds: float = 60.0) -> dict[str, Any]:
        """Waits until the probe says so; gives /status."""

        async def asked() -> bool:
            return bool((await self.status())["store"]["reason"] == reason)

        await self.poll(asked, seconds)
        return await self.status()

    async def poll(self, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        """Asks until the answer is yes."""
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 -- another process: there is no event to wait on
                await asyncio.sleep(0.02)

    async def line(self, message: str, seconds: float = 60.0) -> dict[str, Any]:
        """Waits for the log line with this message; gives its fields."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for line in self.lines:
                        if line["message"] == message:
                            return line
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"no line {message!r} in:\n" + "\n".join(str(line) for line in self.lines)) from None

    async def poll_lines(self, matches: Callable[[str], bool], seconds: float = 60.0) -> None:
        """Waits for a log line whose message matches."""

        async def found() -> bool:
            return any(matches(line["message"]) for line in self.lines)

        await self.poll(found, seconds)

    async def ended(self, seconds: float = 60.0) -> int:
        """Waits for the end of the process, and until everything that it has logged is in `lines`; gives its exit status."""
        assert self.process
        async with asyncio.timeout(seconds):
            status = await self.process.wait()
            await asyncio.shield(self._reader)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process
        self.process.send_signal(number)

    def resident_bytes(self, which: str = "VmRSS") -> int:
        """Resident memory, from /proc; VmHWM is its peak."""
        assert self.process
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{which}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(which)


async def run(*arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Runs a command to its end: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, **(environment or {})}
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    printed = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    if arguments[: len(COMMAND)] == COMMAND:
        canaries.scan({"what the adapter prints": "".join(printed)})
    return process.returncode, *printed


async def dcmsend(port: int, files: Sequence[Path], *, host: str = "127.0.0.1", called: str = "GATE", calling: str = "CT1") -> str:
    """Sends files with dcmtk's dcmsend; gives what it prints."""
    command = ("dcmsend", "--debug", "--no-uid-checks", "-aet", calling, "-aec", called, host, str(port), *map(str, files))
    _, out, err = await run(*command, environment={"TCP_NODELAY": "1"})
    return out + err

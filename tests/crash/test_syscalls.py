"""The adapter as the kernel sees it: what comes before each Success, and what follows an error of the disk."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from tests.crash.test_kill import adapter, finish
from tests.support.adapter import Adapter
from tests.support.archive import Archive
from tests.support.history import History
from tests.support.syscalls import attached, calls

STORE_RESPONSE = b"\x00\x00\x00\x01\x02\x00\x00\x00\x01\x80"  # (0000,0100) Command Field, 8001
SUCCESS = b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"  # (0000,0900) Status, 0000
FINAL = ("fdatasync:error=EIO", "fsync:error=EIO")
PASSING = (
    "fdatasync:error=ENOSPC",
    "rename:error=EIO",
    "openat:error=EMFILE",
    "statfs:error=EIO",
    "writev:error=ENOSPC",
    "openat:error=ENOMEM",
    "rename:error=ENOSPC",
    "rename:error=EROFS",
)


def uids(data: bytes) -> list[str]:
    """(0000,1000) Affected SOP Instance UID, of each response in it."""
    found = re.findall(rb"\x00\x00\x00\x10(.)\x00\x00\x00([0-9.]+)", data, re.DOTALL)
    return [text[: length[0]].decode().rstrip("\0") for length, text in found]


if os.geteuid() == 0:  # to look at a process that is not a child of strace's

    async def test_every_success_follows_the_syncs_of_its_file_and_of_its_directory(tmp_path: Path, long: bool) -> None:
        """R3, by the order of the system calls alone."""
        history = History()
        images = 1200 if long else 60
        async with Archive(outage=503) as archive, adapter(archive, tmp_path / "spool") as watched:
            assert watched.process
            traced = "trace=write,writev,sendto,sendmsg,fdatasync,fsync,rename"
            async with attached(watched.process.pid, tmp_path / "trace", "-yy", "-xx", "-s", "700", "-e", traced) as strace:
                await history.send(watched.port, 4, most=images // 4)
            found = calls(strace.trace)
        path_of: dict[str, str] = {}
        synced: dict[str, int] = {}
        named: dict[str, int] = {}
        directories: list[tuple[int, int]] = []
        successes, preceded = 0, 0
        for call in sorted(found, key=lambda call: call.ended):
            incoming = re.search(r"incoming/([0-9a-f]{16})", decoded(call.text))
            if call.name == "writev" and incoming:
                match = re.search(rb"UI.\x00([0-9.]{10,64})\x00?\x02\x00\x10\x00", call.data, re.DOTALL)
                if match:
                    path_of[match[1].decode()] = incoming[1]
            elif call.name == "fdatasync" and incoming and call.succeeded:
                synced[incoming[1]] = call.ended
            elif call.name == "rename" and incoming and call.succeeded:
                named[incoming[1]] = call.ended
            elif call.name == "fsync" and "dicomStore/ready" in decoded(call.text) and call.succeeded:
                directories.append((call.began, call.ended))
        for call in found:
            data = call.data if call.name in ("write", "writev", "sendto", "sendmsg") and "TCP" in call.text else b""
            if STORE_RESPONSE not in data or SUCCESS not in data:
                continue
            for uid in uids(data):
                successes += 1
                file = path_of[uid]
                durable = synced[file] < named[file] and any(named[file] <= began and ended <= call.began for began, ended in directories)
                preceded += durable
        print(f"{preceded} of {successes} successes after fdatasync of the file and fsync of the directory; {len(directories)} fsyncs")
        assert successes == len(history.acknowledged) == images
        assert preceded == successes

    async def inject(victim: Adapter, history: History, trace: Path, what: str, sends: int) -> tuple[int, int]:
        """Sends while every second such call fails: how many errors were given, how many images acknowledged meanwhile."""
        before = len(history.acknowledged)
        assert victim.process
        async with attached(victim.process.pid, trace, "-e", f"trace={what.partition(':')[0]}", "-e", f"inject={what}:when=1+2") as strace:
            slowest = 0.0
            for _ in range(sends):
                began = time.monotonic()
                await history.send(victim.port, 1, most=1)
                slowest = max(slowest, time.monotonic() - began)
            injected = strace.injected
        print(f"{what}: {injected} errors, {len(history.acknowledged) - before} of {sends} acknowledged, the slowest after {slowest:.2f} s")
        return injected, len(history.acknowledged) - before

    async def test_no_error_of_the_disk_becomes_a_success(tmp_path: Path, long: bool) -> None:
        """R4: errors that pass. What was acknowledged meanwhile is delivered in the end; afterwards it works again without a restart."""
        history, injected = History(), 0
        async with Archive(outage=503) as archive:
            async with adapter(archive, tmp_path / "spool") as victim:
                for number, what in enumerate(PASSING if long else PASSING[:4]):
                    errors, _ = await inject(victim, history, tmp_path / f"trace{number}", what, 50 if long else 4)
                    injected += errors
                    after = len(history.acknowledged)
                    await history.send(victim.port, 1, most=1)
                    assert len(history.acknowledged) == after + 1, f"{what}: it works again"
                assert (await victim.status())["ready"]
            archive.outage = 0
            print(f"{injected} errors: {await finish(archive, tmp_path / 'spool', history)}; {dict(history.statuses)}")
            assert injected >= (200 if long else 4)
            refused = {status for status in history.statuses if status != "0000"}
            assert refused
            assert all(status.startswith("A700 Spool write failed: ") for status in refused), refused

    async def test_after_a_failed_sync_nothing_is_acknowledged_until_a_restart(tmp_path: Path, long: bool) -> None:
        """Row 28. The kernel may have forgotten what it could not write: no later fsync is believed."""
        for what in FINAL if long else FINAL[1:]:
            (tmp_path / what[:5]).mkdir()
            await fail(tmp_path / what[:5], what)

    async def fail(tmp_path: Path, what: str) -> None:
        history = History()
        async with Archive(outage=503) as archive:
            async with adapter(archive, tmp_path / "spool") as victim:
                await history.send(victim.port, 1, most=3)
                assert len(history.acknowledged) == 3
                assert victim.process
                async with attached(
                    victim.process.pid, tmp_path / "trace", "-e", f"trace={what.partition(':')[0]}", "-e", f"inject={what}:when=1"
                ):
                    await history.send(victim.port, 1, most=1)
                await history.send(victim.port, 2, most=3)
                assert len(history.acknowledged) == 3
                assert dict(history.statuses) == {"0000": 3, "A700 Spool write failed: input/output error": 7}
                said = (
                    f"the adapter could not fsync its spool (EIO) and acknowledges nothing until it restarts: "
                    f"check the volume of {tmp_path / 'spool'}"
                )
                assert (await victim.line(said))["severity"] == "CRITICAL"
                assert await victim.get("/readyz") == (503, f"SpoolFaulty: {said}\n")
                status = await victim.status()
                assert (status["spool"]["reason"], status["spool"]["message"]) == ("SpoolFaulty", said)
                assert status["verdict"] == {"level": "bad", "message": said}
            archive.outage = 0
            await finish(archive, tmp_path / "spool", history)


def decoded(text: str) -> str:
    """Paths are shown in hex as well."""
    return re.sub(r"((?:\\x[0-9a-f]{2})+)", lambda match: bytes.fromhex(match[1].replace("\\x", "")).decode("latin-1"), text)

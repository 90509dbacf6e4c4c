"""R1: an adapter that is killed, at any moment and at every point of its spool, loses nothing that it has acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.adapter import COMMAND, Adapter
from tests.support.archive import Archive
from tests.support.crashing import POINTS
from tests.support.history import History

ROOT = Path(__file__).parents[2]
ASSOCIATIONS = 4
ESSENTIAL = ("after:sync_file", "after:rename", "after:unlink")


def adapter(archive: Archive, spool: Path, point: str = "") -> Adapter:
    command = (sys.executable, "-m", "tests.support.crashing", point) if point else COMMAND
    return Adapter(
        archive.url,
        spec={"delivery": {"acknowledge": "AfterSpool"}},
        arguments=[f"--spool_directory={spool}"],
        command=command,
        environment={"PYTHONPATH": str(ROOT)},
    )


async def a_while(history: History, chance: random.Random, most: int) -> None:
    """Until some more have been acknowledged, and then anywhere in the next ones."""
    wanted = len(history.acknowledged) + chance.randint(most // 3, most)
    async with asyncio.timeout(60):
        while len(history.acknowledged) < wanted:  # noqa: ASYNC110 -- other threads: there is no event to wait on
            await asyncio.sleep(0.005)
    await asyncio.sleep(chance.uniform(0, 0.02))


async def finish(archive: Archive, spool: Path, history: History) -> str:
    """A last start, which delivers everything."""
    async with adapter(archive, spool) as last:

        async def empty() -> bool:
            return bool((await last.status())["spool"]["instances"] == 0)

        await last.poll(empty, 120)
        status = (await last.status())["spool"]
        assert status["failed"] == 0
    assert not files(spool)
    return history.judge(archive)


def files(spool: Path) -> list[Path]:
    """What is in the spool."""
    return [path for path in spool.rglob("*") if path.is_file() and path.name != "lock"]


async def test_it_is_killed_at_random_moments(tmp_path: Path, long: bool) -> None:
    chance = random.Random()
    kills, wanted = (50, 10_000) if long else (1, 1)
    history = History()
    async with Archive() as archive:
        done = 0
        while done < kills or len(history.acknowledged) < wanted:
            async with adapter(archive, tmp_path) as victim:
                sending = asyncio.create_task(history.send(victim.port, ASSOCIATIONS, most=100_000))
                await a_while(history, chance, 250 if long else 60)
                victim.signal(signal.SIGKILL)
                await sending
            done += 1
        print(f"{done} kills: {await finish(archive, tmp_path, history)}")


async def test_it_is_killed_at_every_point_of_the_spool(tmp_path: Path, long: bool) -> None:
    chance = random.Random()
    history = History()
    async with Archive() as archive:
        for point in POINTS if long else ESSENTIAL:
            before = len(history.acknowledged)
            delivered = len(files(tmp_path)) if point.endswith("unlink") else 0  # of the last round's, maybe before anybody sends
            with suppress(AssertionError):  # the start needs some of these calls too
                async with adapter(archive, tmp_path, f"{point}:{delivered + chance.randrange(20, 60)}") as victim:
                    await history.send(victim.port, ASSOCIATIONS, most=200)
                    assert victim.process
                    assert await asyncio.wait_for(victim.process.wait(), 30) == -signal.SIGKILL, point
            assert len(history.acknowledged) > before or point.endswith("create"), point
        print(f"{len(POINTS if long else ESSENTIAL)} points: {await finish(archive, tmp_path, history)}")


if os.geteuid() == 0:  # a file system of one's own
    from tests.support.powercut import Volume

    async def test_the_power_is_cut(tmp_path: Path, long: bool) -> None:
        """What has not been synced is really gone: a file that nobody syncs is looked for each time."""
        chance = random.Random()
        history = History()
        dropped = 0
        async with Archive(delay=0.05) as archive:
            with Volume(tmp_path) as volume:
                for _ in range(20 if long else 1):
                    async with adapter(archive, volume.path / "spool") as victim:
                        volume.write_without_sync("canary")
                        sending = asyncio.create_task(history.send(victim.port, ASSOCIATIONS, most=100_000))
                        await a_while(history, chance, 250 if long else 60)
                        volume.cut_power()
                        victim.signal(signal.SIGKILL)
                        await sending
                    dropped += not await asyncio.to_thread(volume.restore_power, "canary")
                text = await finish(archive, volume.path / "spool", history)
                print(f"{20 if long else 1} power cuts, {dropped} of them without the canary: {text}")
                assert dropped

"""What was exported from a store that tells nothing by itself: a file of SQLite, or memory. Losing it means sending things again."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable, Sequence

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS studies (digest BLOB PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS adopted (once INTEGER PRIMARY KEY);
"""
_AT_A_TIME = 500


class Ledger:
    """Digests of the instances that were exported, and how many instances a study had when all of them were. Raises sqlite3.Error."""

    def __init__(self, path: str = "") -> None:
        self._base = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")  # a lost second is sent again
        self._base.executescript(_SCHEMA)
        self._lock = asyncio.Lock()
        self._pending: list[str] = []

    def add(self, uid: str) -> None:
        """An instance was exported; `flush` writes it down."""
        self._pending.append(uid)

    async def flush(self) -> None:
        """Writes what was added."""
        async with self._lock:
            while self._pending:
                batch, self._pending = self._pending[:_AT_A_TIME], self._pending[_AT_A_TIME:]
                await asyncio.to_thread(self._insert, batch)

    async def missing(self, uids: Sequence[str]) -> list[str]:
        """Those that were not exported."""
        await self.flush()
        async with self._lock:
            return await asyncio.to_thread(self._missing, uids)

    async def count(self, study: str) -> int:
        """How many instances a study had when all of them were exported; -1 when that was never so."""
        async with self._lock:
            found = await asyncio.to_thread(self._row, "SELECT count FROM studies WHERE digest = ?", _digest(study))
        return int(found[0]) if found else -1

    async def complete(self, study: str, count: int) -> None:
        """All instances of a study are exported, so many."""
        async with self._lock:
            await asyncio.to_thread(self._write, "INSERT OR REPLACE INTO studies VALUES (?, ?)", [(_digest(study), count)])

    async def adopted(self) -> bool:
        """Whether what was in the store at the beginning has been noted."""
        async with self._lock:
            return await asyncio.to_thread(self._row, "SELECT once FROM adopted") is not None

    async def adopt(self) -> None:
        """It has."""
        async with self._lock:
            await asyncio.to_thread(self._write, "INSERT OR REPLACE INTO adopted VALUES (?)", [(1,)])

    async def close(self) -> None:
        """Writes what is left, and closes the file."""
        await self.flush()
        self._base.close()

    def _insert(self, uids: Iterable[str]) -> None:
        self._write("INSERT OR IGNORE INTO instances VALUES (?)", [(_digest(uid),) for uid in uids])

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._base:
            self._base.executemany(statement, rows)

    def _row(self, statement: str, *values: object) -> tuple[int] | None:
        found: tuple[int] | None = self._base.execute(statement, values).fetchone()
        return found

    def _missing(self, uids: Sequence[str]) -> list[str]:
        return [uid for uid in uids if self._row("SELECT 1 FROM instances WHERE digest = ?", _digest(uid)) is None]


def _digest(uid: str) -> bytes:
    return hashlib.blake2b(uid.encode(), digest_size=16).digest()

"""A 1 GB multi-frame object goes through without ever being in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct

import pytest

from tests.support.adapter import Adapter
from tests.support.dicom import Instance, generated
from tests.support.rawscu import COMMAND, DATA, LAST, RawScu, associate_rq, context, pdata, pdv, store_rq
from tests.support.store import FaultStore

SIZE = 1_000_000_000
FRAGMENT = 131072 - 12


def _send(port: int, one: Instance, prefix: bytes, block: bytes) -> int:
    """Sends `prefix` and then SIZE bytes of repeated `block`; gives the status."""
    with RawScu("127.0.0.1", port, timeout=240) as scu:
        scu.associate(associate_rq("GATE", "CT1", [context(1, one.sop_class_uid, one.transfer_syntax_uid)]))
        scu.socket.sendall(pdata(pdv(1, COMMAND | LAST, store_rq(one.sop_class_uid, one.sop_instance_uid))))
        scu.socket.sendall(pdata(pdv(1, DATA, prefix)))
        full = pdata(pdv(1, DATA, block))
        whole, rest = divmod(SIZE, FRAGMENT)
        for _ in range(whole):
            scu.socket.sendall(full)
        scu.socket.sendall(pdata(pdv(1, DATA | LAST, block[:rest])))
        status = scu.response().status
        scu.release()
    return status


def _digest(head: bytes, block: bytes) -> str:
    digest = hashlib.sha256(head)
    whole, rest = divmod(SIZE, FRAGMENT)
    for _ in range(whole):
        digest.update(block)
    digest.update(block[:rest])
    return digest.hexdigest()


@pytest.mark.slow
async def test_a_gigabyte_passes_with_the_adapter_under_200_megabytes_resident() -> None:
    one, block = generated(0), os.urandom(FRAGMENT)
    prefix = one.data_set + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, SIZE)
    async with FaultStore(keep=False) as store, Adapter(store.url) as adapter:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await asyncio.to_thread(_send, adapter.port, one, prefix, block) == 0
        seconds = loop.time() - started
        peak = adapter.resident_bytes("VmHWM")
        print(f"{SIZE / seconds / 1e6:.0f} MB/s, peak {peak / 1e6:.0f} MB resident")
        assert peak < 200_000_000
        (post,) = store.posts
        assert post.complete
        assert post.chunked
        meta = post.start[: 144 + int.from_bytes(post.start[140:144], "little")]
        assert post.size == len(meta) + len(prefix) + SIZE
        assert post.digest == await asyncio.to_thread(_digest, meta + prefix, block)

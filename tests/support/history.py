"""Senders that write down what they were told, to be held against what the store has in the end (reliability.md 2, method 6)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass, field

from dicom_adapter.dimse import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_adapter.part10 import FileMeta
from tests.support.archive import Archive
from tests.support.dicom import Instance, generated
from tests.support.rawscu import AssociationAborted, AssociationRejected, ConnectionClosed, RawScu, associate_rq, context, store_rq


class Images:
    """Any number of different images, cheap to make: one image with another UID each."""

    def __init__(self, size: int = 2000) -> None:
        self._one = generated(size)
        self._root = self._one.sop_instance_uid[:-9]
        self._numbers = itertools.count(100_000_000)

    def next(self) -> Instance:
        """One that nobody has seen."""
        old = self._one
        uid = f"{self._root}{next(self._numbers)}"
        return Instance(old.sop_class_uid, uid, old.transfer_syntax_uid, old.data_set.replace(old.sop_instance_uid.encode(), uid.encode()))


def digest(one: Instance) -> str:
    """Of the file that the store must have."""
    meta = FileMeta(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)
    return hashlib.sha256(meta.encode() + one.data_set).hexdigest()


@dataclass
class History:
    """What was sent, and what was acknowledged."""

    images: Images = field(default_factory=Images)
    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)

    async def send(self, port: int, associations: int, *, most: int) -> None:
        """Sends over so many associations, up to `most` images over each, until that is done or the adapter is gone."""
        await asyncio.gather(*(asyncio.to_thread(self._send, port, f"CT{number}", most) for number in range(associations)))

    def _send(self, port: int, calling: str, most: int) -> None:
        with contextlib.suppress(OSError, AssociationAborted, AssociationRejected, ConnectionClosed):
            first = self.images.next()
            with RawScu("127.0.0.1", port, timeout=30) as scu:
                scu.associate(associate_rq("GATE", calling, [context(1, first.sop_class_uid, first.transfer_syntax_uid)]))
                for number, one in enumerate(itertools.chain([first], (self.images.next() for _ in range(most - 1))), 1):
                    self.sent[one.sop_instance_uid] = digest(one)
                    scu.send_message(1, store_rq(one.sop_class_uid, one.sop_instance_uid, number & 0xFFFF), one.data_set)
                    response = scu.response()
                    self.statuses[f"{response.status:04X} {response.comment}".strip()] += 1
                    if response.status == 0:
                        self.acknowledged.add(one.sop_instance_uid)
                scu.release()

    def judge(self, archive: Archive) -> str:
        """Nothing lost, nothing else than what was sent; how it went, for people."""
        lost = self.acknowledged - archive.stored
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged images are lost"
        for uid, found in archive.digests.items():
            assert list(found) == [self.sent[uid]], f"{uid} is not what was sent"
        repeats = sum(sum(found.values()) - 1 for found in archive.digests.values())
        return f"{len(self.acknowledged)} acknowledged, 0 lost, 0 corrupted, {repeats} posted again"

"""Fuzzed input as a byte stream that arrives in pieces, and seeds for it out of what the other tests send over the wire."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import TypeVar

from dicom_adapter.dimse.limits import Limits
from dicom_adapter.dimse.pdu import Fragment
from tests.support.hostile import BEGINNINGS, Where, catalogue

Read = TypeVar("Read")

LIMITS = Limits(max_pdu_bytes=16384, max_associate_bytes=32768, max_command_bytes=512)
"""Small, so that fuzzed input reaches them."""

SEED_BYTES = 4096


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut the input: its first byte says how many sizes follow, they are used in turn for the rest. Without sizes it comes in one."""
    count = data[0] if data else 0
    sizes, stream = data[1 : 1 + count], data[1 + count :]
    position = step = 0
    while position < len(stream):
        size = sizes[step % len(sizes)] + 1 if sizes else len(stream)
        yield stream[position : position + size]
        position += size
        step += 1


def stream(data: bytes) -> bytes:
    """The same in one."""
    return data[1 + (data[0] if data else 0) :]


def joined(events: Iterable[object]) -> list[object]:
    """The same events with the parts of each fragment in one; empty parts that end nothing may or may not be there."""
    whole: list[object] = []
    for event in events:
        before = whole[-1] if whole else None
        if isinstance(event, Fragment) and isinstance(before, Fragment) and not before.last and before[:2] == event[:2]:
            whole[-1] = event._replace(data=memoryview(bytes(before.data) + bytes(event.data)))
        else:
            whole.append(event)
    return [event for event in whole if not isinstance(event, Fragment) or event.data or event.last]


def owned(event: object) -> object:
    """An event that outlives the buffer it came in."""
    return event._replace(data=memoryview(bytes(event.data))) if isinstance(event, Fragment) else event


def stream_seeds() -> Iterator[bytes]:
    """Everything that is short enough of the hostile catalogue, after a good beginning; whole and in pieces."""
    for hostile in catalogue():
        data = BEGINNINGS[hostile.where] + hostile.make(Random(hostile.name))
        if len(data) <= SEED_BYTES:
            yield b"\0" + data
            yield bytes((3, 0, 30, 200)) + data


def bodies(kind: int) -> Iterator[bytes]:
    """The bodies of all PDUs of one type in the catalogue that begin it."""
    for hostile in catalogue():
        data = hostile.make(Random(hostile.name))
        if hostile.where is Where.CONNECTION and data[:1] == bytes((kind,)) and 6 < len(data) <= SEED_BYTES:
            yield data[6:]


def peers_reading(read: Callable[[], Read]) -> Read | None:
    """What pynetdicom or pydicom make of an input, None when they refuse it: by any exception, and not without a warning or a log line."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except Exception:
        return None
    finally:
        logging.disable(logging.NOTSET)

"""Hostile DIMSE: command sets that are none, that lie, that name what must not be; data sets that hurt their reader (PS3.7 6.3, E)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

from tests.support.hostile import ABORTED_BY_PROVIDER, ECHO, STORE, Answered, Hostile, Where, fixed
from tests.support.hostile_associations import NASTY_UIDS
from tests.support.rawscu import COMMAND, CT_STORAGE, DATA, LAST, VERIFICATION, command_set, echo_rq, pdata, pdv, short, store_rq, uid
from tests.support.sink import instance_uid


def element(number: int, length: int, value: bytes, group: int = 0) -> bytes:
    """An element that says `length`."""
    return struct.pack("<HHL", group, number, length) + value


def command(data: bytes, context_id: int = ECHO) -> bytes:
    """A P-DATA-TF with this command set."""
    return pdata(pdv(context_id, COMMAND | LAST, data))


def message(command_bytes: bytes, data: bytes, size: int = 60_000) -> bytes:
    """A command and a data set on the storage context."""
    parts = [data[start : start + size] for start in range(0, max(1, len(data)), size)]
    values = (pdata(pdv(STORE, DATA | (LAST if number == len(parts) - 1 else 0), part)) for number, part in enumerate(parts))
    return command(command_bytes, STORE) + b"".join(values)


def kinds() -> Iterator[Hostile]:
    """Every kind of this chapter."""
    for name, data in _no_commands().items():
        yield Hostile(f"command set: {name}", Where.ASSOCIATION, fixed(command(data)), ABORTED_BY_PROVIDER)
    noise = Hostile(
        "command set: random bytes", Where.ASSOCIATION, lambda rng: command(b"\xaa\xbb" + rng.randbytes(90)), ABORTED_BY_PROVIDER
    )
    yield noise
    for name, data in _endless().items():
        yield Hostile(f"command set without end: {name}", Where.ASSOCIATION, fixed(data), ABORTED_BY_PROVIDER)
    for name, data, statuses in _refused():
        yield Hostile(name, Where.ASSOCIATION, fixed(data), Answered(statuses))
    for name, body in data_sets().items():
        stored = message(store_rq(CT_STORAGE, instance_uid(1, body)), body)
        yield Hostile(f"data set: {name}", Where.ASSOCIATION, fixed(stored), Answered((0,)))
    yield Hostile("data set: random bytes", Where.ASSOCIATION, _random_data_set, Answered((0,)))


def _no_commands() -> dict[str, bytes]:
    """What cannot be answered, for it names no operation or no message ID."""
    good = echo_rq()
    elements = [(0x0002, uid(VERIFICATION)), (0x0100, short(0x0030)), (0x0110, short(1)), (0x0800, short(0x0101))]

    def without(number: int, *values: bytes) -> bytes:
        return command_set([pair for pair in elements if pair[0] != number] + [(number, value) for value in values])

    return {
        "empty": b"",
        "zeros": bytes(64),
        "one byte": b"\0",
        "cut inside a header": good[:-5],
        "cut inside a value": good[:-1],
        "a value that is not there": good + element(0x0902, 10, b"abc"),
        "a value of 4 GB": element(0x0000, 0xFFFFFFFF, b"abcd") + good[12:],
        "an undefined length": good + element(0x1000, 0xFFFFFFFF, b""),
        "an element of another group": good + element(0x0010, 2, b"ab", group=8),
        "a sequence": good + element(0x0010, 0xFFFFFFFF, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", group=8),
        "an element twice": command_set([*elements, (0x0100, short(1))]),
        "no command field": without(0x0100),
        "an empty command field": without(0x0100, b""),
        "a command field of one byte": without(0x0100, b"\x30"),
        "a command field of four bytes": without(0x0100, b"\x30\0\0\0"),
        "no message ID": without(0x0110),
        "a message ID of one byte": without(0x0110, b"\1"),
        "no data set type": without(0x0800),
        "a data set type of three bytes": without(0x0800, b"\1\1\0"),
        "big endian": struct.pack(">HHLL", 0, 0, 4, 10) + struct.pack(">HHLH", 0, 0x0100, 2, 0x30),
        "explicit VR": b"\0\0\0\0UL\4\0\x0a\0\0\0" + b"\0\0\0\1US\2\0\x30\0",
        "a C-ECHO-RSP to nothing": command_set([(0x0100, short(0x8030)), (0x0120, short(1)), (0x0800, short(0x0101)), (0x0900, short(0))]),
        "a C-STORE-RSP to nothing": command_set([(0x0100, short(0x8001)), (0x0120, short(1)), (0x0800, short(0x0101)), (0x0900, short(0))]),
        "a C-FIND-RSP with an identifier": command_set(
            [(0x0100, short(0x8020)), (0x0120, short(1)), (0x0800, short(1)), (0x0900, short(0xFF00))]
        ),
        "a text": b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
    }


def _endless() -> dict[str, bytes]:
    part = pdata(*[pdv(ECHO, COMMAND, bytes(16_000))])
    header = element(0x0902, 0x7FFFFFFF, b"")
    return {
        "zeros": part * 5,
        "one element": pdata(pdv(ECHO, COMMAND, header)) + part * 5,
        "small elements": pdata(*[pdv(ECHO, COMMAND, b"".join(element(n, 0, b"") for n in range(9000)))]),
        "fragments of a byte": pdata(*[pdv(ECHO, COMMAND, b"\0")] * 18_000) * 4,
    }


def _refused() -> Iterator[tuple[str, bytes, tuple[int | None, ...]]]:
    """Requests that are whole and cannot be served: a status, and the association goes on."""
    for name, field in {"C-FIND": 0x0020, "C-MOVE": 0x0021, "C-GET": 0x0010}.items():
        query = command_set([(0x0002, uid(CT_STORAGE)), (0x0100, short(field)), (0x0110, short(7)), (0x0700, short(0)), (0x0800, short(1))])
        yield f"{name} on a storage context", message(query, bytes(20)), (None,)
    operations = {"N-EVENT-REPORT": 0x0100, "N-GET": 0x0110, "N-SET": 0x0120, "N-ACTION": 0x0130, "N-CREATE": 0x0140, "N-DELETE": 0x0150}
    for name, field in {**operations, "operation 0x7777": 0x7777, "operation 0": 0}.items():
        data = command_set([(0x0002, uid(VERIFICATION)), (0x0100, short(field)), (0x0110, short(7)), (0x0800, short(0x0101))])
        yield f"{name} on the Verification context", command(data), (None,)
    yield "C-ECHO on a storage context", command(echo_rq(), STORE), (None,)
    yield "C-STORE on the Verification context", command(store_rq(CT_STORAGE, "1.2", data_set=False)), (None,)
    yield "C-STORE without a data set", command(store_rq(CT_STORAGE, "1.2", data_set=False), STORE), (0xC000,)
    yield "C-STORE with an empty data set", message(store_rq(CT_STORAGE, "1.2"), b""), (None,)
    yield "C-STORE of another SOP class", message(store_rq("1.2.840.10008.5.1.4.1.1.4", "1.2"), b"ab"), (0x0122,)
    for name, text in NASTY_UIDS.items():
        if text.strip("\0 "):
            yield f"C-STORE of an instance: {name}", message(_store(uid(CT_STORAGE), text.encode()), b"ab"), (0x0117,)
            yield f"C-STORE of an SOP class: {name}", message(_store(text.encode(), b"1.2\0"), b"ab"), (0x0122,)
    yield "C-STORE of an instance beyond ASCII", message(_store(uid(CT_STORAGE), b"1.2.\xff\xfe"), b"ab"), (0x0117,)
    yield "C-STORE without an instance", message(_store(uid(CT_STORAGE), b""), b"ab"), (0xC000,)
    yield "C-STORE without a class", message(_store(b"", b"1.2\0"), b"ab"), (0xC000,)
    cancel = command_set([(0x0100, short(0x0FFF)), (0x0120, short(9)), (0x0800, short(0x0101))])
    yield "1,000 C-CANCELs of nothing", command(cancel) * 1000, ()
    yield "a wrong group length", command(echo_rq()[:8] + b"\xff\xff\xff\x7f" + echo_rq()[12:]), (0,)
    yield "200 echoes ahead of their answers", command(echo_rq()) * 200, (0,) * 200


def _store(sop_class: bytes, sop_instance: bytes) -> bytes:
    elements = [(0x0002, sop_class), (0x0100, short(1)), (0x0110, short(7)), (0x0700, short(0)), (0x0800, short(1)), (0x1000, sop_instance)]
    return command_set(elements)


def data_sets() -> dict[str, bytes]:
    """Data sets that crash those who read them; a gateway passes them on as they are. Explicit VR little endian."""
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return {
        "sequences 5,000 levels deep": sequence * 5000,
        "a value of 4 GB that is not there": struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFFE) + b"abcd",
        "a value one byte past the end": struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 9) + b"12345678",
        "half an element header": b"\x10\0\x10",
        "a VR that is none": struct.pack("<HH2sH", 0x0008, 0x0005, b"\xff\xfe", 8) + bytes(8),
        "fragments without end": struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 2000,
        "rows and columns of 65,535": struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 65535)
        + struct.pack("<HH2sHH", 0x0028, 0x0011, b"US", 2, 65535),
        "HTTP boundaries": b"\r\n--boundary--\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" * 20,
    }


def _random_data_set(rng: Random) -> bytes:
    body = rng.randbytes(rng.randrange(1, 200_000))
    return message(store_rq(CT_STORAGE, instance_uid(rng.randrange(1 << 30), body)), body)

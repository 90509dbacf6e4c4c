"""Hostile input before there is an association: other protocols, lying lengths, broken A-ASSOCIATE-RQs (PS3.8 9.3.2, PS3.7 D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.support.hostile import (
    ECHO,
    NOT_AN_ASSOCIATION,
    STORE,
    Aborted,
    Accepted,
    Closed,
    Hostile,
    Left,
    Outcome,
    Rejected,
    Where,
    fixed,
)
from tests.support.rawscu import (
    ABORT,
    APPLICATION_CONTEXT,
    COMMAND,
    CT_STORAGE,
    EXPLICIT,
    IMPLICIT,
    LAST,
    RELEASE_RQ,
    VERIFICATION,
    associate_rq,
    context,
    echo_rq,
    item,
    pdata,
    pdu,
    pdv,
)

GOOD_CONTEXTS = [context(STORE, CT_STORAGE, EXPLICIT), context(ECHO, VERIFICATION, IMPLICIT)]
GOOD = associate_rq("GATE", "EVIL", GOOD_CONTEXTS)
ACCEPTED = Accepted({STORE: 0, ECHO: 0})

FOREIGN = {
    "HTTP": b"GET /dicom-web/studies HTTP/1.1\r\nHost: gate\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(189),
    "SSH": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "SMB": b"\0\0\0\x90\xfeSMB@\0" + bytes(50),
    "HL7": b"\x0bMSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.3\r\x1c\r",
    "PROXY version 1": b"PROXY TCP4 10.1.2.3 10.1.2.4 5000 104\r\n",
    "PROXY version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "a Part 10 file": bytes(128) + b"DICM\2\0\0\0UL\4\0" + bytes(100),
}

USER_ITEMS = {
    "maximum length": 0x51,
    "class UID": 0x52,
    "operations window": 0x53,
    "role selection": 0x54,
    "version name": 0x55,
    "extended negotiation": 0x56,
    "common extended negotiation": 0x57,
    "user identity": 0x58,
}

NASTY_UIDS = {
    "path": "../../../../etc/passwd",
    "shell": "1.2;touch /tmp/x`id`$(id)",
    "header": "1.2\r\nX-Evil: 1",
    "quotes": "1.2\"'<script>",
    "NULs": "1.2\0\0\0.3",
    "empty": "",
    "long": "1." * 500 + "1",
    "template": "{{7*7}}%s%n${jndi:ldap://x}",
}


def request(items: bytes, *, fixed_fields: bytes | None = None) -> bytes:
    """An A-ASSOCIATE-RQ with these variable items."""
    return pdu(1, (fixed_fields if fixed_fields is not None else GOOD[6:74]) + items)


def raw_item(kind: int, length: int, value: bytes) -> bytes:
    """An item that says `length`."""
    return struct.pack(">BxH", kind, length) + value


APPLICATION = item(0x10, APPLICATION_CONTEXT.encode())
CONTEXTS = b"".join(GOOD_CONTEXTS)
USER = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))


def user(value: bytes) -> bytes:
    """An A-ASSOCIATE-RQ with this user information."""
    return request(APPLICATION + CONTEXTS + item(0x50, item(0x51, struct.pack(">L", 16384)) + value))


def kinds() -> Iterator[Hostile]:
    """Every kind of this chapter."""
    for name, data in FOREIGN.items():
        yield Hostile(f"{name} in place of DICOM", Where.CONNECTION, fixed(data), Closed())
    yield Hostile("random bytes that begin no PDU", Where.CONNECTION, lambda rng: b"\x99" + rng.randbytes(rng.randrange(2000)), Closed())
    yield Hostile("nothing, then a close", Where.CONNECTION, fixed(b""), Left("close"))
    yield Hostile("nothing, then a reset", Where.CONNECTION, fixed(b""), Left("reset"))
    yield from _pdus()
    for name, data in _broken_requests().items():
        yield Hostile(f"A-ASSOCIATE-RQ with {name}", Where.CONNECTION, fixed(data), NOT_AN_ASSOCIATION)
    for name, data, outcome in _odd_requests():
        yield Hostile(f"A-ASSOCIATE-RQ with {name}", Where.CONNECTION, fixed(data), outcome)
    yield Hostile("A-ASSOCIATE-RQ a byte at a time", Where.CONNECTION, fixed(GOOD), ACCEPTED, piece=1)


def _pdus() -> Iterator[Hostile]:
    """PDUs that are no A-ASSOCIATE-RQ, or not all of one (PS3.8 table 9-10, Sta2)."""
    others = {
        "A-ASSOCIATE-AC": pdu(2, bytes(68)),
        "A-ASSOCIATE-RJ": pdu(3, bytes(4)),
        "A-RELEASE-RQ": RELEASE_RQ,
        "A-RELEASE-RP": pdu(6, bytes(4)),
    }
    others["P-DATA-TF"] = pdata(pdv(ECHO, COMMAND | LAST, echo_rq()))
    for name, data in others.items():
        yield Hostile(f"{name} before the association", Where.CONNECTION, fixed(data), Aborted(0, 0))
    yield Hostile("A-ABORT before the association", Where.CONNECTION, fixed(ABORT), Closed())
    for length in (0, 1, 67, (1 << 20) + 1, 1 << 24, 0x54202F20, 1 << 31, 0xFFFFFFFF):
        data = struct.pack(">BxL", 1, length) + bytes(100)
        yield Hostile(f"A-ASSOCIATE-RQ of {length} bytes, as it says", Where.CONNECTION, fixed(data), NOT_AN_ASSOCIATION)
    for name, by in (("a close", "close"), ("a reset", "reset")):
        cut = Left("close") if by == "close" else Left("reset")
        yield Hostile(f"part of an A-ASSOCIATE-RQ, then {name}", Where.CONNECTION, lambda rng: GOOD[: rng.randrange(1, len(GOOD))], cut)
        yield Hostile(f"an A-ASSOCIATE-RQ, then {name}", Where.CONNECTION, fixed(GOOD), cut)
    yield Hostile("A-ASSOCIATE-RQ longer than its content, then a close", Where.CONNECTION, fixed(pdu(1, bytes(100))[:-50]), Left("close"))


def _broken_requests() -> dict[str, bytes]:
    """Item and sub-item lengths past their parents or short of their fields, and items missing or doubled."""
    broken = {
        "only its fixed fields": request(b""),
        "zeros for items": request(bytes(200)),
        "half an item header": request(APPLICATION + CONTEXTS + USER + b"\x50\0"),
        "no application context": request(CONTEXTS + USER),
        "two application contexts": request(APPLICATION * 2 + CONTEXTS + USER),
        "no presentation context": request(APPLICATION + USER),
        "no user information": request(APPLICATION + CONTEXTS),
        "two user informations": request(APPLICATION + CONTEXTS + USER * 2),
        "a context ID twice": request(APPLICATION + CONTEXTS * 2 + USER),
        "129 contexts": request(APPLICATION + b"".join(context(n % 256 | 1, "1.2", EXPLICIT) for n in range(0, 258, 2)) + USER),
        "an even context ID": request(APPLICATION + context(2, CT_STORAGE, EXPLICIT) + USER),
        "a context of three bytes": request(APPLICATION + item(0x20, b"\1\0\0") + USER),
        "a context without abstract syntax": request(APPLICATION + item(0x20, b"\1\0\0\0" + item(0x40, EXPLICIT.encode())) + USER),
        "a context without transfer syntax": request(APPLICATION + context(1, CT_STORAGE) + USER),
        "two abstract syntaxes": request(APPLICATION + item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") * 2 + item(0x40, b"1.2")) + USER),
        "contexts within contexts": request(APPLICATION + _nested(300) + USER),
        "a maximum length of three bytes": user(item(0x51, b"\0\0\1")),
        "a maximum length of five bytes": user(item(0x51, bytes(5))),
        "an operations window of three bytes": user(item(0x53, b"\0\1\0")),
        "a role selection without roles": user(item(0x54, struct.pack(">H", 3) + b"1.2")),
        "a role selection whose UID is longer than it": user(item(0x54, struct.pack(">H", 0xFFFF) + b"1.2\1\1")),
        "an extended negotiation whose UID is longer than it": user(item(0x56, struct.pack(">H", 500) + b"1.2")),
        "a common extended negotiation of one byte": user(item(0x57, b"\0")),
        "a user identity of one byte": user(item(0x58, b"\1")),
        "a user identity whose primary field is longer than it": user(item(0x58, b"\1\0\xff\xffab")),
        "a user identity without the length of its secondary field": user(item(0x58, b"\2\0\0\2ab\0")),
    }
    parents = {
        "application context": (0x10, b""),
        "presentation context": (0x20, APPLICATION),
        "user information": (0x50, APPLICATION + CONTEXTS),
    }
    for name, (kind, before) in parents.items():
        for length in (500, 0xFFFF):
            broken[f"a {name} item of {length} bytes, as it says"] = request(before + raw_item(kind, length, b"\1\0\0\0abc"))
    for name, kind in {"abstract syntax": 0x30, "transfer syntax": 0x40}.items():
        lying = item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") + raw_item(kind, 0xFFFF, b"1.2"))
        broken[f"an {name} past its context"] = request(APPLICATION + lying + USER)
    for name, kind in USER_ITEMS.items():
        broken[f"a {name} item past the user information"] = user(raw_item(kind, 0xFFF0, b"\0\1\0\1"))
        broken[f"a {name} item one byte past the user information"] = user(raw_item(kind, 5, b"\0\1\0\1"))
    return broken


def _nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = item(0x20, b"\1\0\0\0" + value)
    return value


def _odd_requests() -> Iterator[tuple[str, bytes, Outcome]]:
    """What is whole and strange: answered, or rejected with what it deserves."""
    yield "another called AE title", associate_rq("GATEWAY", "EVIL", GOOD_CONTEXTS), Rejected(1, 1, 7)
    for name, text in {"path": "../../etc/passwd", "header": "A\r\nX: y", "Latin-1": "G\xc4TE\xff", "empty": "", "NULs": "\0" * 16}.items():
        yield f"a called AE title: {name}", associate_rq(text, "EVIL", GOOD_CONTEXTS), Rejected(1, 1, 7)
    for name, text in {"path": "../../etc/passwd", "header": "A\r\nX: y", "Latin-1": "M\xdcNCHEN\xff", "quotes": "'\"<b>;$(id)"}.items():
        yield f"a calling AE title: {name}", associate_rq("GATE", text, GOOD_CONTEXTS), ACCEPTED
    yield "no calling AE title", associate_rq("GATE", "", GOOD_CONTEXTS), Rejected(1, 1, 3)
    for version in (0, 2, 0xFFFE):
        yield f"protocol version {version}", associate_rq("GATE", "EVIL", GOOD_CONTEXTS, version=version), Rejected(1, 2, 2)
    for name, uid in NASTY_UIDS.items():
        rejected = associate_rq("GATE", "EVIL", GOOD_CONTEXTS, application_context=uid)
        yield f"an application context name: {name}", rejected, Rejected(1, 1, 2)
        yield f"an abstract syntax: {name}", associate_rq("GATE", "EVIL", [*GOOD_CONTEXTS, context(5, uid, EXPLICIT)]), Accepted({5: 3})
        yield f"a transfer syntax: {name}", associate_rq("GATE", "EVIL", [*GOOD_CONTEXTS, context(5, CT_STORAGE, uid)]), Accepted({5: 4})
        yield f"a role for an SOP class: {name}", user(item(0x54, struct.pack(">H", len(uid)) + uid.encode() + b"\1\1")), ACCEPTED
    yield "a class UID and version name beyond ASCII", user(item(0x52, b"\xff\xfe1.2") + item(0x55, b"\x1b[31m\xe4\r\n")), ACCEPTED
    yield "a maximum length of 0", associate_rq("GATE", "EVIL", GOOD_CONTEXTS, maximum_length=0), ACCEPTED
    yield "a maximum length of 1", associate_rq("GATE", "EVIL", GOOD_CONTEXTS, maximum_length=1), ACCEPTED
    yield "items of unknown types", request(item(0x99, b"x" * 99) + APPLICATION + CONTEXTS + USER + item(0, b"")), ACCEPTED
    yield "10,000 empty items", request(item(0x99, b"") * 10_000 + APPLICATION + CONTEXTS + USER), ACCEPTED
    yield "10,000 empty user items", user(item(0x99, b"") * 10_000), ACCEPTED
    yield "1,000 transfer syntaxes", associate_rq("GATE", "EVIL", [*GOOD_CONTEXTS, context(5, CT_STORAGE, *["x"] * 1000)]), Accepted({5: 4})
    yield (
        "128 contexts",
        associate_rq("GATE", "EVIL", [*GOOD_CONTEXTS, *(context(n, "1.2.3", EXPLICIT) for n in range(5, 256, 2))]),
        Accepted({255: 0}),
    )
    for kind in (0, 3, 5, 255):
        identity = item(0x58, bytes((kind, 1)) + struct.pack(">H", 5) + b"\xff\0';-" + struct.pack(">H", 0))
        yield f"a user identity of type {kind}", user(identity), ACCEPTED

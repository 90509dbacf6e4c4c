"""A DICOM sender that sends exactly the bytes it is told to, and keeps every byte it gets: for what no well-behaved sender does.

`send_instances` is the simple way: known data set bytes of any SOP class in any transfer syntax, one C-STORE after the other.
It uses none of the code under test.
"""

import socket
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

VERIFICATION = "1.2.840.10008.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

COMMAND, DATA, LAST = 1, 0, 2
RELEASE_RQ = struct.pack(">BxLL", 5, 4, 0)
ABORT = struct.pack(">BxL4B", 7, 4, 0, 0, 0, 0)

Instance = tuple[str, str, str, bytes]


class Pdu(NamedTuple):
    type: int
    body: bytes


class AssociationRejected(Exception):
    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"rejected {result}/{source}/{reason}")
        self.triple = result, source, reason


class AssociationAborted(Exception):
    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"aborted {source}/{reason}")
        self.pair = source, reason


class ConnectionClosed(Exception):
    """The other side closed without a PDU."""


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def context(context_id: int, abstract_syntax: str, *transfer_syntaxes: str) -> bytes:
    syntaxes = b"".join(item(0x40, syntax.encode()) for syntax in transfer_syntaxes)
    return item(0x20, bytes((context_id, 0, 0, 0)) + item(0x30, abstract_syntax.encode()) + syntaxes)


def associate_rq(
    called: str,
    calling: str,
    contexts: Iterable[bytes],
    *,
    user_items: bytes = b"",
    maximum_length: int = 16384,
    version: int = 1,
    application_context: str = APPLICATION_CONTEXT,
) -> bytes:
    user = item(0x51, struct.pack(">L", maximum_length)) + item(0x52, b"1.2.826.0.1.3680043.10.1") + user_items
    fixed = struct.pack(">Hxx", version) + called.encode("latin-1").ljust(16) + calling.encode("latin-1").ljust(16) + bytes(32)
    return pdu(1, fixed + item(0x10, application_context.encode()) + b"".join(contexts) + item(0x50, user))


def associate_ac(contexts: Iterable[tuple[int, int, str]], *, user_items: bytes = b"", maximum_length: int = 16384) -> bytes:
    """An A-ASSOCIATE-AC; contexts are ID, result and transfer syntax."""
    user = item(0x51, struct.pack(">L", maximum_length)) + item(0x52, b"1.2.826.0.1.3680043.10.1") + user_items
    answers = b"".join(item(0x21, bytes((number, 0, result, 0)) + item(0x40, syntax.encode())) for number, result, syntax in contexts)
    return pdu(2, struct.pack(">Hxx", 1) + bytes(64) + item(0x10, APPLICATION_CONTEXT.encode()) + answers + item(0x50, user))


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context_id, control) + data


def pdata(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


def command_set(elements: Iterable[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def uid(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)


def echo_rq(message_id: int = 1) -> bytes:
    return command_set([(0x0002, uid(VERIFICATION)), (0x0100, short(0x0030)), (0x0110, short(message_id)), (0x0800, short(0x0101))])


def store_rq(sop_class: str, sop_instance: str, message_id: int = 1, *, data_set: bool = True) -> bytes:
    return command_set(
        [
            (0x0002, uid(sop_class)),
            (0x0100, short(0x0001)),
            (0x0110, short(message_id)),
            (0x0700, short(0)),
            (0x0800, short(0x0001 if data_set else 0x0101)),
            (0x1000, uid(sop_instance)),
        ]
    )


def elements_of(command: bytes) -> dict[int, bytes]:
    elements = {}
    position = 0
    while position < len(command):
        group, element, length = struct.unpack_from("<HHL", command, position)
        assert group == 0
        elements[element] = command[position + 8 : position + 8 + length]
        position += 8 + length
    assert position == len(command)
    return elements


class Response(NamedTuple):
    """A response's command set."""

    context_id: int
    elements: dict[int, bytes]

    @property
    def status(self) -> int:
        return int.from_bytes(self.elements[0x0900], "little")

    @property
    def comment(self) -> str:
        return self.elements.get(0x0902, b"").decode("ascii").rstrip(" ")


class RawScu:
    """One connection. `sent` and `received` hold every byte of it. With `window` that is how much the peer may send without being read."""

    def __init__(self, host: str, port: int, timeout: float = 60, *, window: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.settimeout(timeout)
        if window:  # before it connects: a window that shrinks afterwards leaves TCP with what it must not have, and in long pauses
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        try:
            self.socket.connect((host, port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = bytearray()
        self.received = bytearray()
        self.acceptance = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.sent += data

    def send_bytewise(self, data: bytes, size: int = 1) -> None:
        for start in range(0, len(data), size):
            self.send(data[start : start + size])

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise ConnectionClosed(f"closed with {len(data)} of {size} bytes")
            data += part
            self.received += part
        return data

    def receive(self) -> Pdu:
        kind, length = struct.unpack(">BxL", self._exactly(6))
        return Pdu(kind, self._exactly(length))

    def expect(self, kind: int) -> bytes:
        """The body of the next PDU, which must be of this type; a rejection or abort in its place is raised."""
        got = self.receive()
        if got.type == kind:
            return got.body
        if got.type == 3:
            raise AssociationRejected(*got.body[1:4])
        if got.type == 7:
            raise AssociationAborted(*got.body[2:4])
        raise AssertionError(f"PDU type {got.type} where {kind} was expected")

    def closed_silently(self) -> bool:
        """Whether the next thing that happens is the end of the connection."""
        try:
            self.receive()
        except ConnectionClosed:
            return True
        return False

    def associate(self, request: bytes) -> dict[int, tuple[int, str]]:
        """Send an A-ASSOCIATE-RQ and return result and transfer syntax of each context."""
        self.send(request)
        self.acceptance = self.expect(2)
        results = {}
        for kind, value in _items(self.acceptance[68:]):
            if kind == 0x21:
                results[value[0]] = value[2], dict(_items(value[4:])).get(0x40, b"").decode()
        return results

    def associated(self, request: bytes) -> Self:
        """The same, for a `with` statement: closed if there is no association."""
        try:
            self.associate(request)
        except BaseException:
            self.close()
            raise
        return self

    def user_items(self) -> dict[int, bytes]:
        """The user information of the A-ASSOCIATE-AC."""
        return dict(_items(dict(_items(self.acceptance[68:]))[0x50]))

    def send_message(self, context_id: int, command: bytes, data: bytes | None = None, size: int = 16000) -> None:
        self.send(pdata(pdv(context_id, COMMAND | LAST, command)))
        if data is not None:
            for start in range(0, max(1, len(data)), size):
                last = LAST if start + size >= len(data) else 0
                self.send(pdata(pdv(context_id, DATA | last, data[start : start + size])))

    def response(self) -> Response:
        command = b""
        while True:
            body = self.expect(4)
            while body:
                length, context_id, control = struct.unpack_from(">LBB", body)
                command += body[6 : 4 + length]
                body = body[4 + length :]
                if control == COMMAND | LAST:
                    assert not body
                    return Response(context_id, elements_of(command))

    def release(self) -> None:
        self.send(RELEASE_RQ)
        self.expect(6)

    def send_reset(self) -> None:
        """Close with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def _items(data: bytes) -> list[tuple[int, bytes]]:
    items = []
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        items.append((kind, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return items


def send_instances(host: str, port: int, called: str, calling: str, instances: Sequence[Instance]) -> list[tuple[int, str]]:
    """Send (SOP class, SOP instance, transfer syntax, data set bytes) over one association; return status and Error Comment of each.

    An instance whose presentation context is refused gets status 0x0122 and says so. A rejected or aborted association is raised.
    """
    pairs = list(dict.fromkeys((sop_class, syntax) for sop_class, _, syntax, _ in instances))
    if len(pairs) > 128:
        raise ValueError("one association has 128 presentation contexts")
    ids = {pair: 2 * number + 1 for number, pair in enumerate(pairs)}
    outcomes = []
    with RawScu(host, port, timeout=60) as scu:
        results = scu.associate(associate_rq(called, calling, [context(ids[pair], *pair) for pair in pairs]))
        for number, (sop_class, sop_instance, syntax, data) in enumerate(instances, 1):
            context_id = ids[sop_class, syntax]
            if results[context_id][0]:
                outcomes.append((0x0122, f"presentation context refused, result {results[context_id][0]}"))
                continue
            scu.send_message(context_id, store_rq(sop_class, sop_instance, number & 0xFFFF), data)
            response = scu.response()
            assert response.elements[0x0120] == short(number & 0xFFFF)
            outcomes.append((response.status, response.comment))
        scu.release()
    return outcomes

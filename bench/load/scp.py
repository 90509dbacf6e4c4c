"""A C-STORE sink that costs next to nothing, a process per association: what senders are measured against.

    python -m bench.load.scp [SPOOL]

With a spool's directory it keeps each data set in a file of its own, and answers when that and its name are safe: what any receiver with
that promise has to do, and nothing else.

Prints its port, then for each association a line: instances, the clock (CLOCK_MONOTONIC) at the first byte after the A-ASSOCIATE-AC and at
the last C-STORE response. So a sender's start, its reading of directories and its negotiation do not count.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time

from tests.support.rawscu import APPLICATION_CONTEXT, COMMAND, LAST, command_set, item, pdata, pdu, pdv, short

MAXIMUM_LENGTH = 131072
ACCEPTED = 0


def acceptance(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC that takes the first transfer syntax of every presentation context."""
    items = [item(0x10, APPLICATION_CONTEXT.encode())]
    position = 68
    while position < len(request):
        kind, length = struct.unpack_from(">BxH", request, position)
        value = request[position + 4 : position + 4 + length]
        position += 4 + length
        if kind == 0x20:
            abstract = 4 + struct.unpack_from(">H", value, 6)[0] + 4
            syntax_length = struct.unpack_from(">H", value, abstract + 2)[0]
            syntax = value[abstract + 4 : abstract + 4 + syntax_length]
            items.append(item(0x21, bytes((value[0], 0, ACCEPTED, 0)) + item(0x40, syntax)))
    items.append(item(0x50, item(0x51, struct.pack(">L", MAXIMUM_LENGTH)) + item(0x52, b"1.2.826.0.1.3680043.10.1")))
    return pdu(2, request[:68] + b"".join(items))


class Gone(Exception):
    """The sender has closed."""


class Keeper:
    """Data sets into files, two syncs each."""

    def __init__(self, spool: str) -> None:
        self._incoming, self._ready = f"{spool}/incoming", f"{spool}/dicomStore/ready"
        self._handle = os.open(self._ready, os.O_RDONLY)
        self._pieces: list[bytes] = []
        self._count = 0

    def take(self, piece: memoryview) -> None:
        """A part of one."""
        self._pieces.append(bytes(piece))

    def keep(self) -> None:
        """It is whole."""
        name = f"{os.getpid()}-{self._count}"
        self._count += 1
        file = os.open(f"{self._incoming}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        for piece in self._pieces:
            assert os.write(file, piece) == len(piece)
        os.fdatasync(file)
        os.close(file)
        os.rename(f"{self._incoming}/{name}", f"{self._ready}/{name}")
        os.fsync(self._handle)
        self._pieces.clear()


class Receiver:
    """One association."""

    def __init__(self, connection: socket.socket, keeper: Keeper | None = None) -> None:
        self._keeper = keeper
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._buffer = memoryview(bytearray(1 << 20))
        self._from, self._to = 0, 0

    def _take(self, count: int) -> memoryview:
        """The next `count` bytes; good until the next call."""
        while self._to - self._from < count:
            if self._from + count > len(self._buffer):
                rest = bytes(self._buffer[self._from : self._to])
                self._buffer[: len(rest)] = rest
                self._from, self._to = 0, len(rest)
            got = self._connection.recv_into(self._buffer[self._to :])
            if not got:
                raise Gone
            self._to += got
        self._from += count
        taken = self._buffer[self._from - count : self._from]
        if self._from == self._to:
            self._from = self._to = 0
        return taken

    def _pdu(self) -> tuple[int, memoryview]:
        kind, length = struct.unpack(">BxL", self._take(6))
        return kind, self._take(length)

    def run(self) -> str:
        """Receive all; return the line about it."""
        self._connection.sendall(acceptance(bytes(self._pdu()[1])))
        self._connection.recv(1, socket.MSG_PEEK)
        began = ended = time.monotonic()
        command = b""
        count = 0
        while True:
            kind, body = self._pdu()
            if kind != 4:
                break
            position = 0
            while position < len(body):
                length, context_id, control = struct.unpack_from(">LBB", body, position)
                if control == COMMAND | LAST:
                    command = bytes(body[position + 6 : position + 4 + length])
                elif self._keeper is not None:
                    self._keeper.take(body[position + 6 : position + 4 + length])
                if control == LAST:
                    if self._keeper is not None:
                        self._keeper.keep()
                    self._connection.sendall(pdata(pdv(context_id, COMMAND | LAST, response(command))))
                    count += 1
                    ended = time.monotonic()
                position += 4 + length
        self._connection.sendall(pdu(6, bytes(4)))
        return f"{count} {began} {ended}"


def response(command: bytes) -> bytes:
    """A C-STORE response of success."""
    elements = {}
    position = 0
    while position < len(command):
        _, element, length = struct.unpack_from("<HHL", command, position)
        elements[element] = command[position + 8 : position + 8 + length]
        position += 8 + length
    return command_set(
        [
            (0x0002, elements[0x0002]),
            (0x0100, short(0x8001)),
            (0x0120, elements[0x0110]),
            (0x0800, short(0x0101)),
            (0x0900, short(0)),
            (0x1000, elements[0x1000]),
        ]
    )


def main() -> None:
    """Print the port, then serve until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork():
                connection.close()
                continue
            try:
                line = Receiver(connection, Keeper(sys.argv[1]) if len(sys.argv) > 1 else None).run()
            except (Gone, OSError) as error:
                line = f"0 0 0 {error!r}"
            os.write(sys.stdout.fileno(), f"{line}\n".encode())
            os._exit(0)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    main()

"""A client that sends whatever it is told to, byte by byte: Proton's own client would not."""

from __future__ import annotations

import socket
import struct
from typing import Any

from amqp_broker.codec import NULL, Described, decode, described

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
ERROR = 0x1D
HEADER = b"AMQP\x00\x01\x00\x00"


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"\xb1" + struct.pack(">I", len(data)) + data


def binary(value: bytes) -> bytes:
    return b"\xb0" + struct.pack(">I", len(value)) + value


def uint(value: int) -> bytes:
    return b"\x70" + struct.pack(">I", value)


def boolean(value: bool) -> bytes:
    return b"\x41" if value else b"\x42"


def listed(*values: bytes) -> bytes:
    content = b"".join(values)
    return b"\xd0" + struct.pack(">II", len(content) + 4, len(values)) + content


def mapped(*values: bytes) -> bytes:
    return b"\xd1" + listed(*values)[1:]


def frame(performative: int, *fields: bytes, channel: int = 0, payload: bytes = b"") -> bytes:
    body = described(performative, listed(*fields)) + payload
    return struct.pack(">IBBH", 8 + len(body), 2, 0, channel) + body


def source(address: bytes, *rest: bytes) -> bytes:
    return described(0x28, listed(address, *rest))


def target(address: bytes, *rest: bytes) -> bytes:
    return described(0x29, listed(address, *rest))


def opened(*, idle: bytes = NULL) -> bytes:
    return HEADER + frame(OPEN, text("raw"), NULL, NULL, NULL, idle)


def begun(channel: int = 0, window: int = 1 << 30) -> bytes:
    """Begin a session that takes so many frames."""
    return frame(BEGIN, NULL, uint(0), uint(window), uint(1 << 30), channel=channel)


def publishes(address: bytes, handle: int = 0, name: str = "p", **where: Any) -> bytes:
    """Attach a link on which the client publishes."""
    fields = (
        text(name),
        uint(handle),
        boolean(False),
        NULL,
        NULL,
        source(NULL),
        target(address),
        NULL,
        NULL,
        uint(0),
    )
    return frame(ATTACH, *fields, **where)


def consumes(from_: bytes, handle: int = 1, name: str = "c", **where: Any) -> bytes:
    """Attach a link from which the client consumes."""
    return frame(ATTACH, text(name), uint(handle), boolean(True), NULL, NULL, from_, target(NULL), **where)


def transfer(number: int, payload: bytes, *more: bytes, handle: int = 0, tag: bytes | None = None) -> bytes:
    tag = binary(b"%d" % number) if tag is None else tag
    fields = (uint(handle), uint(number), tag, uint(0), *more)
    return frame(TRANSFER, *fields, payload=payload)


def flow(credit: int, handle: int = 1, *, channel: int = 0, window: int = 1 << 30) -> bytes:
    windows = (uint(0), uint(window), uint(0), uint(1 << 30))
    return frame(FLOW, *windows, uint(handle), uint(0), uint(credit), channel=channel)


class Raw:
    """One connection. It is closed at the end of the block."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self._data = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            came = self.socket.recv(1 << 16)
            if not came:
                raise EOFError
            self._data += came
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def receive(self) -> tuple[int, list[Any]]:
        """The next frame that is no heartbeat."""
        while True:
            head = self._take(8)
            if head[:4] == b"AMQP":
                continue
            size = struct.unpack(">I", head[:4])[0]
            body = self._take(size - 8)
            if body:
                value, _ = decode(body)
                return value.descriptor, value.value

    def until(self, *kinds: int) -> list[Any]:
        """The fields of the next frame of one of these kinds."""
        while True:
            kind, fields = self.receive()
            if kind in kinds:
                return fields

    def error(self) -> str:
        """The error condition with which the broker ends the connection or a link, or rejects a message."""
        while True:
            _, fields = self.receive()
            found = [each for each in fields if isinstance(each, Described)]
            while found:
                each = found.pop()
                if each.descriptor == ERROR:
                    return str(each.value[0])
                found += [inner for inner in each.value if isinstance(inner, Described)]

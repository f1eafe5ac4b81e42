"""etcd: three members, and a client that puts one value after the other, as prepared frames of HTTP/2.

etcd has no queue: a put of one key is the least that it replicates. It writes each to its log and calls fsync; without
durability its members run on a file system in memory, so that fsync costs next to nothing.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Any

from benchmarks.cluster import cpu_of
from benchmarks.nats import HOST, START_S
from qpidha.engines.etcd import MEMBERS, plain_etcd

KEY = b"q"
IN_MEMORY = Path("/dev/shm")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 2**31 - 1 - 65_535
"""As much as a server may send at most, beyond what it may send at first."""
_HEADER = Struct(">BHBBI")
"""Of a frame: the length in two parts, type, flags, stream."""
_LENGTH = Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return _HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


GREETING = (
    PREFACE
    + frame(SETTINGS, 0, 0)
    + frame(SETTINGS, ACK, 0)
    + frame(WINDOW_UPDATE, 0, 0, _LENGTH.pack(WINDOW))
)


def _text(text: bytes) -> bytes:
    return bytes([len(text)]) + text


REQUEST_HEADERS = b"".join(
    (  # RFC 7541: a byte for what its static table has, and literals that nobody keeps.
        b"\x83\x86",  # :method: POST, :scheme: http
        b"\x04" + _text(b"/etcdserverpb.KV/Put"),
        b"\x01" + _text(b"benchmark"),  # :authority
        b"\x0f\x10" + _text(b"application/grpc"),  # content-type
        b"\x00" + _text(b"te") + _text(b"trailers"),
    )
)


def puts(count: int, size: int) -> list[bytes]:
    """So many requests with values of so many bytes, each on a stream of its own. For one connection."""
    value = b"x" * size
    request = b"\x0a" + _text(KEY) + b"\x12" + _varint(size) + value
    message = b"\0" + _LENGTH.pack(len(request)) + request
    return [
        frame(HEADERS, END_HEADERS, stream, REQUEST_HEADERS) + frame(DATA, END_STREAM, stream, message)
        for stream in range(1, 2 * count, 2)
    ]


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


class Answers:
    """Counts the streams that the server has ended, each after a message: without one it is an error of gRPC."""

    def __init__(self) -> None:
        self._rest = b""
        self._messages = 0

    def __call__(self, data: bytes) -> int:
        data, at, ended = self._rest + data, 0, 0
        while at + _HEADER.size <= len(data):
            high, low, kind, flags, _ = _HEADER.unpack_from(data, at)
            end = at + _HEADER.size + (high << 16 | low)
            if end > len(data):
                break
            self._messages += kind == DATA
            ended += kind == HEADERS and flags & END_STREAM
            at = end
        self._rest = data[at:]
        self._messages -= ended
        assert self._messages >= 0, "etcd has refused a put"
        return ended


@contextmanager
def connected(durable: bool) -> Iterator[tuple[socket.socket, Callable[[], float]]]:
    """A connection to the leader, and what says how much processor time the members have taken."""
    folder = Path(tempfile.mkdtemp(prefix="qpidha-etcd-", dir=None if durable else IN_MEMORY))
    servers, url = plain_etcd(folder, HOST)
    ports = [int(address.rpartition(":")[2]) for address in url.split("/")[2].split(",")]
    try:
        for server in servers:
            server.launch()
        leader = _leader(ports)
        with socket.create_connection((HOST, leader)) as client:
            client.sendall(GREETING)
            yield client, lambda: sum(cpu_of(server.pid) for server in servers if server.pid is not None)
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _leader(ports: list[int]) -> int:
    """The port of the leader, once it has a majority."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for port in ports:
            try:
                status = _ask(port, "maintenance/status", {})
            except OSError:
                continue
            if status.get("leader") == status["header"]["member_id"]:
                return port
        time.sleep(0.05)
    raise RuntimeError(f"{MEMBERS} members of etcd have no leader after {START_S:.0f} s")


def _ask(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"http://{HOST}:{port}/v3/{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=START_S) as answer:
        found: dict[str, Any] = json.load(answer)
        return found

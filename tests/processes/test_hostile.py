"""Clients of the example broker that send what is not in its protocol. They are dropped; the others go on."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from qpidha.demo.cluster import Cluster

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
BROKER = Path(__file__).parents[2] / "examples" / "simple" / "broker.py"
HEADER = struct.Struct("<IB")
WELCOME, PUBLISH, ACCEPT, SUBSCRIBE, PING, REGISTER, REGISTERED, CHANGE = 1, 3, 7, 5, 9, 10, 11, 12


class Client:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.file = self.socket.makefile("rb")
        kind, _ = self.receive()
        if kind != WELCOME:
            raise EOFError

    def send(self, kind: int, body: bytes = b"") -> None:
        self.socket.sendall(HEADER.pack(len(body), kind) + body)

    def receive(self) -> tuple[int, bytes]:
        head = self.file.read(HEADER.size)
        if len(head) < HEADER.size:
            raise EOFError
        size, kind = HEADER.unpack(head)
        return kind, self.file.read(size)

    def dropped(self) -> bool:
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            return True

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(BROKER, tmp_path_factory.mktemp("hostile"), 1, memory=True) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """After each test: another client is welcome, and nothing of Python's is in the log."""
    client = connected(cluster)
    yield client
    client.close()
    connected(cluster).close()
    log = next(iter(cluster.processes.values())).log.read_text()
    assert "Traceback" not in log, log


def connected(cluster: Cluster) -> Client:
    deadline = time.monotonic() + 60
    while True:
        try:
            return Client(cluster.addresses[0])
        except (OSError, EOFError):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (PUBLISH, b"\1"),
        (PUBLISH, b"\1" * 100),
        (ACCEPT, b"\xff" * 9),
        (ACCEPT, b"\1\1\5"),
        (SUBSCRIBE, b""),
        (REGISTER, b"\xff"),
        (REGISTER, b""),
        (99, b""),
        (CHANGE, b""),
        (CHANGE, b"\xc1"),
        (CHANGE, b"\x05"),
        (CHANGE, b"\x91" * 5000),
        (CHANGE, b"\xdd\xff\xff\xff\xff"),
        (CHANGE, msgpack.packb([1, 2, 3, 4])),
        (CHANGE, msgpack.packb(["unknown", [1, 2], 1, []])),
    ],
    ids=range(15),
)
def test_what_is_no_frame(client: Client, kind: int, body: bytes) -> None:
    client.send(kind, body)
    assert client.dropped()


@pytest.mark.parametrize(
    "steps",
    [
        5,
        "abc",
        [["nope"]],
        [["declare"]],
        [[{}, 1]],
        [["publish", 5, 1, b"x"]],
        [["publish", ["hostile"], 1, "text"]],
        [["declare", "hostile", "fifo"], ["take", "hostile"]],
        [["delete", "work", None]],
        [["take", "work"]],
    ],
    ids=range(10),
)
def test_what_is_no_change(client: Client, steps: Any) -> None:
    client.send(REGISTER, b"hostile")
    kind, epoch = client.receive()
    assert kind == REGISTERED
    client.send(CHANGE, msgpack.packb(["hostile", msgpack.unpackb(epoch), 1, steps]))
    assert client.dropped()


def test_a_queue_that_is_empty(client: Client) -> None:
    client.send(REGISTER, b"taker")
    epoch = msgpack.unpackb(client.receive()[1])
    client.send(CHANGE, msgpack.packb(["taker", epoch, 1, [["declare", "empty", "fifo"]]]))
    client.receive()
    client.send(CHANGE, msgpack.packb(["taker", epoch, 2, [["take", "empty"]]]))
    assert client.dropped()


def test_a_client_that_asks_and_never_reads_is_dropped(client: Client) -> None:
    """Else its answers would take all memory."""
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        for _ in range(100):
            client.send(PING, bytes(1 << 20))

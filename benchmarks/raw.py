"""The limit of the machine: the same bytes through the same four processes, with nothing else done to them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
CHUNK_BYTES = 128 * 1024
BLOCK_BYTES = 1 << 20
MESSAGE_BYTES = 100


def raw_sockets(count: int, size: int) -> float:
    """The limit: the same bytes to a process that passes them on to two others; one answer at the end."""
    return _rate(count, size, keep=False)


def raw_sockets_kept(count: int, size: int) -> float:
    """The same where each of the three keeps what it received, as brokers whose queue grows must."""
    return _rate(count, size, keep=True)


def _rate(count: int, size: int, *, keep: bool) -> float:
    total = count * size
    block = bytes(min(CHUNK_BYTES, total))
    with _relayed(total, total, keep=keep) as client:
        started = time.perf_counter()
        left = total
        while left:
            client.sendall(block[:left])
            left -= min(len(block), left)
        client.recv(1)
        return count / (time.perf_counter() - started)


def latencies(rounds: int) -> list[float]:
    """Seconds from 100 bytes to the answer, which comes when both others have answered; one at a time."""
    found: list[float] = []
    message = bytes(MESSAGE_BYTES)
    with _relayed(rounds * MESSAGE_BYTES, MESSAGE_BYTES) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            started = time.perf_counter()
            client.sendall(message)
            client.recv(1)
            found.append(time.perf_counter() - started)
    return found


def writes(sockets: int, size: int, rounds: int) -> float:
    """Seconds of processor time to send a block of so many bytes to so many sockets, which others empty."""
    block = bytes(size)
    with socket.create_server((HOST, 0)) as listener:
        children = [_fork(lambda: _empty(listener.getsockname())) for _ in range(sockets)]
        connections = [listener.accept()[0] for _ in children]
    started = time.thread_time()
    for _ in range(rounds):
        for connection in connections:
            connection.sendall(block)
    spent = time.thread_time() - started
    for connection in connections:
        connection.close()
    for child in children:
        os.waitpid(child, 0)
    return spent / rounds


def _empty(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        buffer = bytearray(256 * 1024)
        while connection.recv_into(buffer):
            pass


@contextmanager
def _relayed(total: int, every: int, *, keep: bool = False) -> Iterator[socket.socket]:
    """A connection to a process that passes on so many bytes, and has an answer after each ``every`` of them."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(3)]
    children = [_fork(lambda i=i: _sink(listeners[i], total, every, Space(keep))) for i in (1, 2)]  # type: ignore[misc]
    children.append(_fork(lambda: _relay(listeners, total, every, Space(keep))))
    with socket.create_connection(listeners[0].getsockname()) as client:
        yield client
    for child in children:
        os.waitpid(child, 0)
    for listener in listeners:
        listener.close()


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


class Space:
    """Where bytes are received: into the same block again and again, or into new ones that are kept."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._blocks = [bytearray(BLOCK_BYTES)]
        self.room = memoryview(self._blocks[0])

    def received(self, count: int) -> memoryview:
        """So many bytes came into `room`: these."""
        came = self.room[:count]
        if self._keep:
            self.room = self.room[count:]
            if not self.room:
                self._blocks.append(bytearray(BLOCK_BYTES))
                self.room = memoryview(self._blocks[-1])
        return came


def _sink(listener: socket.socket, total: int, every: int, space: Space) -> None:
    connection, _ = listener.accept()
    received = 0
    while received < total:
        received += len(space.received(connection.recv_into(space.room)))
        if received % every == 0:
            connection.send(b"!")


def _relay(listeners: list[socket.socket], total: int, every: int, space: Space) -> None:
    backups = [socket.create_connection(listener.getsockname()) for listener in listeners[1:]]
    connection, _ = listeners[0].accept()
    for each in (connection, *backups):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = 0
    while received < total:
        came = space.received(connection.recv_into(space.room))
        received += len(came)
        for backup in backups:
            backup.sendall(came)
        if received % every == 0:
            for backup in backups:
                backup.recv(1)
            connection.send(b"!")

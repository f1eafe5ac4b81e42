"""The limit of the machine: the same bytes through the same four processes, with nothing else done to them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
CHUNK_BYTES = 128 * 1024
MESSAGE_BYTES = 100


def raw_sockets(count: int, size: int) -> float:
    """The limit: the same bytes to a process that passes them on to two others; one answer at the end."""
    total = count * size
    block = bytes(min(CHUNK_BYTES, total))
    with _relayed(total, total) as client:
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


@contextmanager
def _relayed(total: int, every: int) -> Iterator[socket.socket]:
    """A connection to a process that passes on so many bytes, and has an answer after each ``every`` of them."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(3)]
    children = [_fork(lambda i=i: _sink(listeners[i], total, every)) for i in (1, 2)]  # type: ignore[misc]
    children.append(_fork(lambda: _relay(listeners, total, every)))
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


def _sink(listener: socket.socket, total: int, every: int) -> None:
    connection, _ = listener.accept()
    buffer, received = bytearray(256 * 1024), 0
    while received < total:
        received += connection.recv_into(buffer)
        if received % every == 0:
            connection.send(b"!")


def _relay(listeners: list[socket.socket], total: int, every: int) -> None:
    backups = [socket.create_connection(listener.getsockname()) for listener in listeners[1:]]
    connection, _ = listeners[0].accept()
    for each in (connection, *backups):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer, received = memoryview(bytearray(256 * 1024)), 0
    while received < total:
        came = connection.recv_into(buffer)
        received += came
        for backup in backups:
            backup.sendall(buffer[:came])
        if received % every == 0:
            for backup in backups:
                backup.recv(1)
            connection.send(b"!")

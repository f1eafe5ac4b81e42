"""Ports of the loopback address that are free, and stay so until their servers take them."""

from __future__ import annotations

import atexit
import random
import socket
from collections import deque
from collections.abc import Iterator
from itertools import islice

PORTS = range(10_000, 30_000)
"""Below the range from which systems take ports for outgoing connections: while its server is down, a port must not be
given to anybody else, least of all to a client that connects to itself."""

HELD_MAX = 200

_held: deque[socket.socket] = deque()


def free_ports() -> Iterator[int]:
    """Ports on which no process listens, and which no other call of this function gives out, in any process.

    Each port stays bound by this process until `HELD_MAX` more were taken: a server with ``SO_REUSEADDR`` can listen on
    it all the same, as asyncio's, etcd's and Java's do; a second search for a free port passes it over.
    Raises OSError if no port is free.
    """
    chance = (
        random.SystemRandom()
    )  # Not the common generator: where a test has seeded it, all processes choose alike.
    for port in chance.sample(PORTS, len(PORTS)):
        holder = socket.socket()
        try:
            holder.bind(
                ("127.0.0.1", port)
            )  # Without SO_REUSEADDR: refused while anybody has it, listening or not.
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _hold(holder)
        yield port
    raise OSError("no free port on 127.0.0.1")


def take_ports(count: int) -> list[int]:
    """The next ``count`` of `free_ports`, all different."""
    return list(islice(free_ports(), count))


def _hold(holder: socket.socket) -> None:
    _held.append(holder)
    while len(_held) > HELD_MAX:
        _held.popleft().close()


@atexit.register
def _release() -> None:
    while _held:
        _held.pop().close()

"""Sockets and time of the example: one thread waits for all of them with `selectors`. No asyncio.

`Loop.call` may be called from any thread; everything else runs in the thread of `Loop.run`.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import selectors
import socket
from collections.abc import Callable
from typing import Protocol

CHUNK = 256 * 1024


class Handler(Protocol):
    """What a `Stream` calls."""

    def received(self, data: bytes) -> None: ...
    def closed(self) -> None: ...


class Loop:
    """Waits for sockets, for calls from other threads, and for the time of the next tick."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._bell, self._ring = socket.socketpair()
        self._ring.setblocking(False)
        self._bell.setblocking(False)
        self.selector.register(self._bell, selectors.EVENT_READ, lambda mask: self._bell.recv(CHUNK))
        self.running = True

    def call(self, function: Callable[[], object]) -> None:
        """Call this in the loop's thread, after the calls before it. From any thread."""
        self._calls.put(function)
        with contextlib.suppress(BlockingIOError):  # The bell rings already.
            self._ring.send(b"!")

    def turn(self, timeout_s: float) -> None:
        """Wait for something to do, at most this long, and do it."""
        for key, mask in self.selector.select(timeout_s):
            if key.fileobj in self.selector.get_map():  # Not closed by another one of this turn.
                key.data(mask)
        for _ in range(self._calls.qsize()):
            self._calls.get()()

    def listen(self, address: tuple[str, int], accept: Callable[[Stream], Handler]) -> tuple[str, int]:
        """Accept connections. Returns the address with the port that was chosen."""
        server = socket.create_server(address, backlog=1024)  # After a failover all clients connect at once.
        server.setblocking(False)

        def incoming(mask: int) -> None:
            with contextlib.suppress(OSError):  # It has gone again.
                stream = Stream(self, server.accept()[0])
                stream.handler = accept(stream)

        self.selector.register(server, selectors.EVENT_READ, incoming)
        host, port = server.getsockname()[:2]
        return host, port

    def connect(self, address: tuple[str, int], opened: Callable[[Stream], Handler]) -> None:
        """Begin to connect. What is written meanwhile is sent then; if it fails, the stream is closed."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        stream = Stream(self, sock)
        stream.handler = opened(stream)


class Stream:
    """One connection. Its handler hears of its end exactly once, in a later turn than the call that caused it."""

    handler: Handler
    numbers = itertools.count(1)

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.number = next(self.numbers)  # Never used again: the core knows links by these.
        self._loop, self._sock = loop, sock
        self._out = bytearray()
        self._ending = self._over = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        loop.selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self._ready)

    @property
    def waiting(self) -> int:
        """Bytes that the peer has not taken yet."""
        return len(self._out)

    def write(self, data: bytes) -> None:
        """Send this after what was written before."""
        if not self._ending:
            self._out += data
            self._watch()

    def close(self) -> None:
        """Send what was written, then close."""
        self._ending = True
        if not self._out:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._ending = True
        if not self._over:
            self._over = True
            self._loop.selector.unregister(self._sock)
            self._sock.close()
            self._loop.call(self._closed)

    def _closed(self) -> None:
        self.handler.closed()

    def _watch(self) -> None:
        if not self._over:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._loop.selector.modify(self._sock, events, self._ready)

    def _ready(self, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                del self._out[: self._sock.send(self._out)]
                self._watch()
            if mask & selectors.EVENT_READ:
                if data := self._sock.recv(CHUNK):
                    if not self._ending:
                        self.handler.received(data)
                else:
                    self.abort()
        except BlockingIOError:
            pass
        except OSError:
            self.abort()
        if self._ending and not self._out:
            self.abort()
